"""The life of a request: one ordered tuple of stages and one loop. Read this file first.

    record    start the clock                                | write the ledger row and the metrics
    identify  key -> principal                               |
    admit     read, check and name the request, step down    | hide the usage the client did not ask for
    once      same Idempotency-Key and body: first result    | keep the result
    limit     rates, concurrency, queue                      | give the slot back
    exact     look up the canonical request                  | store a finished answer
    join      wait on an identical request in flight         | publish to those who wait
    across    the same on other nodes; and their answers     | tell them
    route     facts + policy -> plan                         |
    reserve   a durable hold on every budget                 | release it, if no call was made
    attempt   walk the plan: deadline, retry, fail over      |

Stages are entered from the top until one answers, and left from the bottom: only those that were entered, exactly
once, whatever ends the exchange - answer, refusal, error, client gone, end of stream. On the way out every event of the
answer passes the taps of the entered stages, innermost first; a whole answer is one event. ``leave`` is synchronous:
nothing can come between two stages' leaving, and no cancellation can cut it short (docs/adr/0007).

A whole answer has left every stage before it is sent, so its headers can say what it cost. A streamed one leaves them
when its last byte is sent or its client is gone.

Where telemetry is on, ``traced`` and ``measured`` stand before all of them, and a mark behind each (``trace.py``).
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from penstock.errors import ClientGone, PenstockError
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.stream import Batch, Stream
from penstock.wire.sse import Event

log = logging.getLogger(__name__)

Tap = Callable[[Exchange, Event], Event | None]
"""Sees one event on its way out: returns it, another in its place, or None to drop it."""

Leave = Callable[[Exchange], None]
"""Gives back what ``enter`` took, keeps what came of it. Must not raise."""


class Stage(Protocol):
    """One step of the pipeline. A feature that is off is absent from the tuple.

    On the way out, where a stage has something to do there: ``leave`` (Leave) once, after ``enter`` returned; ``tap``
    (Tap) on every event; ``rescue``, async, when a stage within failed: a reply to send instead, or None.
    """

    async def enter(self, exchange: Exchange) -> Reply | None:
        """On the way in: None to go on, a reply to answer here. Raises PenstockError to refuse."""
        ...


class Pipeline:
    """The stages in order, and the loop that runs an exchange through them."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = tuple(stages)
        entered = [self.stages[:number][::-1] for number in range(len(self.stages) + 1)]
        self._taps: Sequence[tuple[Tap, ...]] = [_having("tap", stages) for stages in entered]
        self._leaves: Sequence[tuple[Leave, ...]] = [_having("leave", stages) for stages in entered]

    async def run(self, exchange: Exchange) -> Reply | None:
        """The reply to send; None when the exchange failed (``exchange.error`` says how) or nobody waits for it.

        A streaming reply's ``batches`` must be closed, or read to their end: that is what ends the exchange.
        """
        entered = 0
        reply = None
        try:
            try:
                for stage in self.stages:
                    reply = await stage.enter(exchange)
                    entered += 1
                    if reply is not None:
                        break
            except PenstockError as error:
                exchange.error = error
                reply, entered = await self._rescue(exchange, entered)
            if reply is not None and reply.batches is None:
                self._tap_whole(exchange, reply, entered)
        except PenstockError as error:
            exchange.error, reply = error, None
        except asyncio.CancelledError:
            exchange.error = exchange.cut_by or ClientGone("the client left before its answer")
            self._leave(exchange, entered)
            if not exchange.called_off:
                raise
            return None
        except Exception as error:
            log.exception("a stage failed", extra={"exchange": exchange.id})
            exchange.error, reply = PenstockError("internal error", detail=repr(error)), None
        exchange.reply = reply
        if reply is not None and reply.batches is not None:
            exchange.streamed = True
            reply.batches = self._flow(exchange, reply.batches, entered)
            return reply
        self._leave(exchange, entered)
        return reply

    async def _rescue(self, exchange: Exchange, entered: int) -> tuple[Reply | None, int]:
        """A reply in the place of what failed, as if the stage that has it had answered: those within are left."""
        for number in range(entered, 0, -1):
            rescue = getattr(self.stages[number - 1], "rescue", None)
            reply: Reply | None = None if rescue is None else await rescue(exchange)
            if reply is not None:
                self._leave_each(exchange, _having("leave", self.stages[number:entered][::-1]))
                exchange.error = None
                return reply, number
        return None, entered

    async def _flow(self, exchange: Exchange, source: Stream, entered: int) -> Stream:
        """The stream through the taps; its end, however it comes, ends the exchange."""
        taps = self._taps[entered]
        try:
            async with aclosing(source):
                async for batch in source:
                    passed = _tapped(exchange, taps, batch)
                    if passed:
                        yield passed
        except PenstockError as error:
            exchange.error = error
        except (asyncio.CancelledError, GeneratorExit):
            exchange.error = exchange.cut_by or ClientGone("the client left during its answer")
            raise
        except Exception as error:
            log.exception("a stream failed", extra={"exchange": exchange.id})
            exchange.error = PenstockError("internal error", detail=repr(error))
        finally:
            self._leave(exchange, entered)

    def _tap_whole(self, exchange: Exchange, reply: Reply, entered: int) -> None:
        event: Event | None = Event(reply.body, reply.body, whole=True)
        for tap in self._taps[entered]:
            event = tap(exchange, event) if event is not None else None
        reply.body = event.raw if event is not None else b""

    def _leave(self, exchange: Exchange, entered: int) -> None:
        self._leave_each(exchange, self._leaves[entered])

    def _leave_each(self, exchange: Exchange, leaves: Sequence[Leave]) -> None:
        for leave in leaves:
            try:
                leave(exchange)
            except Exception:
                log.exception("a stage could not be left", extra={"exchange": exchange.id})


def _having(name: str, stages: Sequence[Stage]) -> tuple[Any, ...]:
    """That method of the stages that have it."""
    return tuple(getattr(stage, name) for stage in stages if hasattr(stage, name))


def _tapped(exchange: Exchange, taps: tuple[Tap, ...], batch: Batch) -> Batch:
    passed: Batch = []
    for event in batch:
        kept = event
        for tap in taps:
            seen = tap(exchange, kept)
            if seen is None:
                break
            kept = seen
        else:
            passed.append(kept)
    return passed
