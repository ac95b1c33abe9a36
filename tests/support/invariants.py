"""The invariants of money, for every test that spends any (DESIGN part 7).

    figures = check_money(Books(rows, budgets=..., bank=..., bill=...))

- no hard budget's account is overspent: ``limit >= posted + pending``, what exceeded a hold and says so excepted;
- in the bank, where there is one: posted is the sum of the ledger, pending that of the open attempts;
- one end per exchange and per attempt; nothing is open when all is over; every row belongs to one that is there;
- shares sum to the attempt's charge, and an exchange's cost is the sum of its shares;
- nobody is charged more than was held without ``overrun``, and nothing says ``overrun`` that was not;
- the ledger joins the provider's bill, no orphan on either side: what the provider reported is exact to the token and
  the nano-unit; what was cut off is billed <= charged <= held, and flagged ``estimated``.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.core.budget import Budget, Place, places
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, ShareRow
from penstock.core.usage import Usage
from tests.support.bill_provider_lines import BilledCall, by_marker
from tests.support.invariants_books import Books

SHOWN = 20
Pair = tuple[AttemptRow | None, BilledCall | None]


@dataclass(slots=True)
class Figures:
    """What was compared with the bill."""

    exchanges: int = 0
    attempts: int = 0
    exact: int = 0
    """Attempts whose usage is known, equal to the bill."""
    estimated: int = 0
    """Attempts charged by our own count."""
    billed_nano: int = 0
    charged_nano: int = 0
    largest_nano: int = 0
    """The most that one estimated attempt was charged beyond its bill."""


def check_money(books: Books) -> Figures:
    """Raises AssertionError that names every breach, the first ``SHOWN`` of them in full."""
    found = list(breaches(books))
    more = [f"... and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    assert not found, "\n".join(["the books do not add up:", *found[:SHOWN], *more])
    return figures(books)


def breaches(books: Books) -> Iterator[str]:
    """Everything that is wrong, a sentence each."""
    yield from _rows(books)
    if any(attempt.exchange_id not in books.exchanges for attempt in books.attempts.values()):
        return  # what hangs in the air belongs to no budget
    yield from _budgets(books)
    if books.bank is not None:
        yield from _bank(books)
    if books.bill is not None:
        yield from _bill(books)


def figures(books: Books) -> Figures:
    """What ``check_money`` found right."""
    made = Figures(len(books.exchanges), len(books.attempts))
    for attempt, call in _pairs(books) if books.bill is not None else ():
        charged = (attempt.charged_book_nano or 0) if attempt is not None else 0
        billed = call.cost_nano if call is not None else 0
        made.charged_nano += charged
        made.billed_nano += billed
        if attempt is not None and attempt.estimated:
            made.estimated += 1
            made.largest_nano = max(made.largest_nano, charged - billed)
        elif attempt is not None and call is not None and call.usage.total:
            made.exact += 1
    return made


# --- the ledger by itself


def _rows(books: Books) -> Iterator[str]:
    for name, count in books.ends.items():
        if count > 1:
            yield f"{name} has ended {count} times"
        if not count and not books.running:
            yield f"{name} is still open"
    twice = Counter((share.attempt_id, share.exchange_id) for share in books.shares)
    yield from (f"{attempt} serves {exchange} twice" for (attempt, exchange), count in twice.items() if count > 1)
    of_exchange: dict[str, list[ShareRow]] = {}
    of_attempt: dict[str, list[ShareRow]] = {}
    for share in books.shares:
        of_exchange.setdefault(share.exchange_id, []).append(share)
        of_attempt.setdefault(share.attempt_id, []).append(share)
        if share.exchange_id not in books.exchanges:
            yield f"a share of {share.attempt_id} belongs to {share.exchange_id}, which is not there"
        if share.attempt_id not in books.attempts and not books.running:
            yield f"a share of {share.exchange_id} belongs to {share.attempt_id}, which is not there"
    made: dict[str, list[AttemptRow]] = {}
    for attempt in books.attempts.values():
        made.setdefault(attempt.exchange_id, []).append(attempt)
        yield from _attempt(books, attempt, of_attempt.get(attempt.id, []))
    for exchange in books.exchanges.values():
        if exchange.outcome != OPEN:
            yield from _exchange(exchange, of_exchange.get(exchange.id, []), made.get(exchange.id, []))


def _exchange(exchange: ExchangeRow, shares: list[ShareRow], made: list[AttemptRow]) -> Iterator[str]:
    name = exchange.id
    if exchange.attempts != len(made):
        yield f"{name} says {exchange.attempts} attempts and has {len(made)}"
    unpriced = any(attempt.charged_book_nano is None for attempt in made)
    cost = None if unpriced else sum(share.amount_nano for share in shares)
    if exchange.cost_nano != cost and not any(attempt.outcome == OPEN for attempt in made):
        yield f"{name} cost {exchange.cost_nano}, its shares are {cost}"
    if (exchange.outcome == "ok") != (exchange.status == 200):
        yield f"{name} ended {exchange.outcome} with status {exchange.status}"
    if exchange.outcome != "ok" and exchange.baseline_nano != exchange.cost_nano:
        yield f"{name} failed and saved something"
    if sum(attempt.outcome == "ok" for attempt in made) > 1:
        yield f"two calls answered {name}"
    if not 0 <= exchange.overhead_s <= exchange.duration_s + 1e-9:
        yield f"{name} took {exchange.duration_s} s, of which {exchange.overhead_s} s in the gateway"
    yield from _usage(name, exchange.usage)


def _attempt(books: Books, attempt: AttemptRow, shares: list[ShareRow]) -> Iterator[str]:
    name, charged, held = attempt.id, attempt.charged_book_nano, attempt.held_nano
    if attempt.exchange_id not in books.exchanges:
        yield f"{name} belongs to {attempt.exchange_id}, which is not there"
    yield from _usage(name, attempt.usage)
    if attempt.outcome == OPEN:
        return
    if sum(share.amount_nano for share in shares) != (charged or 0):
        yield f"the shares of {name} are {sum(share.amount_nano for share in shares)}, its charge is {charged}"
    if (attempt.charged_nano is None) != (charged is None):
        yield f"{name} is priced in one currency only"
    if attempt.ended_at < attempt.started_at:
        yield f"{name} ended before it began"
    over = attempt.usage.total > attempt.held_tokens or (charged or 0) > (held if held is not None else charged or 0)
    if over != attempt.overrun:
        flag = "is flagged overrun" if attempt.overrun else "is not flagged overrun"
        tokens = f"{attempt.usage.total} of {attempt.held_tokens} tokens"
        yield f"{name} {flag}, charged {charged} of {held} held, {tokens}"
    for share in shares:
        own = share.exchange_id == attempt.exchange_id
        if own != (share.lever in {"direct", "routing", "hedging"}) or not (own or share.amount_nano == 0):
            yield f"{share.exchange_id} pays {share.amount_nano} of {name} as {share.lever}"


def _usage(name: str, usage: Usage) -> Iterator[str]:
    if min(usage) < 0 or usage.reasoning > usage.output or usage.total != usage.prompt + usage.output:
        yield f"{name} has the impossible {usage}"


# --- budgets


def _budgets(books: Books) -> Iterator[str]:
    posted, pending, excused = _sums(books)
    by_id = {budget.id: budget for budget in books.budgets}
    for place in posted | pending:
        limit = by_id[place.budget].limit_of(place.value)
        if by_id[place.budget].hard and posted[place] + pending[place] - excused[place] > limit:
            yield (
                f"{place.budget} of {place.value!r} from {place.start:.0f} on is overspent: {posted[place]} posted"
                f" + {pending[place]} pending > {limit}"
            )


def _sums(books: Books) -> tuple[Counter[Place], Counter[Place], Counter[Place]]:
    """Posted, pending, and what of the posted exceeded its hold and says so, by account, from the ledger alone."""
    posted: Counter[Place] = Counter()
    pending: Counter[Place] = Counter()
    excused: Counter[Place] = Counter()
    for attempt in books.attempts.values():
        for budget, place in places(books.budgets, books.payer(attempt), attempt.started_at):
            held, charged = _amounts(budget, attempt)
            if attempt.outcome == OPEN:
                pending[place] += held
            else:
                posted[place] += charged
                excused[place] += max(0, charged - held) * attempt.overrun
    return posted, pending, excused


def _amounts(budget: Budget, attempt: AttemptRow) -> tuple[int, int]:
    """Held and charged, in the budget's unit."""
    if budget.unit == "money":
        return attempt.held_nano or 0, attempt.charged_book_nano or 0
    return attempt.held_tokens, attempt.usage.total


