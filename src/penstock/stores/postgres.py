"""A PostgreSQL server as a store: few connections, a deadline for every call, and a breaker before them.

The first call that cannot reach the server, or gets no answer in time, opens the breaker: from then on all calls fail
at once, so nobody waits for a server that is not there, and a task asks again and again whether it is back. A process
that was stopped has not asked for long: then the next call finds out for itself. A call that the server refuses for its
own sake (a broken rule, a value that fits no column) says nothing about the server.

The driver, asyncpg, is the optional extra ``scale``: it is imported when a URL asks for it, here and nowhere else.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from penstock.errors import StoreError, StoreUnreachable
from penstock.stores.location import describe, each_host
from penstock.stores.postgres_hosts import first_of
from penstock.stores.postgres_tls import WANTS_CA, cure_of_tls, lacks_ca
from penstock.stores.turns import pause

T = TypeVar("T")

DEADLINE_S: Final = 0.9
"""For every call, and for connecting: two of them, and who waits for a commit knows within 2 s that none comes."""

REPORT_S: Final = 120.0
"""For questions that nobody waits for but who asked them."""

REPORTING: Final[Mapping[str, str]] = {"work_mem": "64MB"}
"""Sums of a day's rows without a disk: three times as fast."""

RETRY_S: Final = 0.5
"""How long after a failure the server is asked again."""

STALE_S: Final = 4.0
"""What was found out before that is not believed: this process was stopped since."""

_LIVES_S: Final = "2s"
"""How long the server bears a transaction that says nothing: of a node that was stopped, with its locks."""

NO_SETTINGS: Final[Mapping[str, str]] = {}

SPACE: Final = 0x50454E53
"""Our advisory locks, in a database that may have others: pairs of this and one of the numbers below."""

MIGRATING: Final = 1
SERVING: Final = 2
LEADING: Final = 3
SUMMING: Final = 4
EPOCHS: Final = 5
PURGING: Final = 6
KEYS: Final = 7
PARTING: Final = 8
SOLE: Final = 9

CHANNEL: Final = "penstock"
"""What nodes listen to; the payload is the topic."""

_LEASES: Final = 0x50454E54 << 32
"""The lock of a lease is this plus its id, a number of its own kind."""

_NO_CONNECTION: Final = ("08", "57P", "53300", "25P03", "25006")
"""Beginnings of the server's codes (PostgreSQL, appendix A) that speak of it or of the connection, not of the call."""

_CURES: Final = {
    "28": "check user and password in `store`, and the server's pg_hba.conf",
    "3D000": "create the database, or correct its name in `store`",
    "42501": "give this user the rights to it",
    "25006": "it only reads, as a replica does: let `store` name the primary",
    "53100": "free the server's disk",
    "53300": "raise max_connections, or run fewer nodes",
}


_SESSIONS: Final = "target_session_attrs"
"""Which of several hosts is wanted: the one that writes, unless the URL says otherwise."""

_NO_URL: Final = (
    "it is no URL of a database: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and what is neither letter nor "
    "digit in user and password as %xx"
)


class Connection(Protocol):
    """What we use of the driver's connection. Every call has the connection's deadline unless it says its own."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - theirs
        """Run; several statements where there are no ``args``."""
        ...

    async def executemany(self, command: str, args: Sequence[Sequence[Any]]) -> None:
        """Run for each, in one transaction."""
        ...

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row or None."""
        ...

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Its first value or None."""
        ...

    def transaction(self, *, isolation: str | None = None, readonly: bool = False) -> AbstractAsyncContextManager[Any]:
        """All or nothing; a savepoint within another."""
        ...

    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        ...

    def terminate(self) -> None:
        """Close it without a word."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - theirs
        """Say goodbye and close it."""
        ...

    async def add_listener(self, channel: str, callback: Callable[..., object]) -> None:
        """LISTEN."""
        ...

    def add_termination_listener(self, callback: Callable[..., object]) -> None:
        """Be told of its end."""
        ...


def lease_lock(lease: int) -> int:
    """The advisory lock of a lease; of 0 too, which never ends."""
    return _LEASES + lease


def load_driver() -> Any:
    """The module asyncpg. Raises StoreError where the extra is not installed."""
    try:
        import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - an optional extra, without types
    except ImportError as error:
        raise StoreError(
            "a store in PostgreSQL needs the extra `scale`: pip install 'penstock[scale]'", detail=repr(error)
        ) from error
    return asyncpg


