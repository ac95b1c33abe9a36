"""The question to the other nodes: for an answer, whose flight to follow, or to lead. Asked in its turn, or before.

A key that asks once in a while has nothing lent of its limits, and its budgets nothing lent of theirs, so its request
waits for what nodes share before anything else is known of it. What it would ask next goes along: its rates, this
question, and room for its first call are one round trip.

Nobody leads for other nodes who waits for something here: who is refused, finds its answer or its flight here by then,
or has to stand in line, gives back what it asked for too early.
"""

import asyncio
from collections.abc import Callable

from penstock.errors import ClientGone
from penstock.pipeline.exchange import Exchange, Found
from penstock.pipeline.join import Flights
from penstock.pipeline.sharing import SHAREABLE
from penstock.pipeline.stored import Storing
from penstock.ports.answers import AnswerCache, StoredAnswer
from penstock.ports.clock import Clock
from penstock.ports.crossing import SharedAnswers

LEFT = "the client left before its answer"


class Question:
    """Asks for every exchange once."""

    def __init__(
        self,
        clock: Clock,
        shared: SharedAnswers,
        answers: AnswerCache,
        flights: Flights,
        *,
        storing: Storing,
        foresee: Callable[[Exchange], None],
    ) -> None:
        """``answers``, ``flights``: of this node; ``foresee``: asks for the room that its call will need."""
        self._clock = clock
        self._shared = shared
        self._answers = answers
        self._flights = flights
        self._storing = storing
        self._foresee = foresee
        self._early: set[bytes] = set()
        """What is asked for too early: one of those who ask the same is enough."""

    async def ask(self, exchange: Exchange, generation: int) -> Found:
        """What the other nodes say. ``generation``: of its flight."""
        early = self._taken(exchange)
        if early is not None:
            return await early
        self._foresee(exchange)
        return await self._asked(exchange, generation)

    # --- before its turn

    def begin(self, exchange: Exchange) -> None:
        """It is about to wait for what nodes share."""
        self._foresee(exchange)
        if exchange.asking is None and self._is_open(exchange):
            key = self._storing.key(exchange)
            if key not in self._early:
                self._early.add(key)
                exchange.asking = asyncio.ensure_future(self._asked(exchange, 0))

    def review(self, exchange: Exchange, *, waits: bool) -> None:
        """It has waited. ``waits``: and will go on waiting."""
        if exchange.asking is not None and (waits or not self._is_open(exchange)):
            self.give_up(exchange)

    def give_up(self, exchange: Exchange) -> None:
        """It does not need what it asked for."""
        early = self._taken(exchange)
        if early is not None:
            early.add_done_callback(_give_back)

    def _taken(self, exchange: Exchange) -> "asyncio.Future[Found] | None":
        early, exchange.asking = exchange.asking, None
        if early is not None:
            self._early.discard(self._storing.key(exchange))
        return early

    def _is_open(self, exchange: Exchange) -> bool:
        """Whether it will have to be asked, as things stand here."""
        directive = exchange.asked.directive
        if exchange.asked.dialect not in SHAREABLE or directive.no_store:
            return False
        if directive.no_cache:
            return True
        now = self._clock.now()
        held = any(self._answers.held(key, now) is not None for key in self._storing.keys(exchange))
        return not held and self._storing.key(exchange) not in self._flights

    async def _asked(self, exchange: Exchange, generation: int) -> Found:
        return await self._shared.ask(
            self._storing.key(exchange),
            stored_after=self._storing.youngest(exchange, self._clock.now()),
            look=not exchange.asked.directive.no_cache,
            generation=generation,
        )


def _give_back(early: "asyncio.Future[Found]") -> None:
    """As if it had never been asked; whoever on another node follows already makes the call."""
    if early.cancelled() or early.exception() is not None:
        return
    found = early.result()
    if isinstance(found, StoredAnswer):
        return
    if found.leads:
        found.end(None, ClientGone(LEFT), store=False)
    else:
        found.close()