def _bank(books: Books) -> Iterator[str]:
    assert books.bank is not None
    posted, _, _ = _sums(books)
    ids = {budget.id for budget in books.budgets}
    accounts = {place: account for place, account in books.bank.accounts().items() if place.budget in ids}
    for place in accounts.keys() | {place for place in posted if posted[place]}:
        account = books.bank.account(place)
        if account.posted != posted[place]:
            yield f"{place} has {account.posted} posted, the ledger says {posted[place]}"
    held: Counter[Place] = Counter()
    for hold in books.bank.holds().values():
        held.update(hold)
    for place, account in accounts.items():
        if account.pending != held[place]:
            yield f"{place} has {account.pending} pending, its holds are {held[place]}"
    yield from _holds(books)


def _holds(books: Books) -> Iterator[str]:
    """What is held is what the open rows say; a hold is in the bank before it is in the ledger, and may grow there."""
    assert books.bank is not None
    holds = books.bank.holds()
    open_ones = {name: attempt for name, attempt in books.attempts.items() if attempt.outcome == OPEN}
    for name in open_ones.keys() - holds.keys():
        yield f"{name} is open in the ledger alone"
    for name in holds.keys() - open_ones.keys() if not books.running else ():
        yield f"{name} is open in the bank alone"
    for name, attempt in open_ones.items():
        for budget, place in places(books.budgets, books.payer(attempt), attempt.started_at):
            amount, row = holds.get(name, {}).get(place, 0), _amounts(budget, attempt)[0]
            if name in holds and (amount < row or (amount > row and not attempt.stops)):
                yield f"{name} holds {amount} on {place}, its row says {row}"


