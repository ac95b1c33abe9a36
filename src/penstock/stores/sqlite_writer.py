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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    """Something that a task on the loop waits for."""

    __slots__ = ("_loop", "done")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[T] = self._loop.create_future()

    def answer(self, result: T) -> None:
        self._tell(self.done.set_result, result)

    def fail(self, error: Exception) -> None:
        self._tell(self.done.set_exception, error)

    def _tell(self, setter: Callable[[Any], None], value: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._set, setter, value)

    def _set(self, setter: Callable[[Any], None], value: object) -> None:
        if not self.done.done():  # who waited may have been cancelled
            setter(value)


class SqliteWriter:
    """Owns the writing connection. ``connect`` is called on its thread, again after every failure."""

    def __init__(self, connect: Connect, interval_s: float = INTERVAL_S) -> None:
        """``interval_s``: how long work may gather before it is written."""
        self._connect = connect
        self._interval_s = interval_s
        self._connection: sqlite3.Connection | None = None
        self._waiting: dict[Queue, list[_Asked[None]]] = {}
        self._jobs: deque[Callable[[], None]] = deque()
        self._woken = threading.Event()
        self._hurried = threading.Event()
        self._awake = False
        self._stopping = False
        self._failed = False
        self._backoff_s = 0.0
        self._thread = threading.Thread(target=self._live, name="penstock-writer", daemon=True)

    def start(self, *queues: Queue) -> None:
        """Start the thread, to poll ``queues``."""
        self._waiting = {queue: [] for queue in queues}
        self._thread.start()

    def wake(self) -> None:
        """Say that a queue has something. Costs a thread hand-over once per group."""
        if not self._awake:
            self._awake = True
            self._woken.set()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of ``work``, done in a transaction of its own. Raises StoreError, and what ``work`` raises."""
        asked: _Asked[T] = _Asked()
        self._ask(partial(self._do, work, asked))
        return await asked.done

    async def flush(self, queue: Queue) -> None:
        """Return when what waits in ``queue`` is written. Raises StoreError when it is not."""
        asked: _Asked[None] = _Asked()
        self._ask(partial(self._waiting[queue].append, asked))
        await asked.done

    async def close(self) -> None:
        """Write what waits, once, and end the thread."""
        self._stopping = True
        self._hurry()
        await asyncio.to_thread(self._thread.join)

    def _ask(self, what: Callable[[], None]) -> None:
        if self._stopping:
            raise StoreError("the store is closed")
        self._jobs.append(what)
        self._hurry()

    def _hurry(self) -> None:
        self._hurried.set()
        self._woken.set()

    # --- on the thread -----------------------------------------------------------------------------------------

    def _live(self) -> None:
        while not self._stopping:
            if self._backoff_s:
                self._hurried.wait(self._backoff_s)
            else:
                self._woken.wait()
                self._hurried.wait(self._interval_s)
            self._woken.clear()
            self._hurried.clear()
            self._awake = False
            self._turn()
        self._turn()
        self._disconnect()

    def _turn(self) -> None:
        """Everything asked for, then everything that waits."""
        self._failed = False
        while self._jobs:
            self._jobs.popleft()()
        for queue, waiting in self._waiting.items():
            self._write(queue, waiting)
        if self._failed:
            self._disconnect()
        first, longest = _BACKOFF_S
        self._backoff_s = min(longest, max(first, 2 * self._backoff_s)) if self._failed else 0.0

    def _do(self, work: Callable[[sqlite3.Connection], T], asked: _Asked[T]) -> None:
        try:
            with self._connected() as connection, transaction(connection):
                result = work(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who asked
            asked.fail(error)
        else:
            asked.answer(result)

    def _write(self, queue: Queue, waiting: list[_Asked[None]]) -> None:
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
        for asked in waiting:
            asked.fail(error) if error else asked.answer(None)
        waiting.clear()

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
