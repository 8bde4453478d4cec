"""The declarative base of the station's tables, and the metadata of the telemetry database."""

from typing import Any, ClassVar

from sqlalchemy import JSON, MetaData, String
from sqlalchemy.orm import DeclarativeBase

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

ID_LENGTH = 36

telemetry_metadata = MetaData(naming_convention=NAMING)
"""Tables of the telemetry database: its own file on SQLite, its own server if so configured.

No statement joins the two.
"""


class Base(DeclarativeBase):
    """Tables of the station database."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON,
        str: String(255),
    }
