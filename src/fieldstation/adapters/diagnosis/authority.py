"""Checks of the certificate authority: can this node open it?"""

from pathlib import Path

from sqlalchemy.engine import URL

from fieldstation.adapters.certificates import Authority
from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning
from fieldstation.adapters.station_authority import DIRECTORY, SEALED, read_directory
from fieldstation.core.errors import Busy, Conflict
from fieldstation.core.settings import Settings
from fieldstation.db.database import open_session
from fieldstation.db.engines import looking_engine
from fieldstation.domains.identity.service.authority import (
    PURPOSE,
    KeptAuthority,
    KeyPair,
    find_authority,
)
from fieldstation.domains.identity.service.sealing import Sealer, known_secrets

NAME = "certificate authority"


async def check_authority(url: URL, settings: Settings) -> Check:
    """Look into a station database of the newest schema, and into the data directory."""
    data_dir = settings.station.data_dir
    sealer = Sealer(known_secrets(settings), purpose=PURPOSE)
    engine = looking_engine(url)
    try:
        former = read_directory(data_dir)
        async with open_session(engine) as session:
            kept = await find_authority(session, sealer)
    except Busy as error:
        return warning(NAME, error.detail, "Try again; see the checks of the database.")
    except Conflict as error:
        return failure(NAME, *sentence_and_advice(error.detail))
    finally:
        await engine.dispose()
    return judge_authority(kept, former, directory=data_dir / DIRECTORY)


def judge_authority(
    kept: KeptAuthority | None, former: KeyPair | None, *, directory: Path
) -> Check:
    if kept is None:
        detail = "None yet; it is made with the first certificate or TLS port"
        return ok(NAME, detail if former is None else f"The next start takes that of {directory}")
    if kept.pair is None:
        return failure(NAME, *sentence_and_advice(SEALED))
    detail = f"Opens, valid until {Authority(kept.pair).expires_at:%Y-%m-%d}"
    if former is None:
        return ok(NAME, detail)
    if former.certificate == kept.certificate:
        return warning(
            NAME,
            f"{detail}; its key also lies unsealed in {directory}",
            "Delete that directory when you need no backup from before it was taken over.",
        )
    return warning(
        NAME,
        f"{detail}; this node alone also accepts certificates of the one in {directory}",
        "Issue those certificates anew, then delete that directory.",
    )


def sentence_and_advice(detail: str) -> tuple[str, str]:
    sentence, _, advice = detail.partition("; ")
    return sentence, f"{advice[:1].upper()}{advice[1:]}."
