"""One server of those that the nodes share: a connection to it, a deadline for every call, a breaker before it.

No call waits longer than its deadline, whatever the server or the network does; what our own loop was late is not
counted, neither before a call is written nor before its reply is read. There is never more than one connection, nor
more than one attempt at one. After three failures in a row the breaker is open: calls fail at once, and attempts go on
behind, further and further apart, until the server answers in time again. A call that failed may have been taken or
not: nothing is sent twice.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from penstock.errors import SharedUnavailable
from penstock.ports.clock import Clock, Rng, Timer
from penstock.stores.redis_connection import ConnectionLost, RedisConnection, Reply, ReplyError, Word, connect, fail
from penstock.stores.redis_tls import explain
from penstock.stores.redis_url import Address, RedisUrl

DEADLINE_S: Final = 0.05
CONNECT_S: Final = 0.25
"""To connect and get in: some round trips."""
FAILURES: Final = 3
FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 0.5
RETRY_AFTER_S: Final = 1.0
_GRACE_S: Final = 0.001
"""The loop reads what has arrived before a call is given up."""
_WAITING_MOST: Final = 1000
_DOWN: Final = ("LOADING", "MASTERDOWN", "CLUSTERDOWN", "READONLY")
"""Errors of a server that is of no use now, whatever it is asked."""


class _Patience:
    """Gives a call up at its deadline, which does not count for how long our own loop was late."""

    __slots__ = ("_clock", "_deadline_s", "_due", "_reply", "_timer")

    def __init__(self, clock: Clock, reply: "asyncio.Future[Reply]", deadline_s: float) -> None:
        self._clock = clock
        self._reply = reply
        self._deadline_s = deadline_s
        self._due = 0.0
        self._timer: Timer | None = None

    def begin(self) -> None:
        """The call is written."""
        if not self._reply.done():
            self._due = self._clock.monotonic() + self._deadline_s
            self._timer = self._clock.later(self._deadline_s, self._look)

    def end(self) -> None:
        """It is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Read first what has arrived while the loop was late: some loops see to their timers before that."""
        late_s = min(self._deadline_s, self._clock.monotonic() - self._due)
        give_up = partial(fail, self._reply, TimeoutError("no answer in time"))
        self._timer = self._clock.later(max(_GRACE_S, late_s), give_up)


class RedisNode:
    """A server. ``on_down`` is told when its breaker opens."""

    def __init__(
        self,
        url: RedisUrl,
        address: Address,
        clock: Clock,
        rng: Rng,
        *,
        deadline_s: float = DEADLINE_S,
        on_down: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self._url = url
        self._clock = clock
        self._rng = rng
        self._deadline_s = deadline_s
        self._on_down = on_down
        self._connection: RedisConnection | None = None
        self._waiting: list[tuple[tuple[Word, ...], asyncio.Future[Reply], bool]] = []
        self._failures = 0
        self._pause_s = 0.0
        """Before it is tried again; grows until something but a greeting is answered."""
        self._reviving: asyncio.Task[None] | None = None
        self._closed = False
        self.refusal: SharedUnavailable | None = None
        """Why there was no connection, the last time."""

    @property
    def is_open(self) -> bool:
        """Whether calls fail at once: the breaker is open."""
        return self._failures >= FAILURES or self._closed

    @property
    def server(self) -> str:
        """The id of the process that is connected; "" = none is."""
        return "" if self._connection is None else self._connection.server

    async def call(self, *command: Word, signed: bool = False, deadline_s: float | None = None) -> Reply:
        """The reply to a command, also where it is an error of the command. Raises SharedUnavailable.

        ``signed``: the server's id is added as the last word.
        """
        if self.is_open:
            raise self._unavailable("it is left alone")
        loop = asyncio.get_running_loop()
        reply = loop.create_future()
        self._dispatch(command, reply, signed=signed)
        patience = _Patience(self._clock, reply, deadline_s or self._deadline_s)
        loop.call_soon(patience.begin)  # behind the write, however late that is
        try:
            answer = await reply
        except TimeoutError as error:
            self._note_failure()
            raise self._unavailable(str(error)) from error
        except ConnectionLost as error:  # connecting again finds out whether it is down
            raise self._unavailable(str(error)) from error
        finally:
            patience.end()
        return self._checked(answer)

    async def open(self, within_s: float) -> None:
        """Return when it is connected. Raises SharedUnavailable after that long."""
        ready = asyncio.get_running_loop().create_future()
        timer = self._clock.later(within_s, partial(fail, ready, TimeoutError("no answer in time")))
        self._dispatch(("PING",), ready, signed=False)
        try:
            self._checked(await ready)
        except (TimeoutError, ConnectionLost) as error:
            raise self.refusal or self._unavailable(str(error)) from error
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Disconnect for good."""
        self._closed = True
        if self._reviving is not None:
            self._reviving.cancel()
            with suppress(asyncio.CancelledError):
                await self._reviving
        self._drop()

    # --- calls

    def _dispatch(self, command: tuple[Word, ...], reply: "asyncio.Future[Reply]", *, signed: bool) -> None:
        if self._connection is not None:
            self._connection.send(command, reply, signed=signed)
        elif len(self._waiting) < _WAITING_MOST:
            self._waiting.append((command, reply, signed))
            self._revive()
        else:
            fail(reply, ConnectionLost("too many wait for a connection"))

    def _checked(self, answer: Reply) -> Reply:
        if isinstance(answer, ReplyError) and str(answer).startswith(_DOWN):
            self._note_failure()
            raise self._unavailable(str(answer))
        self._failures, self._pause_s = 0, 0.0
        return answer

    def _note_failure(self) -> None:
        self._failures += 1
        if self._failures == FAILURES:
            self._drop()
            self._revive()
            self._on_down()

    def _unavailable(self, why: str) -> SharedUnavailable:
        return SharedUnavailable(
            "what the nodes share does not answer: try again",
            detail=f"{self.address}: {why}",
            retry_after_s=RETRY_AFTER_S,
        )

    # --- the connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        waiting, self._waiting = self._waiting, []
        for _, reply, _ in waiting:
            fail(reply, ConnectionLost("there is no connection"))

    def _lost(self, connection: RedisConnection) -> None:
        if connection is self._connection:
            self._connection = None
            self._revive()

    def _revive(self) -> None:
        if self._reviving is None and not self._closed:
            self._reviving = asyncio.get_running_loop().create_task(self._keep_trying())

    async def _keep_trying(self) -> None:
        while True:
            await self._clock.sleep(self._pause_s * (0.5 + self._rng.random()))
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s or FIRST_PAUSE_S)
            if await self._connected():
                break
        self._reviving = None
        if self._connection is None:  # lost again before we were told
            self._revive()

    async def _connected(self) -> bool:
        """Whether it answers in time: then it is used from now on."""
        deadline, connection = self._clock.deadline(), None
        try:
            with deadline.until(self._clock.monotonic() + CONNECT_S):
                connection = await connect(self._url, self.address, self._lost)
            with deadline.until(self._clock.monotonic() + self._deadline_s):
                answer = await connection.call("PING")
            if connection.alive and not isinstance(answer, ReplyError):
                self._use(connection)
        except SharedUnavailable as refusal:
            self.refusal = refusal
        except (OSError, TimeoutError) as error:
            self.refusal = self._unavailable(explain(error, self._url))
        finally:
            deadline.close()
            if connection is not None and connection is not self._connection:
                connection.abort()
        if self._connection is None and not self.is_open:
            self._note_failure()
        return self._connection is not None

    def _use(self, connection: RedisConnection) -> None:
        self._connection, self._failures, self.refusal = connection, 0, None
        waiting, self._waiting = self._waiting, []
        for command, reply, signed in waiting:
            if not reply.done():
                connection.send(command, reply, signed=signed)
