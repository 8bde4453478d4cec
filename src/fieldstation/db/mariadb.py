"""What MariaDB needs to be told to mean the same as the other databases.

Its own defaults compare texts without case, accents and trailing spaces, keep 64 KiB in a BLOB or
TEXT, and lock ranges between rows.
"""

import re
import ssl
from collections.abc import Mapping
from typing import Any

from sqlalchemy import LargeBinary, Text
from sqlalchemy.engine import URL
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

from fieldstation.core.settings import SettingsError

BACKEND = "mariadb"
VERSION_MIN = (10, 6)
"""JSON_TABLE, SKIP LOCKED and INSERT … RETURNING."""
COLLATION = "utf8mb4_nopad_bin"
"""Code points, and a space at the end counts: equal and unique mean what they mean elsewhere."""
LOCK_WAIT_S = 5
IDLE_IN_TRANSACTION_S = 30
IDLE_S = 3_600
CONNECT_TIMEOUT_S = 5

SQL_MODE = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
SESSION = ", ".join(
    (
        f"SET NAMES utf8mb4 COLLATE {COLLATION}",
        f"SESSION sql_mode = '{SQL_MODE}'",
        "SESSION tx_isolation = 'READ-COMMITTED'",
        "SESSION time_zone = '+00:00'",
        f"SESSION innodb_lock_wait_timeout = {LOCK_WAIT_S}",
        f"SESSION wait_timeout = {IDLE_S}",
        # Whoever vanished in the middle of a transaction must not keep its locks.
        f"SESSION idle_transaction_timeout = {IDLE_IN_TRANSACTION_S}",
    )
)
"""One statement that each connection begins with, whatever the server's defaults are."""

# https://mariadb.com/kb/en/mariadb-error-codes/ and, from 2000 on, the client's own.
CONTENDED = frozenset({1020, 1205, 1213})
"""The record changed, lock wait timeout, deadlock: the same again may succeed."""
DISK_FULL = frozenset({1021, 1114})
"""No space left, and a table that is full: InnoDB says so when its file cannot grow."""
TLS_FAILED = 2026
AWAY = (
    CONTENDED
    | DISK_FULL
    | {
        *(1028, 1030, 1037, 1038, 1041),  # sorting, the engine, memory
        *(1040, 1203, 1226),  # too many connections
        *(1053, 1077, 1079, 1080, 1317, 1927, 1969),  # shutting down, interrupted, killed
        *(1158, 1159, 1160, 1161, 1184),  # network
        *(1290, 1792, 1836),  # read-only
        *(2002, 2003, 2006, 2013, 2014, 2055, 4031),  # not there, or no longer
        TLS_FAILED,
    }
)
NOT_LET_IN = frozenset({1044, 1045, 1049, 1698})
"""No such user, a wrong password, no such database."""
ACCEPTED_OPTIONS = frozenset({"charset", "ssl", "ssl_ca", "unix_socket"})
ON, OFF = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def error_number(error: BaseException | None) -> int | None:
    """Return the server's or driver's number of an error; None for errors of other databases."""
    if not type(error).__module__.startswith("asyncmy"):
        return None
    number = error.args[0] if error is not None and error.args else None
    return number if isinstance(number, int) else None


def check_options(url: URL, name: str) -> None:
    """Raise ``SettingsError`` for an option of the URL that would do nothing, or cannot be used."""
    for option in sorted(url.query.keys() - ACCEPTED_OPTIONS):
        raise SettingsError(
            f"{name}: the option {option} is not known; "
            f"MariaDB takes {', '.join(sorted(ACCEPTED_OPTIONS))}"
        )
    if str(url.query.get("ssl", "true")).lower() not in ON | OFF:
        raise SettingsError(f"{name}: the option ssl is true or false")
    if "ssl_ca" in url.query:
        file = str(url.query["ssl_ca"])
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SettingsError(
                f"{name}: ssl_ca={file} cannot be used ({reason}); name a PEM file of certificates"
            ) from error


def connect_arguments(url: URL) -> dict[str, Any]:
    """Return how the driver reaches a database, for ``asyncmy.connect``.

    Options of the URL are ``ssl_ca`` (a file: TLS with a verified certificate), ``ssl=true`` (TLS
    without verification) and ``unix_socket``; ``charset`` is utf8mb4 whatever it says.
    """
    return {
        "host": url.host or "127.0.0.1",
        "port": url.port or 3306,
        "user": url.username or "",
        # The driver encodes texts as latin-1.
        "password": (url.password or "").encode(),
        "database": url.database,
        "charset": "utf8mb4",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "program_name": "fieldstation",
        "binary_prefix": True,
        **_transport(url.query),
    }


def _transport(query: Mapping[str, str | tuple[str, ...]]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if "unix_socket" in query:
        chosen["unix_socket"] = str(query["unix_socket"])
    if "ssl_ca" in query:
        chosen["ssl"] = {"ca": str(query["ssl_ca"])}
    elif str(query.get("ssl", "")).lower() in ON:
        chosen["ssl"] = True
    return chosen


def server_version(text: str) -> tuple[int, int] | None:
    """Read ``VERSION()``, as in ``10.11.6-MariaDB``; None for another server, such as MySQL."""
    found = re.search(r"(\d+)\.(\d+)\.\d+-MariaDB", text, re.IGNORECASE)
    return (int(found[1]), int(found[2])) if found else None


def is_supported(version: str) -> bool:
    """Tell whether ``VERSION()`` is that of a MariaDB which has what the station needs."""
    found = server_version(version)
    return found is not None and found >= VERSION_MIN


def broken_constraint(statement: str | None, message: str) -> str:
    """Name what a refused INSERT or UPDATE broke: the server gives the key's name after the value
    of the user's, and not the table's."""
    table = (statement or "").partition("(")[0].partition(" SET ")[0]
    return f"{table} {message.rpartition(' for key ')[2]}"


@compiles(CreateTable, BACKEND)
def create_table(element: CreateTable, compiler: Any, **kw: Any) -> str:
    """Say of every table what the database's defaults may say otherwise."""
    made = str(compiler.visit_create_table(element, **kw)).rstrip()
    return (
        f"{made} ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE {COLLATION}"
    )


@compiles(LargeBinary, BACKEND)
def large_binary(*_: Any, **__: Any) -> str:
    return "LONGBLOB"


@compiles(Text, BACKEND)
def text(*_: Any, **__: Any) -> str:
    return "LONGTEXT"
