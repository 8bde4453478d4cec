"""Connections to a MariaDB server, and running steps on them on the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.engine import URL

from fieldstation.core.errors import Busy, TooLarge, disk_full
from fieldstation.db.mariadb import AWAY, CONTENDED, DISK_FULL, connect_arguments, error_number
from fieldstation.db.mariadb_driver import answering, connect
from fieldstation.domains.telemetry.store.driving import driven
from fieldstation.domains.telemetry.store.mariadb_statements import bytes_of, inserts, numbered
from fieldstation.domains.telemetry.store.steps import Insert, KeyTaken, Query, Row, Steps

if TYPE_CHECKING:
    import asyncmy

    Connection = asyncmy.Connection

CONNECT_TIMEOUT_S = 3.0
ACQUIRE_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 5.0
IDLE_S_MAX = 300.0
UNSURE_AFTER_S = 1.0
FLUSHING_WAIT_S = 10
FLUSHING_IDLE_S = 600
STATEMENTS_PREPARED_MAX = 64
LOCK_ATTEMPTS_MAX = 3
PACKET_BYTES_BESIDE = 4_096

READING = (
    f"SET SESSION max_statement_time = {READ_TIMEOUT_S}",
    "SET SESSION TRANSACTION READ ONLY",
)
# A row that whoever writes holds until its transaction ends; so no two of ours ever wait crosswise.
# It is counted up, for the server shows a commit before it is on its disk: who finds a duplicate
# there writes nothing else, and must not acknowledge it before.
TAKE_TURN = "UPDATE tally SET amount = amount + 1 WHERE name = 'turn'"
MAKE_TURN = (
    "INSERT INTO tally (name, amount) VALUES ('turn', 1)"
    " ON DUPLICATE KEY UPDATE amount = amount + 1"
)
DUPLICATE_KEY = 1062
PACKET_TOO_LARGE = 1153

Result = TypeVar("Result")


class Server:
    """How to reach one database; raises ``Busy`` for whatever passes by itself.

    ``readers`` connections read, one writes; whoever wants a sixth reader waits five seconds.
    """

    def __init__(self, url: URL, *, readers: int) -> None:
        self._arguments = connect_arguments(url)
        self._database = url.database or ""
        self._driver = load_driver()
        self._readers = readers
        self._free = asyncio.Semaphore(readers)
        self._idle: list[Idle] = []
        self._lent: set[Connection] = set()
        self._writer: Idle | None = None
        self._packet_bytes_max = 0

    async def open(self) -> None:
        """Connect one reader: a server that is not there is found out now."""
        async with self.reading():
            pass

    async def close(self) -> None:
        """Let reads finish for a while, then close every connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                for _ in range(self._readers):
                    await self._free.acquire()
        for idle in [*self._idle, *filter(None, [self._writer])]:
            idle.connection.close()
        for connection in self._lent:
            connection.close()
        self._idle.clear()
        self._writer = None

    @asynccontextmanager
    async def reading(self) -> "AsyncGenerator[Connection, None]":
        """Lend a connection; a caller that is cancelled stops its query on the server as well."""
        with self.naming_errors():
            async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
                await self._free.acquire()
            try:
                async with self._lent_reader() as connection:
                    yield connection
            finally:
                self._free.release()

    @asynccontextmanager
    async def _lent_reader(self) -> "AsyncGenerator[Connection, None]":
        connection = await self._idle_reader() or await self._connect(READ_TIMEOUT_S, *READING)
        self._lent.add(connection)
        try:
            yield connection
            self._idle.append(Idle(connection))
        except asyncio.CancelledError:
            connection.close()
            await self._stop_query(connection)
            raise
        except BaseException:
            # Whatever it was, nobody may get this one again.
            connection.close()
            raise
        finally:
            self._lent.discard(connection)

    async def _idle_reader(self) -> "Connection | None":
        while self._idle:
            if connection := await self._idle.pop().taken_up():
                return connection
        return None

    async def _stop_query(self, connection: "Connection") -> None:
        """End what a connection that is closed here still runs there."""
        with suppress(TimeoutError, OSError, self._driver.errors.Error):
            other = await self._connect(CONNECT_TIMEOUT_S)
            try:
                await _run(other, f"KILL CONNECTION {connection.thread_id()}")
            finally:
                other.close()

    async def transact(
        self,
        work: "Callable[[Connection], Awaitable[Result]]",
        *,
        alone: bool = False,
        commit: Callable[[Result], str] = lambda _: "COMMIT",
    ) -> Result:
        """Run ``work`` in a transaction on the one writing connection; the caller never overlaps
        two.

        No other node's transaction runs meanwhile, ``alone`` or not. Waiting for that is tried
        again; nothing has happened by then.

        After anything but a success the connection is given up, and the server rolls back. When
        that happens during the commit nobody knows whether it took place; the caller has to look.
        """
        del alone
        with self.naming_errors():
            idle, self._writer = self._writer, None
            connection = await idle.taken_up() if idle else None
            if connection is None:
                connection = await self._connect(WRITE_TIMEOUT_S)
            try:
                await self._take_turn(connection)
                result = await work(connection)
                await _run(connection, commit(result))
            except BaseException:
                connection.close()
                raise
            self._writer = Idle(connection)
            return result

    async def _take_turn(self, connection: "Connection") -> None:
        for attempt in range(1, LOCK_ATTEMPTS_MAX + 1):
            await _run(connection, "START TRANSACTION")
            try:
                async with _answering(connection), connection.cursor() as cursor:
                    await cursor.execute(TAKE_TURN)
                    is_missing = cursor.rowcount == 0
                if is_missing:
                    await _run(connection, MAKE_TURN)
            except self._driver.errors.Error as error:
                if error_number(error) not in CONTENDED or attempt == LOCK_ATTEMPTS_MAX:
                    raise
                await _run(connection, "ROLLBACK")
            else:
                return

    @asynccontextmanager
    async def flushing_alone(self) -> AsyncGenerator[None, None]:
        """Keep every other node from flushing; waits ten seconds for one that does."""
        name = f"fieldstation.flush.{self._database}"[:64]
        with self.naming_errors():
            connection = await self._connect(
                FLUSHING_WAIT_S + WRITE_TIMEOUT_S, f"SET SESSION wait_timeout = {FLUSHING_IDLE_S}"
            )
            try:
                ((taken,),) = await _run(
                    connection, "SELECT GET_LOCK(%s, %s)", [name, FLUSHING_WAIT_S]
                )
                if taken != 1:
                    raise Busy("Another node moves readings into chunks; try again.")
                yield
            finally:
                connection.close()

    async def drive(
        self, connection: "Connection", steps: Steps[Result], *, in_thread: bool = False
    ) -> Result:
        """Run steps to their result; what they compute runs beside the event loop if wanted."""
        return await driven(
            steps, lambda step: self._execute(connection, step), in_thread=in_thread
        )

    async def _execute(self, connection: "Connection", step: Query | Insert) -> list[Row]:
        if isinstance(step, Query):
            return await _run(connection, *numbered(step))
        for statement, arguments in inserts(step):
            if bytes_of(arguments) > self._packet_bytes_max:
                raise TooLarge(
                    f"{bytes_of(arguments)} bytes are more than MariaDB takes at once; raise its "
                    "max_allowed_packet, or send less metadata at a time."
                )
            await _run(connection, statement, arguments)
        return []

    async def _connect(self, read_timeout_s: float, *statements: str) -> "Connection":
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            connection = await connect(
                **self._arguments,
                answer_timeout_s=read_timeout_s,
                autocommit=True,
                stmt_cache_size=STATEMENTS_PREPARED_MAX,
            )
            try:
                for statement in statements:
                    await _run(connection, statement)
                ((packet_bytes,),) = await _run(connection, "SELECT @@max_allowed_packet")
            except BaseException:
                connection.close()
                raise
        self._packet_bytes_max = packet_bytes - PACKET_BYTES_BESIDE
        return connection

    @contextmanager
    def naming_errors(self) -> Generator[None, None, None]:
        """Translate what passes by itself to ``Busy`` and a taken key to ``KeyTaken``."""
        errors = self._driver.errors
        try:
            yield
        except errors.Error as error:
            number = error_number(error)
            if number == DUPLICATE_KEY:
                raise KeyTaken(str(error)) from error
            if number in DISK_FULL:
                raise disk_full() from error
            if number == PACKET_TOO_LARGE:
                raise TooLarge("MariaDB's max_allowed_packet is too small for this.") from error
            if number not in AWAY and not isinstance(error, errors.InterfaceError):
                raise
            raise _busy(error) from error
        except (OSError, TimeoutError) as error:
            raise _busy(error) from error


