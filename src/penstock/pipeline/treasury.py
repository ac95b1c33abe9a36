"""The budgets as they stand: who may spend, who waits for whom, and who is told that it is over.

Fails closed: what does not fit is not dispatched, and nothing is admitted before the accounts are known. The rules are
``core/bank.py``'s; here are the waiting, in order, and the history that the ledger tells.

There is one bank. A process that hands over gives its accounts and holds to its successor, and from then on asks there
before it spends (docs/adr/0011-a-successor-before-the-end.md). Of many nodes each has a bank for what it was lent,
and a ``Lender`` to ask for more (docs/adr/0014-many-nodes.md).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

import msgspec

from penstock.core.bank import Bank, Claim, Fit
from penstock.core.budget import STEPS, STEPS_S, Budget, Payer, Place
from penstock.core.budget_report import BudgetStanding, standings, used_ratio
from penstock.core.money import format_amount
from penstock.core.parts import Standing
from penstock.core.places import Places
from penstock.core.windows import FOREVER, Span
from penstock.errors import BudgetExceeded
from penstock.ports.clock import Clock
from penstock.ports.ledger import Ledger, Posted, PostedQuery

log = logging.getLogger(__name__)

ASK_AGAIN_S: Final = 0.1
"""Who waits for what others give back asks so often."""
MOMENT_S: Final = 0.001
"""So soon nothing changes."""


class Cost(NamedTuple):
    """An amount in both units: nano-units of the book currency (None = no price), and tokens."""

    nano: int | None
    tokens: int


class Moved(msgspec.Struct, frozen=True):
    """A bank on its way to another process."""

    budgets: Sequence[str] = ()
    """Whose accounts are all here, by ``Budget.id``; what others spent is for the ledger to tell."""
    posted: Sequence[tuple[Place, int]] = ()
    holds: Mapping[str, Sequence[tuple[Place, int]]] = {}
    """By attempt id."""


class MovedError(Exception):
    """The bank moved while somebody waited for it: ask again."""


class Heir(Protocol):
    """The process that has the bank now."""

    async def hold(self, attempt_id: str, payer: Payer, cost: Cost, wait_s: float) -> float:
        """As ``Treasury.hold``. Raises MovedError too, when the bank is back here."""
        ...

    def top_up(self, attempt_id: str, payer: Payer, more: Cost) -> bool:
        """Whether that much more is held; False also while that is asked: ask again."""
        ...

    def settle(self, attempt_id: str, payer: Payer, at: float, cost: Cost) -> None:
        """As ``Treasury.settle``."""
        ...


class Lender(Protocol):
    """Who lends this node its parts of the accounts."""

    def standing(self, place: Place) -> Standing:
        """What it has of one."""
        ...

    def places(self) -> Iterable[Place]:
        """Of which accounts it has heard."""
        ...

    async def provide(self, claims: Sequence[Claim], payer: Payer) -> bool:
        """Ask for what the claims lack; what came of it, ``standing`` says. Whether anything was lent, to whomever.

        Raises SharedUnavailable.
        """
        ...

    def seek(self, claims: Sequence[Claim], payer: Payer) -> None:
        """The same, without waiting for it."""
        ...

    def foresee(self, claims: Sequence[Claim]) -> None:
        """These will be held soon: who asks for them then waits for the answer that is asked for now."""
        ...

    def restock(self, claims: Sequence[Claim]) -> None:
        """These are held: ask for more before it is needed, where little is left."""
        ...

    async def posted(self, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """What this node spent under its lease and holds, as ``Ledger.posted``."""
        ...

    @property
    def lease(self) -> int:
        """Under which it spends now."""
        ...

    async def begin_again(self) -> None:
        """Take another lease. Raises SharedUnavailable, StoreError."""
        ...


class Asked(NamedTuple):
    """What somebody wants to hold, and when it was asked for."""

    payer: Payer
    cost: Cost
    at: float


class _Measured(NamedTuple):
    """Whether something fits, what stands in its way, and whether anything was lent for it."""

    claims: Sequence[Claim]
    fit: Fit
    blocking: Claim | None
    lent: bool


class _Waiter:
    """Who waits for holds of others to end."""

    __slots__ = ("asked", "attempt_id", "claims", "lines", "turn")

    def __init__(self, attempt_id: str, asked: Asked, claims: Sequence[Claim]) -> None:
        self.attempt_id = attempt_id
        self.asked = asked
        self.claims = claims
        self.lines: dict[Place, None] = {}
        """Where it stands, also when that budget is gone."""
        self.turn: asyncio.Future[Claim | None] = asyncio.get_running_loop().create_future()

    def give_up(self) -> None:
        """It has waited long enough: what stands in its way stays the reason."""
        if not self.turn.done():
            self.turn.set_result(next(claim for claim in self.claims if claim.hard))


class Treasury:
    """All budgets of a process, their accounts, and the line before them."""

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger,
        currency: str,
        on_alert: Callable[[str], None],
        lender: Lender | None = None,
    ) -> None:
        """``currency``: the book's, for messages; ``on_alert``: counts that a budget reached one of its alerts.

        ``lender``: None = the accounts are this process' alone.
        """
        self.budgets: tuple[Budget, ...] = ()
        self.bank = Bank()
        self._clock = clock
        self._ledger = ledger
        self._currency = currency
        self._on_alert = on_alert
        self._lender = lender
        self._former: set[str] = set()
        """Attempts that were held under a lease that has ended: what they cost is booked there."""
        self._accounts = Places(())
        self._lines: dict[Place, dict[_Waiter, None]] = {}
        self._settled: list[str] | None = None
        self._adopting = asyncio.Lock()
        self._told: set[tuple[Place, float]] = set()
        self._heir: Heir | None = None
        self._inherited: frozenset[str] = frozenset()

    # --- which budgets there are

    async def adopt(self, budgets: Sequence[Budget]) -> None:
        """Hold everyone to these from now on; the history of new ones is read from the ledger first.

        Raises StoreError when it cannot be read: then what held before still holds.
        """
        async with self._adopting:
            known = {budget.id for budget in self.budgets} | self._inherited
            new = [budget for budget in budgets if budget.id not in known]
            before, self.budgets, self._settled = self.budgets, tuple(budgets), list(self.bank.holds())
            try:
                history = await self._history(new, self._settled)
            except BaseException:
                self.budgets = before
                raise
            finally:
                self._settled = None
            for place, amount in history.items():
                self.bank.post(place, amount)
            self._inherited = frozenset()
            self._relimit()
            for gone in known - {budget.id for budget in budgets}:
                self.bank.forget(gone)
            self._serve(list(self._lines))

    async def _history(self, budgets: Sequence[Budget], settled: Sequence[str]) -> Mapping[Place, int]:
        """What is posted on all their accounts, in one reading of the ledger."""
        now = self._clock.now()
        asked = [(budget, PostedQuery(budget.scope, *span)) for budget in budgets for span in budget.spans_around(now)]
        queries = list(dict.fromkeys(query for _, query in asked))
        answers = await self._read(queries, settled) if queries else []
        found = dict(zip(queries, answers, strict=True))
        return {
            Place(budget.id, row.value, query.since): row.amount_nano if budget.unit == "money" else row.tokens
            for budget, query in asked
            for row in found[query]
        }

    async def _read(self, queries: Sequence[PostedQuery], settled: Sequence[str]) -> Sequence[Sequence[Posted]]:
        if self._lender is not None:
            return await self._lender.posted(queries)
        return await self._ledger.posted(queries, excluding=settled)

    def _relimit(self) -> None:
        """Who waits, waits for what the budgets are now, those that came meanwhile included."""
        for waiter in dict.fromkeys(waiter for line in self._lines.values() for waiter in line):
            waiter.claims = self._claims(*waiter.asked)
            self._line_up(waiter)

    # --- which process has the bank

    def hand_over(self, heir: Heir) -> Moved:
        """Everything goes to ``heir``, and whoever spends asks there from now on; after ``ready``.

        Where a lender is there is nothing to hand over: the successor has a lease of its own.
        """
        if self._lender is not None:
            return Moved()
        self._heir = heir
        for waiter in {waiter: None for line in self._lines.values() for waiter in line}:
            if not waiter.turn.done():
                waiter.turn.set_exception(MovedError())
        return Moved(
            [budget.id for budget in self.budgets],
            [(place, account.posted) for place, account in self.bank.accounts().items() if account.posted],
            {id_: list(held.items()) for id_, held in self.bank.holds().items()},
        )

    def take_back(self) -> None:
        """There is no heir after all. It has spent nothing itself, and what was asked of it is booked here too."""
        self._heir = None

    def take_over(self, moved: Moved) -> None:
        """Go on with what another process had; before ``adopt``."""
        for place, amount in moved.posted:
            self.bank.post(place, amount)
        for attempt_id, held in moved.holds.items():
            self.bank.hold(attempt_id, [Claim(place, amount, limit=amount) for place, amount in held])
        self._inherited = frozenset(moved.budgets)

    # --- what is lent

    def lent(self) -> None:
        """Parts have grown: let those go on who waited for that."""
        self._relimit()
        self._serve(list(self._lines))

    def begin_again(self) -> None:
        """The lease is over: what was held and spent under it is booked there, and nothing of it here."""
        self._former |= self.bank.holds().keys()
        self.bank = Bank()
        self._relimit()

    @property
    def lease(self) -> int:
        """Under which is spent now; 0 = under none."""
        return 0 if self._lender is None else self._lender.lease

    @property
    def is_lent(self) -> bool:
        """Whether others spend of the same accounts."""
        return self._lender is not None

    async def after_lease(self, lease: int) -> None:
        """Return when there is another than this one, which has ended. Raises SharedUnavailable, StoreError."""
        if self._lender is not None and self._lender.lease == lease:
            await self._lender.begin_again()

    def _posted(self, place: Place) -> int:
        """What is spent of an account, here and elsewhere."""
        here = self.bank.account(place).posted
        return here if self._lender is None else here + self._lender.standing(place).elsewhere

    # --- what one request may do

    async def ready(self) -> None:
        """Wait while the history of new budgets is read: before it is known, nothing can be measured against them.

        What is asked and held without a wait after this is of the same accounts.
        """
        if self._adopting.locked():
            async with self._adopting:
                pass

    @property
    def has_ladder(self) -> bool:
        """Whether any budget steps down before it refuses."""
        return self._places.has_ladder

    def applies(self, payer: Payer) -> bool:
        """Whether any hard budget binds this payer."""
        hard = self._places.hard
        return bool(hard) and any(payer.values(budget.scope) for budget in hard)

    def room(self, payer: Payer) -> tuple[int | None, int | None]:
        """What is left beside what is posted, for the tightest budget of each unit: (nano, tokens); None = no limit."""
        left: dict[str, int] = {}
        for budget, place in self._places.of(payer, self._clock.now()):
            if budget.hard:
                rest = budget.limit_of(place.value) - self._posted(place)
                left[budget.unit] = min(rest, left.get(budget.unit, rest))
        return left.get("money"), left.get("tokens")

    def steps(self, payer: Payer) -> tuple[str, ...]:
        """The rungs of the ladder that this payer has reached, gentlest first."""
        found = [each for each in self._places.of(payer, self._clock.now()) if each[0].ladder]
        return tuple(step for step in STEPS if any(self._has_reached(step, *each) for each in found))

    def _has_reached(self, step: str, budget: Budget, place: Place) -> bool:
        """By what is posted: a hold may come to much less."""
        share = budget.ladder.get(step)
        return share is not None and self._posted(place) >= share * budget.limit_of(place.value)

    def refusal(self, payer: Payer, cost: Cost, why: str) -> BudgetExceeded:
        """The refusal of what would cost that much, by the account that is farthest from holding it."""

        def excess(claim: Claim) -> float:
            return (self.bank.account(claim.place).used + claim.amount) / max(1, claim.limit)

        claims = [claim for claim in self._claims(payer, cost, self._clock.now()) if claim.hard]
        return self._over(max(claims, key=excess), why)

    def last_step(self, payer: Payer) -> BudgetExceeded:
        """The refusal of the ladder's last step."""
        reached = [
            (budget, place)
            for budget, place in self._places.of(payer, self._clock.now())
            if self._has_reached("refuse", budget, place)
        ]
        return self._refusal(*reached[0], "the last step of its ladder is reached")

    async def hold(self, attempt_id: str, payer: Payer, cost: Cost, wait_s: float) -> float:
        """Hold ``cost`` on every account, waiting up to ``wait_s`` in order for the holds of others to end.

        The instant whose windows it is held in, epoch seconds. Raises BudgetExceeded.
        """
        until = self._clock.monotonic() + wait_s
        while True:
            try:
                if self._heir is None:
                    return await self._hold_here(attempt_id, payer, cost, until)
                at = await self._heir.hold(attempt_id, payer, cost, max(0.0, until - self._clock.monotonic()))
            except MovedError:
                continue
            self.bank.hold(attempt_id, self._claims(payer, cost, at))
            return at

    async def _hold_here(self, attempt_id: str, payer: Payer, cost: Cost, until: float) -> float:
        """``until``: monotonic time. Raises MovedError when the bank moves meanwhile."""
        while True:
            await self.ready()
            if self._heir is not None:
                raise MovedError
            at = self._clock.now()
            claims, fit, blocking, lent = await self._measured(payer, cost, at)
            if fit is Fit.NEVER and blocking is not None:
                raise self._over(blocking)
            if fit is Fit.NOW and not self._has_line(claims):
                self._take(attempt_id, claims)
                return at
            if fit is Fit.LATER and lent and self._clock.monotonic() < until:
                continue  # who asked with this one was served first: there may be more
            left_s = until - self._clock.monotonic()
            try:
                waiter = _Waiter(attempt_id, Asked(payer, cost, at), claims)
                await self._wait(waiter, min(left_s, self._look_again_in_s(payer, at)))
            except BudgetExceeded:
                if self._clock.monotonic() >= until - MOMENT_S:
                    raise
            else:
                if attempt_id not in self._former:
                    return at
                self._former.discard(attempt_id)  # its lease ended while its turn came

    def _has_line(self, claims: Sequence[Claim]) -> bool:
        """Whether others wait for one of these accounts."""
        return bool(self._lines) and any(claim.place in self._lines for claim in claims)

    def _take(self, attempt_id: str, claims: Sequence[Claim]) -> None:
        self.bank.hold(attempt_id, claims)
        if self._lender is not None:
            self._lender.restock(claims)

    async def _measured(self, payer: Payer, cost: Cost, at: float) -> _Measured:
        """Against what there is; where that does not hold it, against what is lent then. Raises SharedUnavailable."""
        claims = self._claims(payer, cost, at)
        fit, blocking = self.bank.fit(claims)
        if fit is Fit.NOW or self._lender is None:
            return _Measured(claims, fit, blocking, lent=False)
        lent = await self._lender.provide(claims, payer)
        claims = self._claims(payer, cost, at)
        return _Measured(claims, *self.bank.fit(claims), lent=lent)

    def foresee(self, payer: Payer, cost: Cost) -> None:
        """So much is to be held soon: ask for it now, where it is not lent."""
        claims = self._claims(payer, cost, self._clock.now())
        if self._lender is not None and self.bank.fit(claims)[0] is Fit.LATER:
            self._lender.foresee(claims)

    def _look_again_in_s(self, payer: Payer, at: float) -> float:
        """Seconds from ``at`` to the first reset of a budget of theirs: who waits until then begins anew."""
        reset_s = min(self._accounts.span(budget, at).end - at for budget, _ in self._places.of(payer, at))
        return reset_s if self._lender is None else min(reset_s, ASK_AGAIN_S)

    def top_up(self, attempt_id: str, payer: Payer, more: Cost) -> bool:
        """Hold more for an attempt that is under way; False when that does not fit, or is not lent yet."""
        if attempt_id in self._former and attempt_id not in self.bank.holds():
            self.bank.hold(attempt_id, self._claims(payer, Cost(0, 0), self._clock.now()))
        held = {(place.budget, place.value): place for place in self.bank.holds().get(attempt_id, {})}
        claims = [
            claim._replace(place=held[claim.place[:2]])  # in the window in which it was held
            for claim in self._claims(payer, more, self._clock.now())
            if claim.place[:2] in held
        ]
        if self._heir is not None:
            fits = self._heir.top_up(attempt_id, payer, more)
        else:
            fits = self.bank.fit(claims)[0] is Fit.NOW
        if fits:
            self.bank.top_up(attempt_id, claims)
        elif self._lender is not None:
            self._lender.seek(claims, payer)
        return fits

    def settle(self, attempt_id: str, payer: Payer, at: float, cost: Cost) -> None:
        """Post what an attempt dispatched at ``at`` (epoch seconds) cost, once, and let those go on who waited."""
        if attempt_id in self._former:
            self._former.discard(attempt_id)
            self.bank.release(attempt_id)
            return
        held = self.bank.holds().get(attempt_id)
        if held is None:
            return
        if self._settled is not None:
            self._settled.append(attempt_id)
        billed = self._billed(held, payer, at, cost)
        self.bank.settle(attempt_id, billed)
        if self._heir is not None:
            self._heir.settle(attempt_id, payer, at, cost)
            return
        self._alert(billed)
        if self._lines:
            self._serve(billed)

    def _billed(self, held: Iterable[Place], payer: Payer, at: float, cost: Cost) -> dict[Place, int]:
        """What it cost, by account: in the windows in which it was held."""
        found = self._places.of(payer, at)
        if not found:
            return {}
        places = {place[:2]: place for place in held}
        return {places.get(place[:2], place): _in_unit(budget, cost) for budget, place in found}

    def _release(self, attempt_id: str) -> None:
        if attempt_id not in self.bank.holds():
            return
        self.bank.release(attempt_id)
        if self._heir is not None:
            self._heir.settle(attempt_id, Payer(), self._clock.now(), Cost(0, 0))

    # --- the line

    async def _wait(self, waiter: _Waiter, wait_s: float) -> None:
        self._line_up(waiter)
        timer = self._clock.later(wait_s, waiter.give_up)
        try:
            blocking = await waiter.turn
        except asyncio.CancelledError:
            self._release(waiter.attempt_id)
            raise
        finally:
            timer.cancel()
            self._leave(waiter)
        if blocking is not None:
            raise self._over(blocking)

    def _line_up(self, waiter: _Waiter) -> None:
        """In the line of every account that it claims; where it stands already, it keeps its place."""
        for claim in waiter.claims:
            self._lines.setdefault(claim.place, {})[waiter] = None
            waiter.lines[claim.place] = None

    def _leave(self, waiter: _Waiter) -> None:
        """Out of every line; who is first now may go on."""
        for place in waiter.lines:
            line = self._lines[place]
            del line[waiter]
            if not line:
                del self._lines[place]
        self._serve(waiter.lines)

    def _serve(self, changed: Iterable[Place]) -> None:
        """Let those go on, in order, who are first in all their lines and fit; refuse whom nothing helps any more."""
        for place in changed:
            while (line := self._lines.get(place)) is not None:
                waiter = next((each for each in line if not each.turn.done()), None)
                if waiter is None or not self._is_first(waiter):
                    break
                if self._lender is not None:
                    waiter.claims = self._claims(*waiter.asked)  # parts shrink, too
                fit, blocking = self.bank.fit(waiter.claims)
                if fit is Fit.LATER:
                    break
                if fit is Fit.NOW:
                    self.bank.hold(waiter.attempt_id, waiter.claims)
                waiter.turn.set_result(blocking)

    def _is_first(self, waiter: _Waiter) -> bool:
        return all(
            next(each for each in self._lines[claim.place] if not each.turn.done()) is waiter for claim in waiter.claims
        )

    # --- claims and refusals

    @property
    def _places(self) -> Places:
        if self._accounts.budgets is not self.budgets:
            self._accounts = Places(self.budgets)
        return self._accounts

    def _claims(self, payer: Payer, cost: Cost, at: float) -> list[Claim]:
        found, lender = self._places.of(payer, at), self._lender
        if not found:
            return []
        if lender is None:
            return [
                Claim(place, _in_unit(budget, cost), budget.limit_of(place.value), budget.hard)
                for budget, place in found
            ]
        claims = []
        for budget, place in found:
            part, elsewhere = lender.standing(place)
            limit = budget.limit_of(place.value) - elsewhere
            claims.append(Claim(place, _in_unit(budget, cost), limit, budget.hard, part))
        return claims

    def _over(self, claim: Claim, why: str = "") -> BudgetExceeded:
        budget = next(budget for budget in self.budgets if budget.id == claim.place.budget)
        needs = _told(budget, claim.amount, self._currency)
        return self._refusal(budget, claim.place, why or f"this request may need {needs}")

    def _refusal(self, budget: Budget, place: Place, why: str) -> BudgetExceeded:
        now = self._clock.now()
        end = budget.span(place.start).end
        limit, taken = budget.limit_of(place.value), self._posted(place) + self.bank.account(place).pending
        whose = "" if budget.scope == "global" else f" of {_whose(budget.scope, place.value)}"
        used, most = (_told(budget, amount, self._currency) for amount in (taken, limit))
        when = "in all" if budget.window == "total" else f"in this {budget.window}"
        until = "" if end == FOREVER else f"; it is reset at {datetime.fromtimestamp(end, UTC).astimezone(budget.zone)}"
        return BudgetExceeded(
            f"the budget {budget.name!r}{whose} is used up: {used} of {most} {when}, {why}{until}",
            refused_by={
                "budget": budget.name,
                "scope": budget.scope,
                "value": place.value,
                "unit": self._currency if budget.unit == "money" else "tokens",
                "used": taken,
                "limit": limit,
                "resets_at": None if end == FOREVER else end,
                "timezone": budget.zone.key,
            },
            retry_after_s=None if end == FOREVER else max(1.0, end - now),
        )

    # --- the operator

    def standings(self) -> list[BudgetStanding]:
        """Every account of the windows that are open, and every entry that has spent nothing yet."""
        now = self._clock.now()
        return [standing for budget in self.budgets for standing in self._standings(budget, budget.span(now))]

    def _standings(self, budget: Budget, span: Span) -> list[BudgetStanding]:
        known = [*self.bank.accounts(), *(() if self._lender is None else self._lender.places())]
        mine = [place for place in dict.fromkeys(known) if place.budget == budget.id and place.start == span.start]
        used = {place.value: posted for place in mine if (posted := self._posted(place))}
        pending = {place.value: held for place in mine if (held := self.bank.account(place).pending)}
        return standings(budget, span, used, pending)

    def fullest(self) -> Iterator[tuple[str, float] | None]:
        """Each budget's name and what is used of its fullest account: a step looks at one account, and has None."""
        now = self._clock.now()
        current = {(budget.id, budget.span(now).start): budget for budget in self.budgets}
        highest = {budget.name: 0.0 for budget in self.budgets if budget.scope == "global" or budget.entries}
        for place in (*self.bank.accounts(), *(() if self._lender is None else self._lender.places())):
            budget = current.get((place.budget, place.start))
            if budget is not None:
                ratio = used_ratio(self._posted(place), budget.limit_of(place.value))
                highest[budget.name] = max(ratio, highest.get(budget.name, 0.0))
            yield None
        yield from highest.items()

    def sweep(self) -> None:
        """Forget the accounts of windows that are over."""
        now = self._clock.now()
        for budget in self.budgets:
            self.bank.forget(budget.id, before=budget.span(now - STEPS_S).start)
        self._told = {told for told in self._told if told[0] in self.bank.accounts()}

    def _alert(self, changed: Iterable[Place]) -> None:
        """Tell the operator once per account and fraction of its limit that is spent."""
        for place in changed:
            budget = self._accounts.by_id.get(place.budget)
            if budget is None or not budget.alerts:
                continue
            limit, spent = budget.limit_of(place.value), self._posted(place)
            for fraction in budget.alerts:
                if 0 < fraction * limit <= spent and (place, fraction) not in self._told:
                    self._told.add((place, fraction))
                    self._on_alert(budget.name)
                    told = {
                        "budget": budget.name,
                        "of": place.value,
                        "used": round(spent / limit, 4),
                        "alert": fraction,
                    }
                    log.warning("a budget nears its limit", extra=told)


def _in_unit(budget: Budget, cost: Cost) -> int:
    return (cost.nano or 0) if budget.unit == "money" else cost.tokens


def _whose(scope: str, value: str) -> str:
    return f"{scope} {value[:64]!r}" if value else f"those without a {scope}"


def _told(budget: Budget, amount: int, currency: str) -> str:
    return f"{format_amount(amount)} {currency}" if budget.unit == "money" else f"{amount} tokens"