# --- the bill


def _bill(books: Books) -> Iterator[str]:
    for attempt, call in _pairs(books):
        if attempt is None and call is not None:
            yield f"call {call.call} ({call.marker}) reached its provider and no attempt says so: {call}"
        elif attempt is not None and call is None:
            if attempt.charged_book_nano and not attempt.estimated:
                yield f"{attempt.id} is charged {attempt.charged_book_nano} for a call that no provider bills"
        elif attempt is not None and call is not None and attempt.outcome != OPEN:
            yield from _compare(attempt, call)


def _compare(attempt: AttemptRow, call: BilledCall) -> Iterator[str]:
    charged, billed, held = attempt.charged_book_nano or 0, call.cost_nano, attempt.held_nano
    names = f"{attempt.id} ({call.marker}, {call.model}, {attempt.outcome})"
    if not call.why:
        yield f"{names}: its call has not ended: {call}"
    elif not attempt.estimated:
        if attempt.usage[:4] != call.usage[:4] or charged != billed:
            yield f"{names} is exact and wrong: {attempt.usage[:4]} for {charged}, billed {call.usage[:4]} for {billed}"
    elif attempt.outcome != "ok":
        if not billed <= charged:
            yield f"{names} was cut off and charged {charged}, billed {billed} ({call.usage})"
        if held is not None and charged > held and not attempt.overrun:
            yield f"{names} was cut off and charged {charged}, held {held}"


def _pairs(books: Books) -> Iterator[Pair]:
    """Attempts and calls of the same marker: by the provider's id where it came, the others in order."""
    calls, attempts = by_marker(books.bill or ()), books.by_marker
    for marker in calls.keys() | attempts.keys():
        yield from _matched(attempts.get(marker, []), calls.get(marker, []))


def _matched(attempts: list[AttemptRow], calls: list[BilledCall]) -> Iterator[Pair]:
    by_id = {call.call: call for call in calls}
    known = {attempt.id: by_id.pop(attempt.upstream_id) for attempt in attempts if attempt.upstream_id in by_id}
    left = [attempt for attempt in attempts if attempt.id not in known]
    # Of those that may never have been sent, those that cost nothing are the likelier ones.
    spare = len(left) - len(by_id)
    unsent = sorted((attempt for attempt in left if _may_be_unsent(attempt)), key=lambda row: bool(row.charged_nano))
    never = {attempt.id for attempt in unsent[: max(0, spare)]}
    rest = iter(by_id.values())
    for attempt in attempts:
        call = known.get(attempt.id)
        if call is None and attempt.id not in never:
            call = next(rest, None)
        yield attempt, call
    yield from ((None, call) for call in rest)


def _may_be_unsent(attempt: AttemptRow) -> bool:
    return attempt.estimated or not attempt.charged_book_nano