class Idle:
    """A connection that nobody uses, and since when."""

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self._since = asyncio.get_running_loop().time()

    async def taken_up(self) -> "Connection | None":
        """Return it if the server is still there: asked after a second, given up after minutes."""
        idle_s = asyncio.get_running_loop().time() - self._since
        if self.connection.connected and idle_s < UNSURE_AFTER_S:
            return self.connection
        if self.connection.connected and idle_s < IDLE_S_MAX:
            with suppress(OSError, TimeoutError, load_driver().errors.Error):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await _run(self.connection, "DO 1")
                return self.connection
        self.connection.close()
        return None


def _busy(error: BaseException) -> Busy:
    reason = str(error.args[-1] if error.args else "") or type(error).__name__
    return Busy(f"The telemetry database cannot be used now ({reason}); try again.")


async def _run(connection: "Connection", statement: str, arguments: Any = ()) -> list[Row]:
    async with _answering(connection), connection.cursor() as cursor:
        await cursor.execute(statement, arguments or None)
        return list(await cursor.fetchall()) if cursor.description else []


def _answering(connection: Any) -> AbstractAsyncContextManager[None]:
    return answering(connection, connection.answer_timeout_s)


def load_driver() -> Any:  # a module that need not be installed has no type
    """Import asyncmy, which only stations on MariaDB install."""
    try:
        driver = import_module("asyncmy")
        import_module("asyncmy.errors")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "MariaDB needs an extra: pip install 'fieldstation[mariadb]'", name=error.name
        ) from error
    return driver
