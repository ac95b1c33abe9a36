"""A flight that another node leads, as the answer of the exchange that follows it for its own node."""

from penstock.errors import ProviderTimeout
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.flight import Flight, is_handed_on, shared
from penstock.pipeline.stored import book, given
from penstock.pipeline.stream import Batch, Stream
from penstock.ports.answers import StoredAnswer
from penstock.ports.clock import Clock
from penstock.ports.crossing import CrossingEnd, Following


class Relay:
    """Follows once; whoever joined the exchange here gets what it gets."""

    def __init__(self, clock: Clock, exchange: Exchange, flight: Flight, following: Following) -> None:
        """``flight``: the exchange's own, on this node."""
        self._clock = clock
        self._exchange = exchange
        self._flight = flight
        self._following = following
        self._batches = following.batches()
        flight.generation = following.generation

    async def reply(self) -> Reply | None:
        """The leader's answer; None when this exchange should ask again, and lead if nobody does.

        Raises what ended the leader.
        """
        exchange, streams = self._exchange, False
        try:
            while (batch := await self._next()) is not None:
                if exchange.wants_stream:
                    streams = True
                    exchange.cache, exchange.served_by = "joined", self._following.served_by
                    return Reply(200, batches=self._stream(batch))
                for event in batch:
                    self._flight.publish(event)
            return self._whole(await self._following.end())
        finally:
            if not streams:
                self._following.close()

    def _whole(self, end: CrossingEnd) -> Reply | None:
        if end.error is None and end.answer is not None:
            self._finish(end.answer)
            return given(self._exchange, end.answer, "joined")
        if end.error is not None and not is_handed_on(end.error, self._flight.generation):
            raise shared(end.error)
        self._flight.generation += 1
        return None

    async def _stream(self, batch: Batch | None) -> Stream:
        try:
            while batch is not None:
                yield batch
                batch = await self._next()
            end = await self._following.end()
            if end.error is not None:
                raise shared(end.error)
            if end.answer is not None:
                self._finish(end.answer)
                book(self._exchange, end.answer, "joined")
        finally:
            self._following.close()

    async def _next(self) -> Batch | None:
        """More of the stream, None at its end; no longer than this exchange may take. Raises ProviderTimeout."""
        exchange, deadline, since = self._exchange, self._clock.deadline(), self._clock.monotonic()
        try:
            with deadline.until(exchange.started + exchange.total_s):
                batch = await anext(self._batches, None)
        except TimeoutError as error:
            total = f"total deadline of {exchange.total_s:g} s"
            raise ProviderTimeout(f"the call that this request was joined to takes too long ({total})") from error
        finally:
            deadline.close()
            exchange.waited_s += self._clock.monotonic() - since
        return None if batch is None else list(batch)

    def _finish(self, answer: StoredAnswer) -> None:
        """It is this exchange's answer too, for those who joined it here."""
        exchange = self._exchange
        exchange.cache, exchange.whole, exchange.finished = "joined", answer.body, True
