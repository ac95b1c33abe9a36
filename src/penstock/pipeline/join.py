"""join: identical requests in flight share one upstream call, late joiners of a stream and whole askers included.

The leader pays; what its followers would have paid is their saving. A leader whose client leaves goes on while anyone
follows, and one whose client is slow no longer waits for it.

When a leader ends for a reason of its own or a transient error before a follower got anything, one follower
takes over, once; an error that another call cannot cure goes to all who joined.
"""

from penstock.core.records import ShareRow
from penstock.errors import ProviderTimeout
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.flight import Flight, is_handed_on, shared
from penstock.pipeline.sharing import SHAREABLE
from penstock.pipeline.stored import Storing
from penstock.pipeline.stream import Stream, retold
from penstock.ports.clock import Clock, Deadline
from penstock.wire.sse import Event

Flights = dict[bytes, Flight]
"""What is in flight now, by cache key; outlives a reload."""


class Join:
    """Leads a flight, or follows the one that is there."""

    def __init__(self, clock: Clock, flights: Flights, storing: Storing) -> None:
        self._clock = clock
        self._flights = flights
        self._storing = storing

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Lead (None), or the answer of whom it followed. Raises what ended the leader."""
        directive = exchange.asked.directive
        if exchange.asked.dialect not in SHAREABLE or directive.no_store:
            return None
        key = self._storing.key(exchange)
        generation = 0
        if not directive.no_cache:
            while (flight := self._flights.get(key)) is not None and flight.found is None:
                reply = await self._follow(exchange, flight)
                if reply is not None:
                    return reply
                generation = flight.generation + (flight.found is None)
        exchange.flight = self._flights[key] = Flight(exchange, generation)
        return None

    def tap(self, exchange: Exchange, event: Event) -> Event:
        """Publish what streams by."""
        if exchange.flight is not None and not event.whole:
            exchange.flight.publish(event)
        return event

    def leave(self, exchange: Exchange) -> None:
        """End the flight. The next stage to leave is ``exact``, before any other exchange runs: no gap between them."""
        flight, key = exchange.flight, exchange.key
        if flight is None or key is None:
            return
        exchange.flight = None
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.end(exchange.error)

    async def _follow(self, exchange: Exchange, flight: Flight) -> Reply | None:
        """The leader's answer; None when this exchange should look again, and lead if nobody does."""
        leader, deadline = flight.leader, self._clock.deadline()
        leader.join()
        try:
            while not (flight.ended or flight.found or (exchange.wants_stream and flight.events)):
                await self._change(exchange, flight, deadline)
            if flight.found is not None:
                return self._storing.served(exchange, flight.found)
            if flight.error is not None:
                if is_handed_on(flight.error, flight.generation):
                    return None
                raise shared(flight.error)
            if flight.ended:
                return self._whole(exchange, flight)
            exchange.cache, exchange.served_by = "joined", leader.served_by
            leader.join()
            return Reply(200, batches=self._batches(exchange, flight))
        finally:
            deadline.close()
            leader.part()

    def _whole(self, exchange: Exchange, flight: Flight) -> Reply | None:
        whole = flight.leader.answer()
        if whole is None:
            return None
        self._book(exchange, flight)
        if exchange.wants_stream:
            return Reply(200, batches=retold(exchange.asked.dialect, whole))
        return Reply(200, body=whole)

    async def _batches(self, exchange: Exchange, flight: Flight) -> Stream:
        """The leader's stream from its start; the caller has counted us among the followers."""
        sent, deadline = 0, self._clock.deadline()
        try:
            while True:
                while sent < len(flight.events):
                    batch = flight.events[sent:]
                    sent += len(batch)
                    yield batch
                if flight.ended:
                    break
                await self._change(exchange, flight, deadline)
            if flight.error is not None:
                raise shared(flight.error)
        finally:
            deadline.close()
            self._book(exchange, flight)
            flight.leader.part()

    async def _change(self, exchange: Exchange, flight: Flight, deadline: Deadline) -> None:
        """Wait for more, no longer than this exchange may take, whatever its leader may. Raises ProviderTimeout."""
        since = self._clock.monotonic()
        try:
            with deadline.until(exchange.started + exchange.total_s):
                await flight.change()
        except TimeoutError as error:
            total = f"total deadline of {exchange.total_s:g} s"
            raise ProviderTimeout(f"the call that this request was joined to takes too long ({total})") from error
        finally:
            exchange.waited_s += self._clock.monotonic() - since

    def _book(self, exchange: Exchange, flight: Flight) -> None:
        """A joined answer is used like the leader's and paid by the leader."""
        leader = flight.leader
        exchange.cache = "joined"
        exchange.served_by = leader.served_by
        exchange.usage = leader.usage
        exchange.estimated = leader.estimated
        if leader.paid_by:
            share = ShareRow(attempt_id=leader.paid_by, exchange_id=exchange.id, amount_nano=0, lever="joined")
            exchange.shares.append(share)
