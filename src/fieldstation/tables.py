"""Imports every model, so that each metadata is whole: the station's and the telemetry's."""

from sqlalchemy import MetaData

from fieldstation.db import idempotency, jobs, outbox
from fieldstation.db.base import Base, telemetry_metadata
from fieldstation.domains.audit import models as audit
from fieldstation.domains.devices import models as devices
from fieldstation.domains.exports import models as exports
from fieldstation.domains.identity import models as identity
from fieldstation.domains.messaging import models as messaging
from fieldstation.domains.retention import models as retention
from fieldstation.domains.telemetry import models as telemetry

MODULES = (
    audit,
    devices,
    exports,
    idempotency,
    identity,
    jobs,
    messaging,
    outbox,
    retention,
    telemetry,
)

METADATA: dict[str, MetaData] = {"station": Base.metadata, "telemetry": telemetry_metadata}
"""By target of a migration."""
