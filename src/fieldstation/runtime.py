"""Builds and owns every long-lived object of a station; starts and stops them in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog

from fieldstation.adapters.data_directory import DataDirectory
from fieldstation.adapters.mqtt_server.configuration import mqtt_options, tls_context
from fieldstation.adapters.mqtt_server.health import MqttHealth
from fieldstation.adapters.mqtt_server.kept import KeptState
from fieldstation.adapters.mqtt_server.nodes import other_nodes
from fieldstation.adapters.mqtt_server.server import MqttServer
from fieldstation.adapters.mqtt_server.station import StationDoor
from fieldstation.adapters.opentelemetry_export import open_spans
from fieldstation.adapters.outbound.client import Outbound
from fieldstation.adapters.shared_counts import shared_counts
from fieldstation.adapters.station_authority import StationAuthority
from fieldstation.bus.selection import event_bus
from fieldstation.core.clock import Clock, SystemClock
from fieldstation.core.errors import Busy
from fieldstation.core.settings import Settings, SettingsError
from fieldstation.core.tasks import repeat, supervise
from fieldstation.db.database import Database
from fieldstation.db.engines import create_engines, station_url
from fieldstation.db.idempotency import IdempotencyKeys
from fieldstation.db.jobs import JobRunner, PeriodicJob
from fieldstation.db.outbox import OutboxRelay
from fieldstation.domains.audit import service as audit
from fieldstation.domains.devices.events import DeviceDeleted
from fieldstation.domains.devices.heartbeats import keep_heartbeats
from fieldstation.domains.devices.known import KnownDevices
from fieldstation.domains.devices.last_seen import FLUSH_INTERVAL_S, LastSeen
from fieldstation.domains.devices.service import devices
from fieldstation.domains.exports.importing import Importer
from fieldstation.domains.exports.jobs import open_exports
from fieldstation.domains.identity.events import CredentialRevoked
from fieldstation.domains.identity.jobs import (
    KEY_USES_INTERVAL_S,
    RevocationWatch,
    note_key_uses,
    purge_expired,
)
from fieldstation.domains.identity.ports import Quota
from fieldstation.domains.identity.schemas.callers import changed_entity
from fieldstation.domains.identity.service.authenticator import Authenticator
from fieldstation.domains.identity.service.authority import PURPOSE
from fieldstation.domains.identity.service.bounds import OrganizationBounds
from fieldstation.domains.identity.service.passwords import Passwords, station_hasher
from fieldstation.domains.identity.service.revocations import note_change
from fieldstation.domains.identity.service.sealing import Sealer, known_secrets
from fieldstation.domains.identity.service.tokens import load_key_ring
from fieldstation.domains.live.hub import Hub
from fieldstation.domains.live.sockets import Sockets
from fieldstation.domains.retention.jobs import INTERVAL_S as EXPIRY_INTERVAL_S
from fieldstation.domains.retention.jobs import open_retention
from fieldstation.domains.system.loop_lag import watch_loop
from fieldstation.domains.system.metrics import RequestMetrics
from fieldstation.domains.system.service import StationState, prometheus_readings
from fieldstation.domains.telemetry import jobs as telemetry_jobs
from fieldstation.domains.telemetry.catalog import Catalog
from fieldstation.domains.telemetry.follower import Follower
from fieldstation.domains.telemetry.groups import Heartbeat
from fieldstation.domains.telemetry.intake import Intake
from fieldstation.domains.telemetry.last_values import LastValues
from fieldstation.domains.telemetry.quotas import QUOTA_INTERVAL_S, ReadingQuotas
from fieldstation.domains.telemetry.service import IntakeDoor
from fieldstation.domains.telemetry.store.selection import reading_store
from fieldstation.domains.telemetry.writer import Committed, Writer
from fieldstation.web.rate_counters import RateCounters
from fieldstation.web.rate_limits import NamedLimits
from fieldstation.web.rate_sharing import RateSharing

log = structlog.get_logger(__name__)

OUTBOX_INTERVAL_S = 1.0
FLUSH_LOOK_INTERVAL_S = 1.0
SAVE_TIMEOUT_S = 3.0


class Runtime:
    """One node of a station. Everything is built here and handed in; nothing else is long-lived."""

    def __init__(
        self, settings: Settings, clock: Clock | None = None, quota: Quota | None = None
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.quota = quota or OrganizationBounds(settings.bounds, devices.count_devices)
        self.directory = DataDirectory(settings.station.data_dir)
        self.directory.prepare()
        self.node_id = self.directory.node_id(settings.station.node_id)
        self.bus = event_bus(settings.redis, node_id=self.node_id)
        self._build_database()
        self._build_telemetry()
        self._build_doors()
        self._subscribe()
        self._tasks: asyncio.TaskGroup | None = None

    def _build_database(self) -> None:
        settings, clock = self.settings, self.clock
        url = station_url(settings)
        self.database = Database(create_engines(url, settings.database), self.bus.publish)
        self.key_ring = load_key_ring(settings)
        self.authenticator = Authenticator(self.database, clock, settings.auth, self.key_ring)
        sealer = Sealer(known_secrets(settings), purpose=PURPOSE)
        self.authority = StationAuthority(
            self.database, sealer, data_dir=self.directory.path, clock=clock
        )
        self.passwords = Passwords(station_hasher(memory_kib=settings.auth.password_memory_kib))
        self.known_devices = KnownDevices(self.database)
        self.last_seen = LastSeen(self.database, clock)
        self.idempotency = IdempotencyKeys(self.database, clock)
        self.spans = open_spans(settings.tracing, node_id=self.node_id)
        self.rate_counters = RateCounters(clock.now_us, keys_max=settings.limits.keys_max)
        self.rate_sharing = RateSharing(self.rate_counters, shared_counts(settings))
        self.revocations = RevocationWatch(self.database, clock, self.bus.deliver)

    def _build_telemetry(self) -> None:
        settings, clock = self.settings, self.clock
        self.store = reading_store(settings, node_id=self.node_id, clock=clock)
        self.retention = open_retention(self.database, self.store, clock=clock, settings=settings)
        self.catalog = Catalog(self.store, self.retention.keeping)
        self.intake = Intake(settings.telemetry, clock)
        self.last_values = LastValues(self.store, node_id=self.node_id)
        self.hub = Hub(clock, node_id=self.node_id)
        consumers: list[Callable[[Committed], None]] = [self.last_values.learn, self.hub.publish]
        self.writer = Writer(
            intake=self.intake,
            store=self.store,
            catalog=self.catalog,
            clock=clock,
            node_id=self.node_id,
            keep_heartbeats=self._keep_heartbeats,
            consumers=consumers,
        )
        self.follower = Follower(self.store, consumers)
        self.sealing = telemetry_jobs.Sealing(self.store.seal_slice, clock)

    def _build_doors(self) -> None:
        settings, clock = self.settings, self.clock
        self.outbound = Outbound(settings.outbound.allowed)
        self.sockets = Sockets(settings.live, clock)
        self.quotas = ReadingQuotas(self.quota, self.database)
        self.intake_door = IntakeDoor(
            self.catalog, self.intake, self.quotas, settings.telemetry.request_readings_max
        )
        self.exports, self.export_worker = open_exports(
            self.database,
            self.store,
            self.directory.path / "exports",
            clock=clock,
            settings=settings.exports,
            node_id=self.node_id,
        )
        self.importer = Importer(self.database, self.intake_door, quota=self.quota, clock=clock)
        self.tls = tls_context(settings.mqtt)
        self.mqtt_door = StationDoor(
            database=self.database,
            kept=KeptState(self.database, self.store, node_id=self.node_id),
            authenticator=self.authenticator,
            catalog=self.catalog,
            intake=self.intake,
            last_seen=self.last_seen,
            readings_max=settings.telemetry.request_readings_max,
            clock=clock,
            start_task=self._start_task,
            revoke=self._revoke,
            quotas=self.quotas,
            certificate_token=self.authority.token_of,
        )
        self.nodes = other_nodes(
            self.database, self.store, self.bus, node_id=self.node_id, clock=clock
        )
        self.mqtt: MqttServer | None = None
        if settings.mqtt.enabled:
            self.mqtt = MqttServer(
                mqtt_options(settings.mqtt), self.mqtt_door, clock, tls=self.tls, nodes=self.nodes
            )
        self.state = StationState(
            settings=settings,
            clock=clock,
            database=self.database,
            store=self.store,
            intake=self.intake,
            writer=self.writer,
            sealing=self.sealing,
            last_values=self.last_values,
            sockets=self.sockets,
            mqtt=None if self.mqtt is None else MqttHealth(self.mqtt),
            limits=self.rate_sharing,
            bus=self.bus,
            started_s=clock.monotonic(),
        )
        self.request_metrics = RequestMetrics(clock, lambda: prometheus_readings(self.state))

    def _subscribe(self) -> None:
        self.bus.subscribe(CredentialRevoked, self.revocations.hear)
        self.bus.subscribe(CredentialRevoked, lambda event: self._revoke(event.subject))
        self.bus.subscribe(DeviceDeleted, lambda event: self._forget_device(event.device_id))

    @property
    def is_running(self) -> bool:
        """Whether readings are taken in now."""
        return self._tasks is not None

    def components(self) -> dict[str, Any]:
        """Return what routes find in ``app.state``."""
        return {
            "settings": self.settings,
            "clock": self.clock,
            "database": self.database,
            "authenticator": self.authenticator,
            "passwords": self.passwords,
            "quota": self.quota,
            "named_limits": NamedLimits(self.rate_counters, self.settings.limits),
            "store": self.store,
            "intake_door": self.intake_door,
            "exports": self.exports,
            "retention": self.retention.desk,
            "last_values": self.last_values,
            "known_devices": self.known_devices,
            "last_seen": self.last_seen,
            "hub": self.hub,
            "sockets": self.sockets,
            "mqtt": self.mqtt,
            "station": self.state,
            "request_metrics": self.request_metrics,
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Runtime"]:
        """Run the station's work while the block lasts; then drain, save and close. The schema must
        be there.

        Raises ``Busy`` when the database is away at start, ``SettingsError`` when the MQTT port is
        taken.
        """
        try:
            await self.store.open()
            await self.retention.keeping.look()
            known = await self.last_values.rebuild()
            # No further than the log: a backup may have been restored.
            bounds = await self.store.log_bounds()
            begin = {node: min(known.get(node, 0), seq) for node, (_, seq) in bounds.items()}
            self.hub.begin_at(begin)
            self.follower.begin_at(begin)
            self.writer.told_seq = begin.get(self.node_id, 0)
            await self.authority.open(self.tls)
            await self._open_mqtt()
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                work = [tasks.create_task(coroutine, name=name) for name, coroutine in self._work()]
                try:
                    yield self
                    await self.drain()
                finally:
                    if self.mqtt is not None:
                        await self.mqtt.stop()
                    for task in work:
                        task.cancel()
            await self._save()
        finally:
            self._tasks = None
            await self.rate_sharing.close()
            if self.spans is not None:
                await self.spans.close()
            await self.store.close()
            await self.database.close()

    async def _open_mqtt(self) -> None:
        if self.mqtt is None:
            return
        try:
            await self.mqtt.start()
        except OSError as error:
            listen = self.settings.mqtt
            raise SettingsError(
                f"MQTT_LISTEN_PORT: cannot listen on {listen.host}:{listen.port} "
                f"({error.strerror}); choose another with --mqtt-port"
            ) from error

    async def drain(self) -> None:
        """Take nothing more by MQTT and wait, within a limit, until everything taken is committed.

        What is not committed by then was never acknowledged. Only the first call does anything.
        """
        if self.state.draining:
            return
        self.state.draining = True
        self.sockets.close_all()
        try:
            async with asyncio.timeout(self.settings.http.drain_timeout_s):
                if self.mqtt is not None:
                    await self.mqtt.drain()
                await self.intake.emptied()
        except TimeoutError:
            log.warning("drain_gave_up", readings=self.intake.queued)

    def _work(self) -> Sequence[tuple[str, Coroutine[Any, Any, None]]]:
        relay = OutboxRelay(self.database, self.clock, {devices.PURGE_TOPIC: self._purge_device})
        note_uses = partial(note_key_uses, self.authenticator, self.database)
        flush_s = self.settings.telemetry.last_values_flush_interval_s
        sync_s = self.settings.limits.sync_interval_s
        note_uses = partial(note_key_uses, self.authenticator, self.database)
        work: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("bus", self.bus.run_forever),
            ("writer", self.writer.write_forever),
            ("live", self.hub.run_forever),
            ("follower", self.follower.run_forever),
            ("jobs", self._job_runner().run_forever),
            ("revocations", self.revocations.run_forever),
            ("outbox", partial(repeat, relay.deliver_due, interval_s=OUTBOX_INTERVAL_S)),
            ("last-seen", partial(repeat, self.last_seen.flush, interval_s=FLUSH_INTERVAL_S)),
            ("last-values", partial(repeat, self.last_values.flush, interval_s=flush_s)),
            ("readings", partial(repeat, self.store.flush_due, interval_s=FLUSH_LOOK_INTERVAL_S)),
            ("key-uses", partial(repeat, note_uses, interval_s=KEY_USES_INTERVAL_S)),
            ("loop-lag", partial(watch_loop, self.state)),
            ("quotas", partial(repeat, self.quotas.look, interval_s=QUOTA_INTERVAL_S)),
            ("exports", self.export_worker.run_forever),
            ("retention", self.retention.keeping.run_forever),
            ("rate-limits", partial(repeat, self.rate_sharing.exchange, interval_s=sync_s)),
        ]
        supervised = [(name, supervise(name, start)) for name, start in work]
        if self.mqtt is not None:
            supervised.append(("mqtt", supervise("mqtt", self.mqtt.run)))
        return supervised

    def _job_runner(self) -> JobRunner:
        roll_up = partial(telemetry_jobs.roll_up_due, self.store, self.clock)
        trim = partial(telemetry_jobs.trim, self.store, self.clock, self.settings.telemetry)
        purge = partial(purge_expired, self.database, self.clock, self.settings.auth)
        jobs = [
            PeriodicJob("audit.chain", 10, self._chain_audit),
            PeriodicJob("identity.purge_expired", 3600, purge),
            PeriodicJob("idempotency.purge", 3600, self.idempotency.purge),
            PeriodicJob("exports.purge", 60, self.export_worker.purge),
            PeriodicJob("telemetry.trim", 300, trim),
            PeriodicJob("telemetry.seal", telemetry_jobs.SEAL_INTERVAL_S, self.sealing.run),
            PeriodicJob("telemetry.roll_up", telemetry_jobs.ROLL_UP_INTERVAL_S, roll_up),
            PeriodicJob("retention.expire", EXPIRY_INTERVAL_S, self.retention.expiry.run),
        ]
        if self.nodes is not None:
            jobs.append(PeriodicJob("mqtt.purge_sessions", 60, self.nodes.purge))
        return JobRunner(self.database, self.clock, node_id=self.node_id, jobs=jobs)

    async def _chain_audit(self) -> None:
        async with self.database.transaction() as session:
            await audit.chain_new_entries(session)

    async def _purge_device(self, payload: dict[str, Any]) -> None:
        organization_id, device_id = payload["organization_id"], payload["device_id"]
        self._forget_readings(device_id)
        await self.store.delete_device(organization_id, device_id)
        async with self.database.transaction() as session:
            note_change(session, device_id, now=self.clock.now())  # other nodes forget them, too

    async def _keep_heartbeats(self, heartbeats: Sequence[Heartbeat]) -> None:
        async with self.database.transaction() as session:
            await keep_heartbeats(session, heartbeats)

    async def _save(self) -> None:
        """Save what is only in memory; without it, a start rebuilds it from the intake log."""
        try:
            async with asyncio.timeout(SAVE_TIMEOUT_S):
                await self.last_values.flush()
                await self.last_seen.flush()
                await self.store.flush()
        except (Busy, TimeoutError) as error:
            log.warning("not_saved_at_stop", reason=str(error))

    def _revoke(self, subject: str) -> None:
        self.authenticator.forget(subject)
        self.sockets.revoke(subject)
        if self.mqtt is not None:
            self.mqtt.revoke(subject)
        changed = changed_entity(subject)
        if changed is None:
            self._forget_device(subject)  # if it is one, it was deleted, perhaps on another node
        else:
            self._forget_readings(changed)

    def _forget_device(self, device_id: str) -> None:
        self.known_devices.forget(device_id)
        self.mqtt_door.forget_device(device_id)
        self.follower.forget(device_id)

    def _forget_readings(self, device_id: str) -> None:
        self._forget_device(device_id)
        self.last_values.forget(device_id)

    def _start_task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._tasks is None:
            work.close()
            return
        self._tasks.create_task(work, name=name)
