"""The one thread that writes to a SQLite store, in groups, so that the event loop never waits for a disk.

Queues gather on the loop and are written by the thread: whatever waits is a transaction per queue, or a few. A queue is
polled ``interval_s`` after it first has something (group commit), at once when somebody waits for it (``flush``,
``run``), and after a failure again and again, more and more slowly, on a new connection. Failures of one queue are
its own: what it could not write it keeps or gives up, as its own docstring says.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from penstock.errors import StoreError
from penstock.stores.sqlite import Connect, transaction

T = TypeVar("T")

INTERVAL_S = 0.05
"""How long rows may gather: at 5,000 exchanges per second a group of 250."""

_BACKOFF_S = (0.1, 5.0)
"""The first and the longest wait after a failure; each wait is twice the one before."""


class Queue(Protocol):
    """Something to write. Its methods run on the writer's thread."""

    def write(self, connection: sqlite3.Connection) -> None:
        """Write whatever waits. Raises sqlite3.Error when it did not succeed."""
        ...

    def fail(self, error: StoreError) -> None:
        """Nothing could be written this time, or not all of it."""
        ...


class _Asked(Generic[T]):
    """A job, and the task on the loop that waits for its result."""

    __slots__ = ("_work", "done")

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self._work = work
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def do(self, connected: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        try:
            with connected() as connection, transaction(connection):
                result = self._work(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who asked
            _tell([self.done], partial(_fail, error=error))
        else:
            _tell([self.done], lambda done: done.set_result(result))


def _tell(waiting: Sequence[asyncio.Future[T]], say: Callable[[asyncio.Future[T]], object]) -> None:
    """Wake all who wait, with one call to their loop."""
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        waiting[0].get_loop().call_soon_threadsafe(_say, waiting, say)


def _say(waiting: Sequence[asyncio.Future[T]], say: Callable[[asyncio.Future[T]], object]) -> None:
    for done in waiting:
        if not done.done():  # who waited may have been cancelled
            say(done)


def _succeed(done: asyncio.Future[None]) -> None:
    done.set_result(None)


def _fail(done: asyncio.Future[T], error: Exception) -> None:
    done.set_exception(error)


class _Bell:
    """Wakes one thread. A ring that nobody waits for is heard by the next who does; two are one."""

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._silence.release()

    def wait(self, timeout_s: float = -1) -> None:
        """Until it rings, or for so long."""
        self._silence.acquire(timeout=timeout_s)


class SqliteWriter:
    """Owns the writing connection. ``connect`` is called on its thread, again after every failure."""

    def __init__(self, connect: Connect, interval_s: float = INTERVAL_S) -> None:
        """``interval_s``: how long work may gather before it is written."""
        self._connect = connect
        self._interval_s = interval_s
        self._connection: sqlite3.Connection | None = None
        self._waiting: dict[Queue, deque[asyncio.Future[None]]] = {}
        self._jobs: deque[_Asked[Any]] = deque()
        self._woken, self._hurried = _Bell(), _Bell()
        self._awake = False
        self._hurrying = False
        self._stopping = False
        self._failed = False
        self._backoff_s = 0.0
        self._thread = threading.Thread(target=self._live, name="penstock-writer", daemon=True)

    def start(self, *queues: Queue) -> None:
        """Start the thread, to poll ``queues``."""
        self._waiting = {queue: deque() for queue in queues}
        self._thread.start()

    def wake(self) -> None:
        """Say that a queue has something. Costs a thread hand-over once per group."""
        if not self._awake:
            self._awake = True
            self._woken.ring()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of ``work``, done in a transaction of its own. Raises StoreError, and what ``work`` raises."""
        self._refuse_if_stopping()
        asked = _Asked(work)
        self._jobs.append(asked)
        self._hurry(asked.done.get_loop())
        return await asked.done

    def flush(self, queue: Queue) -> Awaitable[None]:
        """Return when what waits in ``queue`` is written. Raises StoreError when it is not.

        All who ask within one turn of the loop, or while a group is being written, share the next group: one commit,
        one wake-up of the loop.
        """
        self._refuse_if_stopping()
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting[queue].append(done)
        self._hurry(loop)
        return done

    async def close(self) -> None:
        """Write what waits, once, and end the thread."""
        self._stopping = True
        self._ring()
        await asyncio.to_thread(self._thread.join)

    def _refuse_if_stopping(self) -> None:
        if self._stopping:
            raise StoreError("the store is closed")

    def _hurry(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ring when the loop has done what it has to do now: whoever flushes meanwhile comes along."""
        if not self._hurrying:
            self._hurrying = True
            loop.call_soon(self._ring_for_who_waits)

    def _ring_for_who_waits(self) -> None:
        if self._hurrying:  # else a turn that was under way has taken them along
            self._ring()

    def _ring(self) -> None:
        self._hurried.ring()
        self._woken.ring()

    # --- on the thread -----------------------------------------------------------------------------------------

    def _live(self) -> None:
        while not self._stopping:
            if self._backoff_s:
                self._hurried.wait(self._backoff_s)
            else:
                self._woken.wait()
                self._hurried.wait(self._interval_s)
            self._turn()
        self._turn()
        self._disconnect()

    def _turn(self) -> None:
        """Everything asked for, then everything that waits. What comes meanwhile rings again."""
        self._awake = self._hurrying = self._failed = False
        while self._jobs:
            self._jobs.popleft().do(self._connected)
        for queue, waiting in self._waiting.items():
            self._write(queue, [waiting.popleft() for _ in range(len(waiting))])
        if self._failed:
            self._disconnect()
        first, longest = _BACKOFF_S
        self._backoff_s = min(longest, max(first, 2 * self._backoff_s)) if self._failed else 0.0

    def _write(self, queue: Queue, asked: Sequence[asyncio.Future[None]]) -> None:
        error: StoreError | None = None
        try:
            with self._connected() as connection:
                queue.write(connection)
        except StoreError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - the thread outlives any mistake, and tries again
            self._failed = True
            error = StoreError(f"the store cannot be written: {failure}", detail=repr(failure))
        if error:
            queue.fail(error)
        if asked:
            _tell(asked, partial(_fail, error=error) if error else _succeed)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """The connection. A failure of the driver becomes StoreError, and costs the connection when the turn ends."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection
        except sqlite3.Error as error:
            self._failed = True
            raise StoreError(f"the store cannot be written: {error}", detail=repr(error)) from error

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
