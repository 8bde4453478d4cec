"""The authenticator's memory: fast, bounded, and never staler than a revocation."""

from datetime import timedelta
from time import perf_counter

import anyio
import pytest

from fieldstation.core.clock import ManualClock, SystemClock
from fieldstation.core.errors import Busy, StationError, Unauthenticated
from fieldstation.core.events import Event
from fieldstation.db.database import Session
from fieldstation.domains.identity.access import caller_from_headers, caller_of, principal_from_headers
from fieldstation.domains.identity.jobs import (
    RevocationWatch,
    note_key_uses,
    purge_expired,
)
from fieldstation.domains.identity.models import (
    ApiKey,
    LoginThrottle,
    RefreshToken,
    Revocation,
    SocketTicket,
)
from fieldstation.domains.identity.queries import credentials as queries
from fieldstation.domains.identity.service.revocations import revoke
from starlette.datastructures import Headers
from tests.domains.identity.stations import (
    PASSWORD,
    Person,
    Station,
    expect,
    open_station,
    refusal,
)
from tests.domains.identity.test_keys import DEVICE, issue_device_key
from tests.wait_until import wait_until