class Postgres:
    """At most ``size`` connections to one database. For one loop."""

    def __init__(
        self, url: str, *, size: int = 4, deadline_s: float = DEADLINE_S, settings: Mapping[str, str] = NO_SETTINGS
    ) -> None:
        """``settings``: of the server, for these connections. Raises StoreError when the driver is not installed."""
        self.url = url
        self.name = describe(url)
        self._hosts = each_host(url)
        self._wanted = {_SESSIONS: "read-write"} if len(self._hosts) > 1 and _SESSIONS not in url else {}
        self._driver = driver = load_driver()
        theirs = driver.PostgresError, driver.InterfaceError, driver.InternalClientError
        self._failures = (*theirs, OSError, ValueError, OverflowError)
        self._deadline_s = deadline_s
        self._settings = settings
        self._free = asyncio.Semaphore(size)
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._why = ""
        self._asked_at = 0.0
        self._asking: asyncio.Task[None] | None = None
        """The task that asks whether the server is back: as long as it lives the breaker is open."""
        self._closed = False

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, anyway: bool = False) -> T:
        """The result of ``work`` with a connection of its own. ``anyway``: the breaker lets it through.

        Raises StoreUnreachable, StoreError for what the server refuses, and what ``work`` raises.
        """
        self._admit(anyway=anyway)
        async with self._free:
            with_connection = await self._connected()
            self._busy.add(with_connection)
            try:
                result = await work(with_connection)
            except self._failures as error:
                raise self._failed(with_connection, error) from error
            except BaseException:
                self._leave(with_connection, whole=False)
                raise
            self._leave(with_connection)
            self._shut_no_more()
            return result

    async def view(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of ``work``, which only reads, in one consistent view."""

        async def read(connection: Connection) -> T:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await work(connection)

        return await self.run(read)

    async def write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The result of ``work``, done in one transaction."""

        async def change(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.run(change)

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """All rows of one question."""
        return await self.run(lambda connection: connection.fetch(query, *args))

    async def fetchval(self, query: str, *args: Any) -> Any:
        """The first value of one question."""
        return await self.run(lambda connection: connection.fetchval(query, *args))

    async def connect(self) -> Connection:
        """A connection outside of the pool, for who keeps it. Raises StoreError."""
        settings = {
            "application_name": "penstock",
            "jit": "off",
            "idle_in_transaction_session_timeout": _LIVES_S,
            "tcp_keepalives_idle": "5",
            "tcp_keepalives_interval": "2",
            "tcp_keepalives_count": "3",
            **self._settings,
        }
        deadline_s = min(self._deadline_s, 5.0)

        async def reach(url: str) -> Connection:
            connection: Connection = await self._driver.connect(
                url, timeout=deadline_s, command_timeout=self._deadline_s, server_settings=settings, **self._wanted
            )
            return connection

        try:
            return await first_of([partial(reach, url) for url in self._hosts], deadline_s, self._failures)
        except self._failures as error:
            if _is_of_url(error):  # what the driver says may repeat a piece of the password
                why = WANTS_CA if lacks_ca(error) else _NO_URL
                raise StoreError(f"the store {self.name} cannot be used: {why}") from error
            raise self._explained(error) from error

    async def close(self) -> None:
        """Close every connection; what is under way fails."""
        self._closed, asking = True, self._asking
        self._shut_no_more()
        if asking is not None:  # it may be connecting
            await asyncio.wait([asking])
        for connection in list(self._busy):
            connection.terminate()
        while self._idle:
            connection = self._idle.popleft()
            try:
                await connection.close(timeout=1.0)
            except self._failures:
                connection.terminate()

    @property
    def is_shut(self) -> bool:
        """Whether the breaker keeps callers out."""
        return self._asking is not None and self._now() - self._asked_at < STALE_S

    def refuses(self, error: BaseException) -> bool:
        """Whether the server, or the driver, refuses what it was given rather than failing."""
        code = getattr(error, "sqlstate", None) or ""
        return code[:2] in {"22", "23", "54"} or isinstance(
            error, self._driver.DataError | OverflowError | UnicodeError | TypeError
        )

    def _admit(self, *, anyway: bool) -> None:
        if self._closed:
            raise StoreError("the store is closed")
        if self.is_shut and not anyway:
            raise StoreUnreachable(self._why)

    async def _connected(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            return await self.connect()
        except StoreUnreachable as error:
            self._shut(error.public)
            raise

    def _leave(self, connection: Connection, *, whole: bool = True) -> None:
        self._busy.discard(connection)
        if whole and not self._closed and not connection.is_closed():
            self._idle.append(connection)
        else:
            connection.terminate()

    def _failed(self, connection: Connection, error: BaseException) -> StoreError:
        explained = self._explained(error)
        lost = isinstance(explained, StoreUnreachable)
        self._leave(connection, whole=not lost)
        if lost:
            while self._idle:
                self._idle.pop().terminate()
            self._shut(explained.public)
        return explained

    def _shut(self, why: str) -> None:
        self._why, self._asked_at = why, self._now()
        if self._asking is None and not self._closed:
            self._asking = asyncio.get_running_loop().create_task(self._ask(), name="is the store back")

    def _shut_no_more(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    async def _ask(self) -> None:
        """Until it answers."""
        while True:
            await pause(RETRY_S)
            self._asked_at = self._now()
            try:
                connection = await self.connect()
            except StoreError as error:
                self._why, self._asked_at = error.public, self._now()
            else:
                self._asking = None
                self._leave(connection)
                return

    def _explained(self, error: BaseException) -> StoreError:
        """In words that say what to do. The driver's own never hold the password."""
        code = getattr(error, "sqlstate", None) or ""
        of_tls = cure_of_tls(error) if "ssl" in self.url else ""
        cure = next((cure for start, cure in _CURES.items() if code.startswith(start)), of_tls)
        if isinstance(error, self._driver.TargetServerAttributeNotMatched):
            error, cure = ConnectionError("whoever answers only reads"), "promote one of them, or name the primary"
        said = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
        text = f"the store {self.name} cannot be used: {said}{f'; {cure}' if cure else ''}"
        lost = code.startswith(_NO_CONNECTION) or (not code and not _is_of_url(error))
        return (StoreUnreachable if lost else StoreError)(text, detail=repr(error))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _is_of_url(error: BaseException) -> bool:
    """Whether it is a value that the driver cannot use; a certificate that is not believed is one by its class only."""
    return isinstance(error, ValueError | OverflowError) and not isinstance(error, OSError)


@asynccontextmanager
async def connected(url: str, *, deadline_s: float = REPORT_S) -> AsyncIterator[Postgres]:
    """A pool for as long as it is used. Raises StoreError."""
    pool = Postgres(url, size=2, deadline_s=deadline_s, settings=REPORTING)
    try:
        yield pool
    finally:
        await pool.close()
