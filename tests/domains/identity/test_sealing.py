"""What is sealed opens with the station's secret, current or former, and with nothing else."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fieldstation.domains.identity.service.sealing import Sealer, known_secrets
from fieldstation.domains.identity.service.tokens import development_secret
from tests.domains.identity.stations import SECRET, make_settings

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
CONTENT = b"what nobody may read: \x00\xff"


def sealer(*secrets: str, purpose: str = "test") -> Sealer:
    return Sealer(secrets, purpose=purpose)


def test_what_was_sealed_opens_with_the_same_secret_and_shows_nothing() -> None:
    sealed = sealer(SECRET).seal(CONTENT, now=NOW)
    assert sealer(SECRET).open(sealed) == CONTENT
    assert sealed.isascii()
    assert CONTENT not in base64.urlsafe_b64decode(sealed)
    assert sealer(SECRET).seal(CONTENT, now=NOW) != sealed


def test_another_secret_or_purpose_or_none_opens_nothing() -> None:
    sealed = sealer(SECRET).seal(CONTENT, now=NOW)
    assert sealer("another secret").open(sealed) is None
    assert sealer(SECRET, purpose="other").open(sealed) is None
    assert sealer().open(sealed) is None


@pytest.mark.parametrize("place", [1, 30, -5])
def test_a_changed_seal_is_not_opened(place: int) -> None:
    sealed = sealer(SECRET).seal(CONTENT, now=NOW)
    letter = "A" if sealed[place] != "A" else "B"
    changed = sealed[:place] + letter + sealed[place:][1:]
    assert sealer(SECRET).open(changed) is None


def test_a_former_secret_opens_and_the_current_one_seals() -> None:
    sealed = sealer("former").seal(CONTENT, now=NOW)
    both = sealer("current", "former")
    assert both.open(sealed) == CONTENT
    assert not both.is_current(sealed)
    renewed = both.seal(CONTENT, now=NOW)
    assert both.is_current(renewed)
    assert sealer("former").open(renewed) is None


def test_the_secret_of_the_data_directory_counts_on_when_secret_key_is_set(tmp_path: Path) -> None:
    kept = development_secret(tmp_path)
    directory = str(tmp_path)
    assert known_secrets(make_settings(SECRET_KEY="", DATA_DIR=directory)) == [kept]
    settings = make_settings(DATA_DIR=directory, PREVIOUS_SECRET_KEYS="a, b")
    assert known_secrets(settings) == [SECRET, kept, "a", "b"]


def test_looking_for_secrets_makes_none_and_a_broken_file_is_none(tmp_path: Path) -> None:
    settings = make_settings(SECRET_KEY="", DATA_DIR=str(tmp_path))
    assert known_secrets(settings) == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "secret_key").write_bytes(b"\xff\xfe")
    assert known_secrets(make_settings(DATA_DIR=str(tmp_path))) == [SECRET]
