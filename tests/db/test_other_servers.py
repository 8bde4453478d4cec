"""MySQL is no MariaDB and is told so by name; a proxy's greeting decides nothing."""

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fieldstation.adapters.diagnosis.mariadb import check_server
from fieldstation.adapters.diagnosis.report import Verdict
from fieldstation.core.errors import Conflict
from fieldstation.db.engines import database_url
from fieldstation.db.mariadb import connect_arguments
from fieldstation.db.mariadb_driver import connect
from fieldstation.migrations.upgrade import pending_revisions
from tests.cli.commands import run_command

pytestmark = pytest.mark.anyio

# Protocol 4.1, transactions, secure connection, plug-in authentication, connect with database.
CAPABILITIES = 1 << 3 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 19
OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
UNKNOWN = b"\xff" + struct.pack("<H", 1193) + b"#HY000Unknown system variable 'tx_isolation'"
QUERY = 0x03


def greeting(version: str) -> bytes:
    low, high = CAPABILITIES & 0xFFFF, CAPABILITIES >> 16
    return (
        b"\x0a"
        + version.encode()
        + b"\x00"
        + struct.pack("<I8sxHBHHB10x", 7, b"saltsalt", low, 45, 2, high, 21)
        + b"saltsaltsalt\x00mysql_native_password\x00"
    )


def one_text(value: str) -> list[bytes]:
    """Return the packets of a result with one row of one column."""
    names = b"\x03def\x00\x00\x00\x01v\x00"
    column = names + b"\x0c" + struct.pack("<HIBHBxx", 45, 256, 253, 0, 0)
    return [b"\x01", column, EOF, bytes([len(value)]) + value.encode(), EOF]


@asynccontextmanager
async def server(*, greets: str, version: str) -> AsyncGenerator[int, None]:
    """Speak just enough of the protocol to be asked for the version; a session as the station
    begins it succeeds on MariaDB only."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(first: int, packets: list[bytes]) -> None:
            for number, packet in enumerate(packets, first):
                writer.write(struct.pack("<I", len(packet))[:3] + bytes([number]) + packet)

        async def receive() -> bytes:
            head = await reader.readexactly(4)
            return await reader.readexactly(int.from_bytes(head[:3], "little"))

        send(0, [greeting(greets)])
        try:
            await receive()
            send(2, [OK])
            while True:
                command = await receive()
                if command[0] == QUERY and b"VERSION()" in command:
                    send(1, one_text(version))
                else:
                    is_known = "MariaDB" in version or b"tx_isolation" not in command
                    send(1, [OK if is_known else UNKNOWN])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


@pytest.mark.parametrize("version", ["8.0.36", "10.5.23-MariaDB-log"])
async def test_mysql_and_an_old_mariadb_are_refused_by_name(version: str) -> None:
    async with server(greets=version, version=version) as port:
        url = database_url(f"mysql://root@127.0.0.1:{port}/x", data_dir=Path())
        expected = f"The server is {version}; Fieldstation needs MariaDB 10.6 or newer."
        with pytest.raises(Conflict) as refused:
            await pending_revisions(url, "station")
        assert refused.value.detail == expected
        (found,) = await check_server(url, "station", ())
        assert (found.verdict, found.detail) == (Verdict.FAILURE, expected)


async def test_a_command_says_it_in_one_line(tmp_path: Path) -> None:
    async with server(greets="8.0.36", version="8.0.36") as port:
        url = f"mysql://root@127.0.0.1:{port}/x"
        done = await asyncio.to_thread(
            run_command, "migrate", "--database-url", url, data_dir=tmp_path
        )
    assert done.returncode == 1
    assert "The server is 8.0.36" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_mariadb_behind_a_proxy_that_greets_as_mysql_is_let_in() -> None:
    async with server(greets="8.0.11", version="10.11.6-MariaDB-log") as port:
        url = database_url(f"mysql://root@127.0.0.1:{port}/x", data_dir=Path())
        connection = await connect(**connect_arguments(url), answer_timeout_s=5)
        assert connection.connected
        connection.close()
