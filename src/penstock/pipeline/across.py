"""across: ask the other nodes, in one round trip: for the answer, whose flight to follow, or to lead one for all.

Whoever leads on its own node asks; the others there have joined it. A leader that has a flight to follow elsewhere
relays it to them. What no node has at hand may still be in the store, which is looked at before a call is made,
unless all that it has is known to be at hand.

Fails open: while nobody answers, this node leads for itself.
"""

from penstock.errors import ClientGone
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.flight import Flight
from penstock.pipeline.relay import Relay
from penstock.pipeline.stored import Storing
from penstock.ports import AnswerCache, Clock, Crossing, SharedAnswers, StoredAnswer
from penstock.wire.sse import Event


class Across:
    """One answer, one flight, for all nodes."""

    def __init__(self, clock: Clock, shared: SharedAnswers, answers: AnswerCache, storing: Storing) -> None:
        self._clock = clock
        self._shared = shared
        self._answers = answers
        self._storing = storing

    async def enter(self, exchange: Exchange) -> Reply | None:
        """The answer that there is or that another node gets; None = this one leads. Raises what ended the leader."""
        flight = exchange.flight
        if flight is None:  # it shares nothing
            return None
        key, look = self._storing.key(exchange), not exchange.asked.directive.no_cache
        while True:
            youngest = self._storing.youngest(exchange, self._clock.now())
            found = await self._shared.ask(key, stored_after=youngest, look=look, generation=flight.generation)
            if isinstance(found, StoredAnswer):
                self._answers.hold(key, found)
                reply = self._served(exchange, flight, found)
            elif found.leads:
                return await self._lead(exchange, flight, found, look=look)
            else:
                reply = await Relay(self._clock, exchange, flight, found).reply()
            if reply is not None:
                return reply

    def tap(self, exchange: Exchange, event: Event) -> Event:
        """Publish what streams by."""
        if exchange.crossing is not None and not event.whole:
            exchange.crossing.publish(Event(event.raw, event.data, event.name), exchange.served_by)
        return event

    def leave(self, exchange: Exchange) -> None:
        """End the flight and store the answer: one word to the others, behind."""
        crossing = exchange.crossing
        if crossing is None:
            return
        exchange.crossing = None
        answer = self._storing.made(exchange)
        store = answer is not None and self._storing.may_store(exchange, answer)
        crossing.end(answer, exchange.error, store=store)

    async def _lead(self, exchange: Exchange, flight: Flight, crossing: Crossing, *, look: bool) -> Reply | None:
        """Look in the store if it may be there; None = there is nothing: a call is made, and others may follow it."""
        try:
            stored = None
            if look and crossing.behind and self._storing.is_on(exchange):
                stored = await self._answers.get(self._storing.key(exchange), self._clock.now())
            reply = None if stored is None else self._served(exchange, flight, stored)
        except BaseException:
            crossing.end(None, ClientGone("the client left before its answer"), store=False)
            raise
        if reply is not None:
            crossing.end(stored, None, store=True)
            return reply
        crossing.heed = exchange.attend
        exchange.crossing = crossing
        return None

    def _served(self, exchange: Exchange, flight: Flight, stored: StoredAnswer) -> Reply | None:
        reply = self._storing.served(exchange, stored)
        if reply is not None:
            flight.find(stored)
        return reply
