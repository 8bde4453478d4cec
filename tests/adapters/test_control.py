"""The control socket: what the command line asks of a running station, and what it is told."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fieldstation.adapters.control import ControlServer, ask_station, short_path
from fieldstation.core.errors import Conflict, StationError

pytestmark = pytest.mark.anyio


class Operations:
    """What can be asked."""

    async def add(self, *, left: int, right: int) -> int:
        return left + right

    async def refuse(self) -> None:
        raise Conflict("That name is taken.", code="name_taken")

    async def break_down(self) -> None:
        raise LookupError("a defect with hunter2 in it")

    async def say_much(self) -> str:
        return "ü" * 1_000_000


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Path]:
    told = Operations()
    operations = {
        "add": told.add,
        "refuse": told.refuse,
        "break": told.break_down,
        "much": told.say_much,
    }
    async with ControlServer(path / "control.sock", operations).listening():
        yield path / "control.sock"


async def test_an_operation_is_answered(tmp_path: Path) -> None:
    async with listening(tmp_path) as path:
        assert await ask_station(path, "add", {"left": 2, "right": 3}) == 5
        assert len(await ask_station(path, "much", {})) == 1_000_000


async def test_several_ask_at_once(tmp_path: Path) -> None:
    async with listening(tmp_path) as path:
        asked = (ask_station(path, "add", {"left": n, "right": n}) for n in range(20))
        assert await asyncio.gather(*asked) == [2 * n for n in range(20)]


async def test_a_refusal_keeps_its_sentence_and_code(tmp_path: Path) -> None:
    async with listening(tmp_path) as path:
        with pytest.raises(StationError) as refused:
            await ask_station(path, "refuse", {})
    assert (refused.value.detail, refused.value.code) == ("That name is taken.", "name_taken")


async def test_an_unknown_operation_is_a_sentence(tmp_path: Path) -> None:
    async with listening(tmp_path) as path:
        with pytest.raises(StationError, match="knows no operation dance"):
            await ask_station(path, "dance", {})


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [("break", {}), ("add", {"left": 1}), ("add", {"left": 1, "right": 1, "more": 1})],
)
async def test_a_defect_is_a_sentence_too_and_the_server_goes_on(
    tmp_path: Path, operation: str, arguments: dict[str, Any]
) -> None:
    async with listening(tmp_path) as path:
        with pytest.raises(StationError) as told:
            await ask_station(path, operation, arguments)
        assert "hunter2" not in told.value.detail
        assert await ask_station(path, "add", {"left": 1, "right": 1}) == 2


async def send_line(path: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("line", [b"no json\n", b"{}\n", b"[]\n", b'{"operation": 5}\n', b"\xff\n"])
async def test_a_line_that_is_no_request_is_refused(tmp_path: Path, line: bytes) -> None:
    async with listening(tmp_path) as path:
        assert msgspec.json.decode(await send_line(path, line))["error"] == "malformed"


async def test_a_line_without_an_end_and_one_without_limit_get_no_answer(tmp_path: Path) -> None:
    async with listening(tmp_path) as path:
        assert await send_line(path, b'{"operation": "add"') == b""
        assert await send_line(path, b"x" * 70_000) == b""
        assert await ask_station(path, "add", {"left": 1, "right": 1}) == 2


async def test_only_the_owner_may_ask(tmp_path: Path) -> None:
    async with listening(tmp_path) as path:
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


async def test_a_socket_that_a_crash_left_behind_is_replaced(tmp_path: Path) -> None:
    async with listening(tmp_path) as path:
        leftover = path.with_name("leftover")
        os.link(path, leftover)
    leftover.rename(path)
    with pytest.raises(ConnectionRefusedError):
        await ask_station(path, "add", {})
    async with listening(tmp_path) as path:
        assert await ask_station(path, "add", {"left": 1, "right": 1}) == 2


async def test_without_a_station_there_is_nothing_to_ask(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await ask_station(tmp_path / "control.sock", "add", {})


async def test_a_long_path_is_reached_from_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert short_path(deep / "control.sock") == "control.sock"
    async with listening(deep) as path:
        assert await ask_station(path, "add", {"left": 1, "right": 1}) == 2
