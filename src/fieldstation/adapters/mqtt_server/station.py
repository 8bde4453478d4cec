"""The station behind the MQTT server: whom it knows, which topics mean something."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any

import structlog

from fieldstation.adapters.mqtt_server.kept import KeptState
from fieldstation.adapters.mqtt_server.ports import (
    MqttCredentials,
    MqttIdentity,
    Receipt,
    Verdict,
)
from fieldstation.adapters.mqtt_server.sensor_topics import (
    SENSORS,
    is_shared,
    read_sensor_payload,
)
from fieldstation.core.clock import Clock
from fieldstation.core.errors import (
    Busy,
    Invalid,
    Malformed,
    TooDeep,
    TooLarge,
    Unauthenticated,
)
from fieldstation.core.ids import new_id
from fieldstation.db.database import Database
from fieldstation.domains.devices import adoption
from fieldstation.domains.devices.heartbeats import decode_heartbeat
from fieldstation.domains.devices.last_seen import LastSeen
from fieldstation.domains.identity.access import Authenticator, caller_of
from fieldstation.domains.telemetry.catalog import Catalog, DeviceSeries
from fieldstation.domains.telemetry.exchanges import Exchange
from fieldstation.domains.telemetry.groups import Heartbeat
from fieldstation.domains.telemetry.intake import Intake
from fieldstation.domains.telemetry.payloads import (
    Decoded,
    Incoming,
    check_count,
    decode_readings,
    read_item,
)
from fieldstation.domains.telemetry.ports import Refusal
from fieldstation.domains.telemetry.quotas import ReadingQuotas, Refused

log = structlog.get_logger(__name__)

PROTOCOL = "mqtt"
PUBLISH_SCOPE = "telemetry:write"
SUBSCRIBE_SCOPE = "telemetry:read"
REFUSED_PAYLOAD_BYTES_MAX = 4096
OWN_TOPIC_START = len("devices/")
BROKER_TOPICS = "$SYS/"
RETRY_S = 0.5

StartTask = Callable[[Coroutine[Any, Any, None], str], None]
Take = Callable[[DeviceSeries, str, bytes, Receipt], Verdict]


class StationDoor:
    """Implements ``MqttStation`` on the domains."""

    def __init__(
        self,
        *,
        database: Database,
        kept: KeptState,
        authenticator: Authenticator,
        catalog: Catalog,
        intake: Intake,
        last_seen: LastSeen,
        readings_max: int,
        clock: Clock,
        start_task: StartTask,
        revoke: Callable[[str], object],
        quotas: ReadingQuotas,
        certificate_token: Callable[[bytes], str | None],
    ) -> None:
        self._database = database
        self.load_retained = kept.load_retained
        self.load_sessions = kept.load_sessions
        self.save = kept.save
        self._authenticator = authenticator
        self._catalog = catalog
        self._intake = intake
        self._last_seen = last_seen
        self._readings_max = readings_max
        self._expiring: dict[str, asyncio.TimerHandle] = {}
        self._clock = clock
        self._start_task = start_task
        self._revoke = revoke
        self._certificate_token = certificate_token
        self._gateways: dict[str, DeviceSeries] = {}
        self._in_work: dict[str, list[Callable[[], None]]] = {}
        self._own_topics: dict[str, Take] = {
            "/readings": self._take_readings,
            "/heartbeat": self._take_heartbeat,
        }
        self._next_wakers: list[Callable[[], None]] | None = None
        self._over_quota: Refused = {}
        self._take = self._store
        self._quotas = quotas
        quotas.when_asked(self._refuse_over_quota)

    async def authenticate(self, credentials: MqttCredentials) -> MqttIdentity:
        token = self._token_of(credentials)
        principal = await self._authenticator.authenticate(token)
        caller = caller_of(principal, peer=credentials.peer)
        if caller.device_id is not None:
            await self._catalog.load(caller.organization_id, caller.device_id)
        await self._quotas.learn(caller.organization_id)
        if caller.expires_at is not None and principal.key_id is not None:
            self._end_at_expiry(principal.key_id, caller.expires_at)
        return MqttIdentity(
            organization_id=caller.organization_id,
            device_id=caller.device_id,
            user_id=caller.user_id,
            can_publish_any=caller.user_id is not None and PUBLISH_SCOPE in caller.scopes,
            can_subscribe_any=caller.user_id is not None and SUBSCRIBE_SCOPE in caller.scopes,
            subjects=caller.subjects,
        )

    def _token_of(self, credentials: MqttCredentials) -> str:
        """Return the key: the password, or what the client certificate stands for."""
        if credentials.password is None:
            shown = credentials.certificate
            certified = None if shown is None else self._certificate_token(shown)
            if certified is None:
                raise Unauthenticated("Connect with a device key or a user API key as password.")
            return certified
        try:
            token = credentials.password.decode("ascii")
        except UnicodeDecodeError as error:
            raise Unauthenticated("The password is not a key.") from error
        if not token.startswith(("fsd_", "fsu_")):
            raise Unauthenticated("The password is not a key.")
        return token

    def _end_at_expiry(self, key_id: str, expires_at: datetime) -> None:
        """Revoke a key's connections when it expires: one timer a key, not one a connection."""
        if key_id in self._expiring:
            return

        def expire() -> None:
            del self._expiring[key_id]
            self._revoke(key_id)

        left_s = (expires_at - self._clock.now()).total_seconds()
        self._expiring[key_id] = asyncio.get_running_loop().call_later(left_s, expire)

    def publish(
        self, identity: MqttIdentity, topic: str, payload: bytes, receipt: Receipt
    ) -> Verdict:
        device_id = identity.device_id
        if device_id is None:
            return self._publish_as_user(identity, topic, payload, receipt)
        end = OWN_TOPIC_START + len(device_id)
        if topic.startswith("devices/") and topic[OWN_TOPIC_START:end] == device_id:
            handler = self._own_topics.get(topic[end:])
            if handler is None:
                return Verdict.PASSED if topic[end : end + 1] == "/" else Verdict.DENIED
        elif topic.startswith(SENSORS):
            handler = self._take_sensor
        else:
            return Verdict.PASSED if is_shared(topic) else Verdict.DENIED
        device = self._catalog.cached(device_id)
        if device is None:
            return self._load_again(identity.organization_id, device_id)
        return handler(device, topic, payload, receipt)

    def may_publish(self, identity: MqttIdentity, topic: str) -> bool:
        if identity.device_id is None:
            return identity.can_publish_any and not topic.startswith(BROKER_TOPICS)
        return topic.startswith(f"devices/{identity.device_id}/") or is_shared(topic)

    def is_over_quota(self, identity: MqttIdentity) -> bool:
        publishes = identity.device_id is not None or identity.can_publish_any
        return publishes and identity.organization_id in self._over_quota

    def may_subscribe(self, identity: MqttIdentity, topic_filter: str) -> bool:
        if identity.can_subscribe_any or identity.device_id is None:
            return identity.can_subscribe_any
        return topic_filter.startswith(f"devices/{identity.device_id}/") or is_shared(topic_filter)

    def when_ready(self, wake: Callable[[], None]) -> None:
        wakers, self._next_wakers = self._next_wakers, None
        if wakers is None:
            self._intake.when_ready(wake)
        else:
            wakers.append(wake)

    def seen(self, identity: MqttIdentity) -> None:
        if identity.device_id is not None:
            self._last_seen.note(identity.device_id)

    def keep_exchange(self, exchange: Exchange) -> None:
        self._intake.keep(exchange)

    def end_exchange(self, exchange: Exchange, receipt: Receipt) -> None:
        self._intake.release(exchange, receipt)

    def forget_device(self, device_id: str) -> None:
        """Drop what is remembered of a deleted device; a gateway is made again on its next use."""
        self._catalog.forget(device_id)
        for organization_id, gateway in tuple(self._gateways.items()):
            if gateway.device_id == device_id:
                del self._gateways[organization_id]

    def _publish_as_user(
        self, identity: MqttIdentity, topic: str, payload: bytes, receipt: Receipt
    ) -> Verdict:
        if not identity.can_publish_any or topic.startswith(BROKER_TOPICS):
            return Verdict.DENIED
        if not topic.startswith(SENSORS):
            return Verdict.PASSED
        organization_id = identity.organization_id
        gateway = self._gateways.get(organization_id)
        if gateway is None:
            return self._wait_for(
                f"gateway:{organization_id}", lambda: self._make_gateway(organization_id)
            )
        self._last_seen.note(gateway.device_id)
        return self._take_sensor(gateway, topic, payload, receipt)

    def _take_readings(
        self, device: DeviceSeries, topic: str, payload: bytes, receipt: Receipt
    ) -> Verdict:
        try:
            decoded = decode_readings(payload)
        except (Malformed, Invalid, TooLarge) as error:
            return self._refuse_unread(device, topic, payload, receipt, error)
        return self._take(device, topic, payload, receipt, decoded)

    def _take_sensor(
        self, device: DeviceSeries, topic: str, payload: bytes, receipt: Receipt
    ) -> Verdict:
        parts = topic.split("/")
        if len(parts) != 3 or not all(parts):
            return Verdict.PASSED
        try:
            item = read_sensor_payload(payload, sensor_type=parts[1], sensor_id=parts[2])
        except (Malformed, TooLarge) as error:
            return self._refuse_unread(device, topic, payload, receipt, error)
        reading = read_item(item)
        if not isinstance(reading, Incoming):
            code, detail = reading
            return self._refuse(device, topic, payload, receipt, error=code, detail=detail)
        return self._take(device, topic, payload, receipt, Decoded([reading], None, []))

    def _refuse_over_quota(self, over_quota: Refused) -> None:
        """Look at quotas only while there is an organization to refuse."""
        self._over_quota = over_quota
        self._take = self._store_within_quota if over_quota else self._store

    def _store_within_quota(
        self,
        device: DeviceSeries,
        topic: str,
        payload: bytes,
        receipt: Receipt,
        decoded: Decoded,
    ) -> Verdict:
        fault = self._over_quota.get(device.organization_id)
        if fault is None:
            return self._store(device, topic, payload, receipt, decoded)
        verdict = self._refuse(
            device, topic, payload, receipt, error=fault.code, detail=fault.detail
        )
        return Verdict.OVER_QUOTA if verdict is Verdict.REFUSED else verdict

    def _store(
        self,
        device: DeviceSeries,
        topic: str,
        payload: bytes,
        receipt: Receipt,
        decoded: Decoded,
    ) -> Verdict:
        try:
            check_count(decoded, count_max=self._readings_max)
            _, taken, rejected = self._intake.offer(device, decoded.readings, protocol=PROTOCOL)
        except Busy:
            return Verdict.FULL
        except TooLarge as error:
            return self._refuse(
                device, topic, payload, receipt, error=error.code, detail=error.detail
            )
        faults = decoded.rejected or rejected
        if faults:
            first = faults[0]
            self._keep_refusal(device, topic, payload, error=first.error, detail=first.detail)
        elif not taken:
            return Verdict.PASSED
        self._intake.count_for(receipt)
        return Verdict.TAKEN if taken else Verdict.REFUSED

    def _take_heartbeat(
        self, device: DeviceSeries, topic: str, payload: bytes, receipt: Receipt
    ) -> Verdict:
        if not self._intake.has_room(device.organization_id):
            return Verdict.FULL
        try:
            decode_heartbeat(payload)
        except Invalid as error:
            return self._refuse(
                device, topic, payload, receipt, error=error.code, detail=error.detail
            )
        now_us = self._clock.now_us()
        self._intake.beat(Heartbeat(device.organization_id, device.device_id, payload, now_us))
        self._intake.count_for(receipt)
        return Verdict.TAKEN

    def _refuse_unread(
        self,
        device: DeviceSeries,
        topic: str,
        payload: bytes,
        receipt: Receipt,
        error: Malformed | Invalid | TooLarge,
    ) -> Verdict:
        verdict = self._refuse(
            device, topic, payload, receipt, error=error.code, detail=error.detail
        )
        too_deep = verdict is Verdict.REFUSED and isinstance(error, TooDeep)
        return Verdict.TOO_LARGE if too_deep else verdict

    def _refuse(
        self,
        device: DeviceSeries,
        topic: str,
        payload: bytes,
        receipt: Receipt,
        *,
        error: str,
        detail: str,
    ) -> Verdict:
        """Keep a message with its reason; it is acknowledged once that is committed."""
        if not self._intake.has_room(device.organization_id):
            return Verdict.FULL
        self._keep_refusal(device, topic, payload, error=error, detail=detail)
        self._intake.count_for(receipt)
        return Verdict.REFUSED

    def _keep_refusal(
        self, device: DeviceSeries, topic: str, payload: bytes, *, error: str, detail: str
    ) -> None:
        self._intake.refuse(
            Refusal(
                id=new_id(),
                organization_id=device.organization_id,
                device_id=device.device_id,
                received_us=self._clock.now_us(),
                topic=topic,
                payload=bytes(payload[:REFUSED_PAYLOAD_BYTES_MAX]),
                error=error,
                detail=detail,
            )
        )

    def _load_again(self, organization_id: str, device_id: str) -> Verdict:
        """Read a device's series again that fell out of memory; the connection waits meanwhile."""

        async def load() -> None:
            await self._catalog.load(organization_id, device_id)

        return self._wait_for(f"series:{device_id}", load)

    async def _make_gateway(self, organization_id: str) -> None:
        async with self._database.transaction() as session:
            device_id = await adoption.ensure_gateway(
                session, organization_id, now=self._clock.now()
            )
        self._gateways[organization_id] = await self._catalog.load(organization_id, device_id)

    def _wait_for(self, name: str, work: Callable[[], Awaitable[None]]) -> Verdict:
        """Do some work once for everybody who waits for it, then wake them; the next ``when_ready``
        joins them."""
        waiting = self._in_work.get(name)
        if waiting is None:
            waiting = []
            self._in_work[name] = waiting
            self._start_task(self._work_then_wake(name, work), f"mqtt-{name}")
        self._next_wakers = waiting
        return Verdict.WAIT

    async def _work_then_wake(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:  # whatever it is costs these connections a moment, not the station
            log.exception("mqtt_preparation_failed", work=name)
            await asyncio.sleep(RETRY_S)  # the woken connections ask again, and so try again
        finally:
            for wake in self._in_work.pop(name):
                wake()
