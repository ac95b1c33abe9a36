"""One attempt: one call to one deployment, from dispatch to settlement.

Deadlines: ``first_byte`` from dispatch to the first data event (for a whole answer: to the answer), ``between`` data
events, ``total`` over the whole exchange. A provider's keep-alives are waiting, not progress. Whatever ends the call,
it is settled exactly once (``settlement.py``).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from penstock.config.kinds import Kind
from penstock.config.settings import ProviderSettings
from penstock.core.bound import cap_fields
from penstock.core.trace import span_of
from penstock.core.usage import Usage
from penstock.errors import (
    BadAnswer,
    ClientGone,
    CutAnswer,
    PenstockError,
    ProviderBusy,
    ProviderTimeout,
    Reach,
    UpstreamError,
)
from penstock.pipeline.accounts import Accounts
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.hold import Hold
from penstock.pipeline.passing import Passing, read_headers_told
from penstock.pipeline.seat import Seat
from penstock.pipeline.settlement import HEDGE_LOST, Settlement
from penstock.pipeline.stream import STREAMABLE, Batch, Stream, retold
from penstock.pipeline.teller import Teller
from penstock.ports.clock import Clock, Deadline
from penstock.ports.providers import Adapter, Transport, UpstreamResponse
from penstock.wire.answers import capacity_cut, is_void
from penstock.wire.fold import Fold, fold_for
from penstock.wire.requests import rewrite
from penstock.wire.sse import DONE, SseParser, sse
from penstock.wire.tracecontext import trace_headers

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
MAX_ERROR_BYTES: Final = 64 * 1024
LINGER_S: Final = 1.0
"""How long we wait, after the last event, for the end of the response, so that its connection can be reused."""

SHORTEST_SECRET: Final = 8
"""Of a provider's header: a shorter value is none, and may stand in any text."""

log = logging.getLogger(__name__)

T = TypeVar("T")
_THINKING_OFF: Final = {"thinking": {"type": "disabled"}}
"""In the messages dialect, of every provider."""
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class World:
    """What a call needs of the world."""

    clock: Clock
    transport: Callable[[ProviderSettings], Transport]
    adapters: Mapping[str, Adapter]
    kinds: Mapping[str, Kind]
    accounts: Accounts
    teller: Teller
    passing: Passing


