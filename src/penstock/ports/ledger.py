"""The ledger: written a row at a time, read by spend and reports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from penstock.core.reconcile import Balance, Charges
from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow
from penstock.core.rerate import Entry
from penstock.core.usage import NO_USAGE, Usage


class PostedQuery(NamedTuple):
    """The charges of attempts dispatched in [since, until), epoch seconds, by value of ``scope``."""

    scope: str
    """One of ``core/budget.SCOPES``."""
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Posted:
    """What one scope value spent: nano-units of the book currency, and tokens as billed."""

    value: str
    amount_nano: int
    tokens: int


class Ledger(Protocol):
    """Rows, written in groups off the loop. One that is ``open`` is written over once by its end; others never are."""

    def append(self, rows: Iterable[LedgerRow]) -> None:
        """Take the rows; they are durable after the next flush. Never blocks, never raises."""
        ...

    async def flush(self) -> None:
        """Return when everything appended before is durable. Raises StoreError when it is not."""
        ...

    @property
    def healthy(self) -> bool:
        """False while the last write failed; rows wait, bounded, and are tried again."""
        ...

    async def open_rows(self) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """Every exchange that is open, or has an open attempt, with all its attempts: what a dead process left."""
        ...

    async def posted(self, queries: Sequence[PostedQuery], *, excluding: Sequence[str]) -> Sequence[Sequence[Posted]]:
        """What each query asks for, by value, all of one moment: to ask for several costs little more than for one.

        Open attempts are left out, and those whose ids stand in ``excluding`` at the moment the question is asked of
        the store: a caller that adds to it every attempt it settles from before the call on counts none twice.
        """
        ...


@dataclass(frozen=True, slots=True)
class SpendQuery:
    """What ``penstock spend`` asks: group by ``by`` over [since, until), epoch seconds, in time zone ``timezone``."""

    by: str
    """model deployment endpoint key team user tag hour day lever"""
    since: float
    until: float
    timezone: str


@dataclass(frozen=True, slots=True)
class SpendRow:
    """One group. Amounts are nano-units of ``currency``. ``wasted`` is what failed attempts were charged."""

    group: str
    requests: int
    tokens: int
    cost_nano: int
    baseline_nano: int
    saved_nano: int
    wasted_nano: int
    unpriced: int
    """Requests that no price covers: not in the amounts."""
    errors: int
    avoided_nano: int = 0
    """What budgets refused would likely have cost: never a saving."""
    currency: str = ""
    """Of the rows, whatever the config says now; empty = there are none."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How long answers of one model took that went well: quantiles in seconds, by the nearest rank."""

    model: str
    cached: bool
    """From a store of answers; else a call was waited for, be it another request's."""
    to: str
    """``end``, or ``first_byte`` of those that were streamed."""
    answers: int
    p50_s: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class OverviewQuery:
    """What ``penstock report`` asks: several groupings of ``SpendQuery``, and how it went."""

    groupings: Sequence[str]
    since: float
    until: float
    timezone: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Its answer, all of one moment. Speeds and outcomes are of rows that are still there: a dropped month has none."""

    spend: Mapping[str, Sequence[SpendRow]]
    """By grouping, each as ``LedgerReader.spend`` has it."""
    total: SpendRow
    speeds: Sequence[Speed]
    """By model, calls before stored answers."""
    outcomes: Mapping[str, int]
    """Requests by how they ended, the most frequent first."""


class Billed(NamedTuple):
    """What providers billed: tokens, and nano-units of the book currency for those that have a price."""

    usage: Usage = NO_USAGE
    cost_nano: int = 0

    def plus(self, other: "Billed") -> "Billed":
        """Both together."""
        usage = Usage(*(one + another for one, another in zip(self.usage, other.usage, strict=True)))
        return Billed(usage, self.cost_nano + other.cost_nano)


class LedgerReader(Protocol):
    """Questions to the ledger."""

    async def spend(self, query: SpendQuery) -> tuple[Sequence[SpendRow], SpendRow]:
        """The groups, dearest first (hours and days in order), and their total over distinct exchanges.

        Raises StoreError when the rows are in several currencies: they have no sum.
        """
        ...

    async def overview(self, query: OverviewQuery) -> Overview:
        """Several groupings over one span, and how it went. Raises as ``spend`` does."""
        ...

    async def billed(self, since: float, until: float) -> Billed:
        """For the calls that have ended of exchanges that arrived in [since, until). Raises StoreError."""
        ...

    async def exchange(self, exchange_id: str) -> Sequence[LedgerRow]:
        """Every row of one exchange: itself, its attempts, its shares."""
        ...

    async def open_rows(self) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """As ``Ledger.open_rows``: with a server running, what is under way."""
        ...

    async def attempts(self, ids: Sequence[str]) -> Sequence[AttemptRow]:
        """Those of these ids that there are; slow."""
        ...

    async def posted(self, queries: Sequence[PostedQuery], *, excluding: Sequence[str]) -> Sequence[Sequence[Posted]]:
        """As ``Ledger.posted``."""
        ...


@dataclass(frozen=True, slots=True)
class Extent:
    """The first and the last instant of a provider's charged calls, epoch seconds."""

    since: float
    until: float


class AuditStore(Protocol):
    """What holding the ledger against a provider's word needs of the store, beside a server or without one."""

    async def currency(self) -> str | None:
        """Of the ledger's book; None while it is empty."""
        ...

    async def extent(self, provider: str, billed_at: str) -> Extent | None:
        """When calls to ``provider`` were charged; None = never."""
        ...

    async def charges(self, provider: str, since: float, until: float, billed_at: str) -> Sequence[Charges]:
        """What calls were charged whose tariff instant (``billed_at``: completion or start) is in [since, until).

        Not calls that ended more than a day after they began, as those do that a dead process left for so long.
        """
        ...

    async def unpriced(self, after: tuple[float, str], limit: int) -> Sequence[Entry]:
        """Up to ``limit`` exchanges, by (at, id), that lack a cost or baseline, or have an attempt without a charge."""
        ...

    async def rerate(self, changed: Sequence[Entry]) -> None:
        """Write charges, shares, costs and baselines in one transaction; what has one already keeps it."""
        ...

    async def last_balances(self, provider: str) -> Sequence[Balance]:
        """The youngest snapshot of each currency."""
        ...

    async def keep_balances(self, balances: Sequence[Balance]) -> None:
        """Store snapshots; durable when the call returns."""
        ...
