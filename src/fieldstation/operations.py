"""What the command line has done for it, by a running station or in its own process: users,
backups, certificates, imports."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from fieldstation.adapters.sqlite_backup.creation import create_backup
from fieldstation.adapters.sqlite_backup.manifest import BACKUPS
from fieldstation.core.errors import Busy, Conflict, Invalid
from fieldstation.db.engines import station_url, telemetry_url
from fieldstation.domains.devices.service import devices
from fieldstation.domains.identity.schemas.callers import Role
from fieldstation.domains.identity.service import accounts, organizations
from fieldstation.domains.identity.service.accounts import Profile
from fieldstation.runtime import Runtime

FIRST_ORGANIZATION = "Station"

Operation = Callable[..., Awaitable[Any]]


def station_operations(runtime: Runtime) -> Mapping[str, Operation]:
    """Return the operations by name; their arguments and results are plain JSON values."""
    tasks = StationOperations(runtime)
    return {
        "user.create": tasks.create_user,
        "user.set_password": tasks.set_password,
        "user.list": tasks.list_users,
        "backup.create": tasks.create_backup,
        "import.begin": tasks.begin_import,
        "import.match": tasks.match_devices,
        "import.rows": tasks.import_rows,
        "cert.issue": tasks.issue_certificate,
        "cert.server": tasks.issue_server_certificate,
        "cert.reset": tasks.reset_authority,
    }


class StationOperations:
    """Each method is one operation."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def create_user(
        self,
        *,
        email: str,
        username: str | None = None,
        password: str | None = None,
        role: str = Role.OWNER,
        superuser: bool = False,
    ) -> dict[str, Any]:
        """Create a user in the station's first organization, which is made if there is none."""
        runtime = self._runtime
        if role not in list(Role):
            raise Invalid(f"role: choose from {', '.join(Role)}.")
        async with runtime.database.transaction() as session:
            organization = await organizations.ensure_first_organization(
                session, name=FIRST_ORGANIZATION, now=runtime.clock.now()
            )
        user, chosen = await accounts.create_user(
            runtime.database,
            runtime.passwords,
            Profile(email, username),
            clock=runtime.clock,
            organization_id=organization.id,
            role=Role(role),
            superuser=superuser,
            password=password,
        )
        return {"id": user.id, "email": user.email, "password": chosen}

    async def set_password(self, *, login: str, password: str | None = None) -> dict[str, Any]:
        """Give a user a new password and end their sessions."""
        runtime = self._runtime
        chosen = await accounts.set_password(
            runtime.database, runtime.passwords, login, clock=runtime.clock, password=password
        )
        return {"password": chosen}

    async def list_users(self, *, after_id: str | None = None) -> list[dict[str, Any]]:
        """Return a page of users, oldest first."""
        async with self._runtime.database.reading() as session:
            users = await accounts.list_users(session, after_id=after_id)
        return [user.model_dump(mode="json") for user in users]

    async def create_backup(self, *, output: str | None = None) -> dict[str, Any]:
        """Snapshot both database files. Raises ``Conflict`` where there are none."""
        settings = self._runtime.settings
        station, telemetry = station_url(settings), telemetry_url(settings)
        if {station.get_backend_name(), telemetry.get_backend_name()} != {"sqlite"}:
            raise Conflict(
                "Backups are for SQLite; use pg_dump for PostgreSQL, mariadb-dump for MariaDB."
            )
        return await create_backup(
            station_db=Path(station.database or ""),
            telemetry_db=Path(telemetry.database or ""),
            output=Path(output) if output else settings.station.data_dir / BACKUPS,
            clock=self._runtime.clock,
        )

    async def begin_import(self, *, organization: str | None = None) -> dict[str, Any]:
        """Return the organization that readings go to: the first one unless one is named.

        Raises ``NotFound``, and ``Busy`` where nothing takes readings in.
        """
        if not self._runtime.is_running:
            raise Busy("No station runs in this directory; start one with fieldstation serve.")
        async with self._runtime.database.transaction() as session:
            if organization is None:
                found = await organizations.ensure_first_organization(
                    session, name=FIRST_ORGANIZATION, now=self._runtime.clock.now()
                )
            else:
                found = await organizations.find_organization(session, organization)
        return {"id": found.id, "name": found.name}

    async def match_devices(
        self, *, organization_id: str, wanted: Mapping[str, str], create: bool
    ) -> dict[str, str | None]:
        """Return which device is meant by each id of a file. Raises ``Conflict``, ``NotFound``."""
        return await self._runtime.importer.match(organization_id, wanted, create=create)

    async def import_rows(
        self, *, organization_id: str, rows: Sequence[Mapping[str, Any]], dry_run: bool
    ) -> dict[str, Any]:
        """Take rows of a file in. Raises ``Busy``, ``TooManyRequests``, ``NotFound``."""
        return await self._runtime.importer.take(organization_id, rows, dry_run=dry_run)

    async def issue_certificate(self, *, device_id: str, days: int) -> dict[str, Any]:
        """Issue a client certificate for a device. Raises ``NotFound``, ``Conflict``."""
        runtime = self._runtime
        now = runtime.clock.now()
        expires_at = now + timedelta(days=days)
        authority = await runtime.authority.signing()
        issued = authority.issue_device(device_id, now=now, expires_at=expires_at)
        async with runtime.database.transaction() as session:
            await devices.bind_certificate(
                session, device_id, issued.token, expires_at=expires_at, now=now
            )
        return {"certificate": issued.certificate, "key": issued.key, "authority": authority.pem}

    async def issue_server_certificate(self, *, host: str, days: int) -> dict[str, Any]:
        """Issue a certificate for the TLS port."""
        now = self._runtime.clock.now()
        authority = await self._runtime.authority.signing()
        issued = authority.issue_server(host, now=now, expires_at=now + timedelta(days=days))
        return {"certificate": issued.certificate, "key": issued.key, "authority": authority.pem}

    async def reset_authority(self) -> dict[str, Any]:
        """Forget the station's certificate authority for the data directory's or a new one."""
        return {"adopted": await self._runtime.authority.reset()}