class Call:
    """One attempt of one exchange at one deployment."""

    __slots__ = (
        "_adapter", "_clock", "_deadline", "_deployment", "_dialect", "_exchange", "_hold", "_out_of_time",
        "_response", "_seat", "_settlement", "_size", "_total_at", "_wins", "_world", "failure", "lost", "streaming",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, hold: Hold, seat: Seat, deadline: Deadline, *, total_at: float, world: World
    ) -> None:
        """``total_at``: monotonic time at which the exchange ends, whatever happens."""
        self._exchange = exchange
        self._hold = hold
        self._seat = seat
        self._deployment = hold.deployment
        self._deadline = deadline
        self._total_at = total_at
        self._world = world
        self._clock = world.clock
        self._adapter = world.adapters[hold.deployment.provider.kind]
        self._dialect = exchange.asked.dialect
        self._wins: Callable[[Call], bool] | None = None
        self._out_of_time = False
        self._size = 0
        self._settlement = Settlement(
            exchange, hold, self._adapter, clock=world.clock, accounts=world.accounts, teller=world.teller
        )
        self._response: UpstreamResponse | None = None
        self.streaming = False
        """True once a stream was handed out: from then on the stream itself settles and closes."""
        self.failure: PenstockError | None = None
        """Why ``open`` gave no reply; None = it did, or was cancelled."""
        self.lost = False
        """True once a call beside it was first."""

    # --- beside another call

    def enter_race(self, wins: Callable[["Call"], bool]) -> None:
        """Run beside another call, with a task and a deadline of its own: ``wins`` says whether this one was first."""
        self._wins = wins
        self._deadline = self._clock.deadline()

    def lose(self) -> None:
        """The other was first: what ends this one is that."""
        self.lost = True

    def go_on_here(self) -> None:
        """What is left of it is read by the running task."""
        self._deadline.rebind()

    async def abandon(self) -> None:
        """Nobody takes what came of it, or it is not even made: what is left of it ends."""
        if self.streaming:
            self._settlement.settle(ClientGone.kind)
        else:
            self._settlement.discard()
        await self._close()

    def _take_over(self, usage: Usage | None = None, answer: dict[str, Any] | None = None) -> None:
        """The exchange's answer is this one's. Ends this call when another was first."""
        if self._wins is not None and not self._wins(self):
            self._settlement.settle(HEDGE_LOST, usage, answer, worked=True)
            raise asyncio.CancelledError
        self._exchange.served_by, self._exchange.fold = self._deployment.id, self._settlement.fold
        self._exchange.told = self._settlement.told
        self._exchange.stoppable = self._stops

    @property
    def _stops(self) -> bool:
        return self._deployment.provider.after_disconnect == "stops"

    # --- the call

    async def open(self) -> Reply:
        """The reply, once its first data event is there. Raises UpstreamError; then the call is settled already."""
        if self._wins is not None:
            self._deadline.rebind()
        try:
            return await self._open()
        except PenstockError as error:
            self.failure = error
            self._settlement.settle(error.kind, worked=_has_worked(error))
            self._seat.end(error, ours=self._out_of_time or self._dialect == "count_tokens")
            self._warn(error)
            raise
        except asyncio.CancelledError:
            self._settlement.settle(HEDGE_LOST if self.lost else ClientGone.kind, worked=True)
            raise
        except BaseException:
            self._settlement.settle(PenstockError.kind, worked=True)
            raise
        finally:
            if not self.streaming:
                await self._close()

    async def _open(self) -> Reply:
        exchange, provider = self._exchange, self._deployment.provider
        folded = exchange.model.stream_upstream and not exchange.wants_stream and self._dialect in STREAMABLE
        fields, raw = self._request(folded=folded)
        request = self._adapter.encode(self._dialect, fields, raw, self._deployment, exchange.asked.forward)
        if provider.charged_elsewhere:
            passed = self._world.passing.headers(exchange, request.body, self._total_at - self._clock.monotonic())
            request.headers = {**passed, **request.headers}
        if exchange.trace is not None:
            traced = trace_headers(exchange.trace, span_of(self._hold.attempt_id))
            request.headers = {**traced, **request.headers}
        timeouts = exchange.model.timeouts
        request.connect_timeout_s = timeouts.connect_s
        first_byte_at = min(self._clock.monotonic() + timeouts.first_byte_s, self._total_at)
        exchange.stoppable = self._stops and (self._wins is None or exchange.stoppable)
        exchange.dispatched += 1
        self._seat.send(streamed=request.stream)
        self._world.teller.reached("dispatch")
        self._response = response = await self._within(
            first_byte_at, "first_byte", self._world.transport(provider).send(request)
        )
        self._settlement.status = response.status
        if provider.charged_elsewhere:
            self._settlement.told = read_headers_told(response.headers)
        if response.status != 200:  # noqa: PLR2004 - the one status that carries an answer
            body = await self._within(first_byte_at, "first_byte", response.read(MAX_ERROR_BYTES))
            raise self._cleared(self._adapter.refusal(response.status, response.headers, body))
        if self._dialect in STREAMABLE and "event-stream" in response.headers.get("content-type", ""):
            return await self._stream(response, first_byte_at, folded=not exchange.wants_stream)
        return await self._whole(response, first_byte_at)

    def _request(self, *, folded: bool) -> tuple[Mapping[str, Any], bytes]:
        """The request as this call sends it: with the cap that is held for, as a stream when it is to be folded."""
        exchange, hold = self._exchange, self._hold
        changes: dict[str, Any] = {"stream": True} if folded else {}
        kind = self._world.kinds[self._deployment.provider.kind]
        if hold.cap is not None:
            changes |= dict.fromkeys(cap_fields(self._dialect, exchange.fields, kind.cap_field), hold.cap)
        if "thinking_off" in exchange.steps:
            changes |= _THINKING_OFF if self._dialect == "messages" else kind.thinking_off
        if not changes:
            return exchange.fields, exchange.raw
        return {**exchange.fields, **changes}, rewrite(exchange.raw, changes)

    # --- whole answers

    async def _whole(self, response: UpstreamResponse, first_byte_at: float) -> Reply:
        try:
            body = (await self._within(first_byte_at, "first_byte", response.read(MAX_ANSWER_BYTES))).strip()
        except BadAnswer as error:
            raise CutAnswer(error.public, detail=error.detail, reach=error.reach) from error
        self._world.teller.reached("first_byte")
        answer = _read_answer(body)
        inside = self._adapter.error_inside(self._dialect, answer)
        if inside is not None:
            raise self._cleared(inside)
        usage = self._adapter.usage(self._dialect, answer, None)
        if is_void(self._dialect, answer):
            self._settlement.settle(BadAnswer.kind, usage)
            raise BadAnswer("the provider's answer is empty")
        if capacity_cut(self._dialect, answer):
            self._settlement.settle(ProviderBusy.kind, usage, answer)
            raise _cut_off()
        self._take_over(usage, answer)
        self._settlement.settle("ok", usage, answer)
        self._seat.answer()
        self._seat.end(None)
        await self._settlement.durable()
        exchange = self._exchange
        exchange.whole, exchange.said, exchange.finished = body, answer, True
        if exchange.wants_stream:
            return Reply(200, batches=retold(self._dialect, body))
        return Reply(200, body=body)

    # --- streams

    async def _stream(self, response: UpstreamResponse, first_byte_at: float, *, folded: bool) -> Reply:
        parser = SseParser()
        self._settlement.fold = fold = fold_for(self._dialect)
        first: Batch = []
        while True:
            data = await self._within(first_byte_at, "first_byte", response.next())
            batch = self._cut(parser, data)
            self._take(batch)
            first += batch
            if fold.started and any(isinstance(event.json, dict) for event in batch):
                break
            if fold.done or fold.broken or not data:
                raise BadAnswer("the provider's stream held no answer")
        self._settlement.begin(stops=self._stops)
        self._seat.begin()
        self._world.teller.reached("first_byte")
        if any(capacity_cut(self._dialect, event.json or {}) for event in first if event.data is not None):
            raise _cut_off()
        self._take_over()
        batches = self._batches(response, parser, first)
        if not folded:
            self.streaming = True
            return Reply(200, batches=batches)
        try:
            async for _ in batches:
                pass
        except BadAnswer as error:
            raise CutAnswer(error.public, detail=error.detail, reach=error.reach) from error
        return Reply(200, body=self._exchange.answer() or b"")

    async def _batches(self, response: UpstreamResponse, parser: SseParser, first: Batch) -> Stream:
        """The stream from its first data event; ends with the answer, or raises what broke it."""
        outcome, exchange, fold, batch = ClientGone.kind, self._exchange, self._settlement.fold, first
        monotonic, total_at, between_s = self._clock.monotonic, self._total_at, exchange.model.timeouts.between_s
        progress, progressed, when = 0.0, True, total_at
        try:
            while fold is not None and not fold.done:
                if fold.finished:
                    await self._settlement.note_usage()
                if batch:
                    yield batch
                since = monotonic()
                if progressed:
                    progress = since
                when = min(progress + between_s, total_at)
                with self._deadline.until(when):
                    data = await response.next()
                exchange.waited_s += monotonic() - since
                batch = self._cut(parser, data)
                progressed = self._take(batch)
                if not data:
                    batch += self._ending()
                    break
            broken = fold is None or fold.broken
            if fold is not None and not self.streaming:
                self._check_folded(fold)
            outcome = "ok"
            exchange.finished, exchange.stoppable = not broken, False
            self._settlement.settle(outcome)
            self._seat.end(None)
            await self._settlement.durable()
            yield batch
            await self._linger(response)
        except TimeoutError as error:
            late = self._late("between", when)
            outcome = late.kind
            self._seat.end(late, ours=self._out_of_time)
            self._warn(late)
            raise late from error
        except PenstockError as error:
            outcome = error.kind
            self._seat.end(error)
            if self.streaming:
                self._warn(error)
            raise
        finally:
            self._settlement.settle(outcome)
            await self._close()

    async def _close(self) -> None:
        """Give back what the call has, however it ended."""
        self._seat.release()
        if self.streaming or self._wins is not None:
            self._deadline.close()
        if self._response is not None:
            await self._response.close()

    def _cut(self, parser: SseParser, data: bytes) -> Batch:
        """The events of one read, b"" = the end; a stream is bounded as a whole answer is."""
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES:
            raise BadAnswer(f"the provider's stream is larger than {MAX_ANSWER_BYTES} bytes")
        return parser.feed(data) if data else _unbroken(parser.finish())

    def _check_folded(self, fold: Fold) -> None:
        """No byte of a folded answer has gone out: what is wrong with it may still be cured by another call."""
        if fold.broken:
            raise BadAnswer("the provider's stream makes no whole answer")
        if capacity_cut(self._dialect, _decode(fold.whole())):
            raise _cut_off()

    def _take(self, batch: Batch) -> bool:
        """Meter the events; True when one of them is progress. Raises the error that one of them carries."""
        progress = False
        for event in batch:
            if event.data is None or event.name == "ping":
                continue
            progress = True
            if b'"error"' in event.data and isinstance(event.json, dict):
                error = self._adapter.error_inside(self._dialect, event.json)
                if error is not None:
                    raise self._cleared(error)
            self._settlement.add(event)
        return progress

    def _ending(self) -> Batch:
        """What a stream that just stopped still needs: nothing, its [DONE], or an error."""
        fold = self._settlement.fold
        if fold is None or not fold.finished:
            raise BadAnswer("the provider's stream ended before its answer did")
        return [] if fold.done or self._dialect == "messages" else [sse(DONE)]

    async def _linger(self, response: UpstreamResponse) -> None:
        """Read to the end of the response, so that its connection can serve again."""
        since = self._clock.monotonic()
        try:
            with self._deadline.until(since + LINGER_S):
                while await response.next():
                    pass
        except (TimeoutError, PenstockError):
            return
        finally:
            self._exchange.waited_s += self._clock.monotonic() - since

    async def _within(self, when: float, which: str, awaitable: Awaitable[T]) -> T:
        """Wait under a deadline; the wait is the provider's time, not ours."""
        since = self._clock.monotonic()
        try:
            with self._deadline.until(when):
                return await awaitable
        except TimeoutError as error:
            raise self._late(which, when) from error
        finally:
            self._exchange.waited_s += self._clock.monotonic() - since

    def _late(self, which: str, when: float) -> ProviderTimeout:
        """The error of a deadline that passed at ``when``: the total one, if that came first."""
        timeouts, total_s = self._exchange.model.timeouts, self._exchange.total_s
        if when >= self._total_at:
            which, self._out_of_time = "total", True
        limit_s = {"first_byte": timeouts.first_byte_s, "between": timeouts.between_s}.get(which, total_s)
        return ProviderTimeout(f"{self._deployment.id} did not answer in time ({which} deadline of {limit_s:g} s)")

    def _cleared(self, error: UpstreamError) -> UpstreamError:
        """The provider's words without our credentials, should it repeat them: some of its words go to the client."""
        provider = self._deployment.provider
        for secret in filter(None, (provider.api_key, *provider.headers.values())):
            text = secret.reveal()
            if len(text) >= SHORTEST_SECRET:
                error.public, error.detail = error.public.replace(text, "***"), error.detail.replace(text, "***")
                error.body = error.body.replace(text.encode(), b"***")
        return error

    def _warn(self, error: PenstockError) -> None:
        """Tell the operator, once per failed call. A provider's own words may repeat the prompt and are left out."""
        own = getattr(error, "status", None) is None
        log.warning(
            "a call failed",
            extra={
                "exchange": self._exchange.id,
                "attempt": self._hold.attempt_id,
                "deployment": self._deployment.id,
                "outcome": error.kind,
                "status": self._settlement.status,
                "why": (error.detail or error.public) if own else "",
            },
        )


def _has_worked(error: PenstockError) -> bool:
    """Whether a provider that gave no answer will bill the call all the same: not where it never had it."""
    return isinstance(error, CutAnswer | ProviderTimeout) and error.reach is not Reach.NOWHERE


def _unbroken(batch: Batch) -> Batch:
    """The last events of a stream that ended without ending its last one: cut inside its JSON, it is no event."""
    if any(event.json is None and event.data is not None and not event.done for event in batch):
        raise BadAnswer("the provider's stream was cut inside an event")
    return batch


def _read_answer(body: bytes) -> dict[str, Any]:
    try:
        answer = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        half = CutAnswer if body.startswith(b"{") else BadAnswer  # what begins as an answer was worked for
        raise half("the provider's answer is not JSON", detail=str(error)) from error
    if not isinstance(answer, dict):
        raise BadAnswer("the provider's answer is not a JSON object")
    return answer


def _cut_off() -> ProviderBusy:
    return ProviderBusy("the provider cut its answer off for lack of capacity")
