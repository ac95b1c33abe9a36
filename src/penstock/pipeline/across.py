"""across: ask the other nodes, in one round trip: for the answer, whose flight to follow, or to lead one for all.

Whoever leads on its own node asks, or has asked while it waited for its rates (``question.py``); the others there have
joined it. A leader that has a flight to follow elsewhere relays it to them. What no node has at hand may still be in
the store, which is looked at before a call is made, unless all that it has is known to be at hand.

Fails open: while nobody answers, this node leads for itself.
"""

from penstock.errors import ClientGone
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.flight import Flight
from penstock.pipeline.question import LEFT, Question
from penstock.pipeline.relay import Relay
from penstock.pipeline.stored import Storing
from penstock.ports.answers import AnswerCache, StoredAnswer
from penstock.ports.clock import Clock
from penstock.ports.crossing import Crossing
from penstock.wire.sse import Event


class Across:
    """One answer, one flight, for all nodes."""

    def __init__(self, clock: Clock, question: Question, answers: AnswerCache, storing: Storing) -> None:
        self._clock = clock
        self._question = question
        self._answers = answers
        self._storing = storing

    async def enter(self, exchange: Exchange) -> Reply | None:
        """The answer that there is or that another node gets; None = this one leads. Raises what ended the leader."""
        flight = exchange.flight
        if flight is None:  # it shares nothing
            return None
        while True:
            found = await self._question.ask(exchange, flight.generation)
            if isinstance(found, StoredAnswer):
                self._answers.hold(self._storing.key(exchange), found)
                reply = self._served(exchange, flight, found)
            elif found.leads:
                return await self._lead(exchange, flight, found)
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
        answer, may_be_stored = self._storing.made(exchange)
        crossing.end(answer, exchange.error, store=may_be_stored)

    async def _lead(self, exchange: Exchange, flight: Flight, crossing: Crossing) -> Reply | None:
        """Look in the store if it may be there; None = there is nothing: a call is made, and others may follow it."""
        try:
            stored = None
            if not exchange.asked.directive.no_cache and crossing.behind and self._storing.is_on(exchange):
                stored = await self._answers.get(self._storing.key(exchange), self._clock.now())
            reply = None if stored is None else self._served(exchange, flight, stored)
        except BaseException:
            crossing.end(None, ClientGone(LEFT), store=False)
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
