"""A time may be written in every form of the contract, and means the same in each."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fieldstation.core.clock import instant_to_us
from fieldstation.web.instants import Instant
from tests.clients import StationClient, expect
from tests.wait_until import wait_until_blocking

INSTANT = TypeAdapter[datetime](Instant)
NOON = datetime(2027, 5, 1, 12, tzinfo=UTC)
NOON_S = int(NOON.timestamp())
FORMS = [
    *(NOON_S, NOON_S * 10**3, NOON_S * 10**6, NOON_S * 10**9),
    *(float(NOON_S), str(NOON_S), str(NOON_S * 10**9), f"{NOON_S}.0"),
    *("2027-05-01T12:00:00Z", "2027-05-01T14:00:00+02:00", "2027-05-01T14:00:00 02:00"),
    *("2027-05-01T12:00:00", "2027-05-01 12:00:00", "2027-05-01t12:00:00z"),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_instant_in_utc(form: object) -> None:
    found = INSTANT.validate_python(form)
    assert (found, found.tzinfo) == (NOON, UTC)


@given(st.datetimes(datetime(1973, 3, 4), datetime(2199, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_nanoseconds_in_a_text_lose_nothing(instant: datetime) -> None:
    assert INSTANT.validate_python(str(instant_to_us(instant) * 1000 + 999)) == instant


@pytest.mark.parametrize(
    "form", ["", "yesterday", "nan", 1e300, "1e300", 10**400, True, None, [], {}, "12:00"]
)
def test_anything_else_is_refused(form: object) -> None:
    with pytest.raises(ValidationError):
        INSTANT.validate_python(form)


@pytest.mark.parametrize("form", FORMS)
def test_keys_end_at_times_in_every_form(client: StationClient, form: Any) -> None:
    device = client.register_device()
    body = {"name": "k", "scopes": ["devices:read"], "expires_at": form}
    made = expect(client.http.post("/api/v1/auth/api-keys", json=body), 201)
    del body["scopes"]
    of_device = expect(client.http.post(f"/api/v1/devices/{device.id}/keys", json=body), 201)
    assert made["expires_at"] == of_device["expires_at"] == "2027-05-01T12:00:00Z"


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_queries_take_times_in_every_form(client: StationClient, factor: int) -> None:
    device = client.register_device()
    client.send(device, {"sensor_type": "t", "value": 1})

    def found(**query: int) -> int:
        return len(client.get("/api/v1/devices", **query)["items"])

    wait_until_blocking(lambda: found(last_seen_before=NOON_S * factor) == 1)
    assert found(last_seen_before=1_000_000_000 * factor) == 0
    readings = client.get(device.readings_path, start=NOON_S * factor)
    assert readings["items"] == []
