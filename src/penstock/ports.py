"""Every port on one page: what the pipeline needs from the world, and nothing about how it is done.

Adapters live in ``providers/``, ``stores/``, ``clock.py``; ``compose.py`` alone chooses among them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from penstock.config.settings import DeploymentSettings, ProviderSettings
from penstock.core.budget import Place
from penstock.core.offer import AnswersPage, Offer, PurgesPage
from penstock.core.reconcile import Balance, Charges
from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow
from penstock.core.rerate import Entry
from penstock.core.usage import NO_USAGE, Usage
from penstock.errors import PenstockError, UpstreamError
from penstock.wire.sse import Event

# --- time, chance, names ---------------------------------------------------------------------------------------


class Deadline(Protocol):
    """One re-armable timer for one task; waiting under it again and again costs no new timers."""

    def until(self, when: float) -> AbstractContextManager[object]:
        """A scope that raises TimeoutError when monotonic time reaches ``when``; not nestable."""
        ...

    def rebind(self) -> None:
        """From now on it is the running task's."""
        ...

    def close(self) -> None:
        """Drop the timer."""
        ...


class Timer(Protocol):
    """A callback to come."""

    def cancel(self) -> None:
        """It will not come any more."""
        ...


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for that long."""
        ...

    def later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back after that long, once."""
        ...

    def deadline(self) -> Deadline:
        """A new timer for the running task."""
        ...


class Rng(Protocol):
    """The only source of chance."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...


class Ids(Protocol):
    """The only source of identifiers: unique, sortable by time."""

    def new(self, prefix: str) -> str:
        """``<prefix>_<32 hex digits>``."""
        ...


# --- telemetry -------------------------------------------------------------------------------------------------


class CollectorAnswer(NamedTuple):
    """What it says to a post. ``retry_after_s``: for how long it wants to be left alone; None = it does not say."""

    status: int
    body: bytes = b""
    retry_after_s: float | None = None


class Collector(Protocol):
    """An OpenTelemetry collector."""

    async def post(self, path: str, body: bytes) -> CollectorAnswer:
        """A JSON document, within a deadline. Raises UpstreamError."""
        ...


# --- faults ----------------------------------------------------------------------------------------------------

FAIL_POINTS: Final = ("reserve", "held", "dispatch", "first_byte", "usage", "settle", "flush")
"""The steps of an attempt, in order: the hold is asked for, is durable, the call goes out, its answer begins, its usage
is known, it is settled, its end is durable."""

FailPoint = Callable[[str], None]
"""Told of each of ``FAIL_POINTS`` as it is reached; a test ends the process there. Live it does nothing."""


# --- providers -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class UpstreamCall:
    """One HTTP request to a provider, ready to send. ``headers`` holds the credentials: never log it."""

    provider: ProviderSettings
    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    stream: bool
    connect_timeout_s: float


class UpstreamResponse(Protocol):
    """What came back: status and headers (lower-case names) at once, the decoded body as it arrives."""

    status: int
    headers: Mapping[str, str]

    async def read(self, limit: int) -> bytes:
        """The whole (rest of the) body. Raises BadAnswer above ``limit`` bytes, or when cut short."""
        ...

    async def next(self) -> bytes:
        """The next non-empty read; b"" at the end. Raises BadAnswer when the body is cut short."""
        ...

    async def close(self) -> None:
        """Release the connection; an unfinished body closes it, so that the provider sees us leave."""
        ...


class Transport(Protocol):
    """The one-method seam to providers. Raises only UpstreamError; cancelling it closes the connection."""

    async def send(self, call: UpstreamCall) -> UpstreamResponse:
        """Send the call and wait for the response's head."""
        ...

    async def close(self) -> None:
        """Close idle connections."""
        ...


class Adapter(Protocol):
    """How one kind of provider speaks. Pure: the sender does the I/O."""

    def encode(
        self,
        dialect: str,
        fields: Mapping[str, Any],
        raw: bytes,
        deployment: DeploymentSettings,
        headers: Mapping[str, str],
    ) -> UpstreamCall:
        """The call that asks ``deployment`` for this request. ``fields`` is the decoded body, ``raw`` its bytes.

        ``headers`` are the client's pass-through headers (anthropic-version, anthropic-beta).
        """
        ...

    def usage(self, dialect: str, body: Mapping[str, Any], before: Usage | None) -> Usage | None:
        """The usage that a whole answer or one stream event carries, merged over ``before``; None = none in it."""
        ...

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """The error that an answer with an error status means."""
        ...

    def error_inside(self, dialect: str, body: Mapping[str, Any]) -> UpstreamError | None:
        """The error that the body of a 200, or a stream event, carries; None = it is fine."""
        ...


# --- the centre ------------------------------------------------------------------------------------------------


class Centre(Protocol):
    """The Penstock that an edge asks, as it tells of itself. Raises UpstreamError."""

    async def offer(self) -> Offer:
        """What it serves."""
        ...

    async def purges(self, mark: str, within_s: float) -> PurgesPage:
        """What was purged since, if it says so within that long."""
        ...

    async def answers(self, mark: str) -> AnswersPage:
        """Which answers changed since."""
        ...


class DigestNotes(Protocol):
    """Which digests were told, for all who share a store. Every method raises StoreError."""

    async def take(self, note: str, now: float, until: float) -> Literal["taken", "busy", "told"]:
        """``taken``: by the caller, until then; ``busy``: by another; ``told``: there is nothing to do."""
        ...

    async def told(self, note: str, until: float) -> None:
        """What was taken is done; known until then."""
        ...

    async def give_back(self, note: str) -> None:
        """What was taken was not done."""
        ...


class CentreNotes(Protocol):
    """What an edge remembers of its centre from start to start. Never raises: what is lost is asked for again."""

    async def read(self, name: str) -> bytes | None:
        """The note of that name; None = there is none."""
        ...

    async def write(self, name: str, note: bytes) -> None:
        """Keep it in the place of what had its name."""
        ...


# --- stores ----------------------------------------------------------------------------------------------------


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A finished answer as the exact cache keeps it: always whole, whatever the first asker wanted."""

    body: bytes
    """The whole answer's JSON."""
    stored_at: float
    expires_at: float
    attempt_id: str
    """The attempt that produced it."""
    model: str
    tenant: str
    tags: tuple[str, ...]
    deployment: str
    usage: Usage
    estimated: bool
    entry: str = ""
    """Under what the edge that asked for it keeps it; opaque here, "" = no edge did."""


class Purged(NamedTuple):
    """One purge. None = of every one."""

    id: int
    at: float
    model: str | None
    tenant: str | None
    tag: str | None


class Purge(NamedTuple):
    """What of the cache is forgotten: what matches all that is given; nothing given = everything."""

    model: str | None = None
    tenant: str | None = None
    """An edge stands for all of its own."""
    tag: str | None = None
    deployments: Sequence[str] = ()
    """``provider/model``, or ``provider/`` for all that it serves."""
    ours: bool = False
    """Whether this process began it."""


class PurgesSince(NamedTuple):
    """The purges after a mark, oldest first, and the mark to go on from."""

    purges: Sequence[Purged]
    mark: str
    known: bool
    """False: what was purged since is not known any more, so it may have been anything."""


class Changed(NamedTuple):
    """Which answers an edge asks for: of its tenants, later than a mark."""

    edge: str
    """The id of its key."""
    after: str
    """A mark; "" = from the beginning."""
    until: float
    """Stored up to then, epoch seconds."""
    now: float
    limit: int
    max_bytes: int
    """Of all bodies together; one that is larger by itself is never given."""


class AnswerCache(Protocol):
    """Finished answers by key. ``get`` never returns an expired one. Loses entries, never mixes them up."""

    async def get(self, key: bytes, now: float) -> StoredAnswer | None:
        """The answer stored under ``key``."""
        ...

    def held(self, key: bytes, now: float) -> StoredAnswer | None:
        """The same, of what this process has in memory; nobody else is asked."""
        ...

    def hold(self, key: bytes, answer: StoredAnswer) -> None:
        """Have in memory what another node stored."""
        ...

    def put(self, key: bytes, answer: StoredAnswer, asked_at: float | None = None) -> None:
        """Visible to ``get`` at once; durable soon.

        ``asked_at``: when its exchange arrived, epoch seconds; None = just now. Not stored when it was asked for before
        the last purge, or before the answer that is held was.
        """
        ...

    async def purge(
        self,
        *,
        model: str | None = None,
        tenant: str | None = None,
        tag: str | None = None,
        deployments: Collection[str] = (),
    ) -> int:
        """Forget what matches all that is given (nothing given = everything); how many were forgotten.

        ``deployments``: ``provider/model``, or ``provider/`` for all that it serves.
        """
        ...

    def forget(
        self, *, model: str | None, tenant: str | None, tag: str | None, deployments: Collection[str] = ()
    ) -> int:
        """What a purge by another node does here; how many were forgotten."""
        ...

    async def purges(self, after: str, limit: int) -> PurgesSince:
        """At most ``limit`` purges since a mark ("" = from the beginning). Raises StoreError, BadRequest."""
        ...

    async def changed(self, wanted: Changed) -> Sequence[tuple[str, StoredAnswer]]:
        """Answers that edges asked for, each with the mark to go on from after it. Raises StoreError, BadRequest."""
        ...

    def stats(self) -> tuple[int, int]:
        """(entries, bytes) held now."""
        ...

    async def withdraw(self) -> None:
        """Store nothing durably from now on: another process begins to. Raises StoreError."""
        ...

    def retire(self) -> None:
        """Answer nothing and take nothing from now on: another process does."""
        ...

    def resume(self) -> None:
        """Undo both."""
        ...


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


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A client key. The key itself is never stored: ``digest`` is HMAC-SHA256 of it under the pepper, in hex."""

    id: str
    name: str
    digest: str
    prefix: str
    """The first characters, to recognise it by."""
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    team: str = ""
    models: tuple[str, ...] = ()
    """Empty = all."""
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None

    def is_live(self, at: float) -> bool:
        """Neither revoked nor expired at ``at``, epoch seconds."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > at)


class KeyStore(Protocol):
    """Client keys."""

    async def list(self) -> Sequence[KeyRecord]:
        """All of them, revoked ones too, oldest first."""
        ...

    async def add(self, record: KeyRecord) -> None:
        """Store a new one. Raises StoreError when the name is taken by a live key."""
        ...

    async def revoke(self, name_or_id: str, at: float) -> KeyRecord | None:
        """Revoke a live one; None when there is none of that name or id."""
        ...

    async def version(self) -> int:
        """A number that changes with every write, by whichever process: cheap to poll."""
        ...


@dataclass(frozen=True, slots=True)
class BudgetRecord:
    """A budget set by command or admin API; it replaces the config's of the same name, whole or for single values."""

    name: str
    fields: Mapping[str, Any]
    """As a budget in the config file, checked: ``scope limit window timezone hard alerts unlisted entries ladder``."""
    removed: bool = False
    """True: there is no such budget, whatever the config says."""


class BudgetStore(Protocol):
    """Budgets that were set while running."""

    async def list(self) -> Sequence[BudgetRecord]:
        """All of them, by name."""
        ...

    async def put(self, record: BudgetRecord) -> None:
        """Store it in the place of what had its name."""
        ...

    async def delete(self, name: str) -> bool:
        """Forget the record of that name, so that the config's budget holds again; False when there is none."""
        ...

    async def version(self) -> int:
        """A number that changes with every write, by whichever process: cheap to poll."""
        ...


@dataclass(frozen=True, slots=True)
class StoredResult:
    """The first result under an Idempotency-Key, replayed for 24 h."""

    body_digest: bytes
    status: int
    headers: Mapping[str, str]
    body: bytes
    exchange_id: str
    expires_at: float


class ResultStore(Protocol):
    """Results by (tenant, Idempotency-Key)."""

    async def get(self, tenant: str, key: str, now: float) -> StoredResult | None:
        """The stored result, unless it expired."""
        ...

    def put(self, tenant: str, key: str, result: StoredResult) -> None:
        """Visible at once; durable soon."""
        ...


class Lease(NamedTuple):
    """A life of a node in which it may open attempts."""

    id: int
    node: str
    begun_at: float
    """Epoch seconds, by the store's clock."""


class Epoch(NamedTuple):
    """Since when what was lent is to be believed, and by which Redis."""

    number: int
    redis_id: str
    """Of the process that it was begun on; "" = none yet."""


class Leases(Protocol):
    """Who may open attempts, where several nodes write one ledger (docs/adr/0014). Every method raises StoreError."""

    async def begin(self, node: str) -> int:
        """A new lease of ``node``, a name for people; its id."""
        ...

    async def end(self, lease: int) -> bool:
        """Let nothing be opened under it any more; False when that was so already.

        When it returns, whatever was opened under it is in the ledger.
        """
        ...

    async def alive(self) -> Sequence[Lease]:
        """Those that have not ended, oldest first."""
        ...

    async def epoch(self) -> Epoch:
        """The one that holds."""
        ...

    async def next_epoch(self, redis_id: str, expected: int) -> Epoch:
        """Begin the epoch after ``expected``, and end all leases; where others have begun one, that one."""
        ...

    async def spent(self, lease: int, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """As ``Ledger.posted``, of the attempts of one lease; those that are open count what they hold."""
        ...

    async def base(self, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """As ``spent``, of all attempts that are of no living lease."""
        ...

    async def open_of(self, lease: int) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """As ``Ledger.open_rows``, of exchanges with an attempt under this lease."""
        ...

    async def unsettled(self) -> Sequence[int]:
        """Leases that have ended with something open under them; 0 = under none at all."""
        ...


class Fence(Protocol):
    """The ledger's side of a lease."""

    lease: int
    """Under which attempts are opened; 0 = under none, and without a fence."""
    may_open_alone: Callable[[], bool]
    """Whether something may be opened while nobody can ask whether the lease lives."""
    late_openings: int
    """How much was opened so and is in the ledger since, and came there when its lease had ended."""

    @property
    def fenced(self) -> bool:
        """Whether what is opened now is asked of the server."""
        ...

    async def settled(self) -> None:
        """Return when all that was appended before is at the server. Raises StoreError."""
        ...


class Leader(Protocol):
    """Whether this node is the one that sweeps, reconciles and settles for all."""

    async def lead(self) -> bool:
        """Whether it leads now; it tries to. Never raises."""
        ...


class Signals(Protocol):
    """What other nodes changed, told at once; a signal may be lost, so the truth is polled all the same."""

    def listen(self, callback: Callable[[str], object]) -> None:
        """Call it with the topic of each: ``keys budgets purges config leases epochs``, ``*`` = any may be missing."""
        ...

    async def tell(self, topic: str) -> int:
        """Signal it to all nodes, this one too; how often it was. Raises StoreError."""
        ...

    async def told(self, topic: str) -> int:
        """How often it was told by ``tell``, by any node: cheap to poll. Raises StoreError."""
        ...


class StoreLock(Protocol):
    """What keeps other servers from a store, and is shared with a successor alone."""

    file: int
    """The descriptor that is to be inherited."""

    def sign(self) -> None:
        """Say that this process is the one that serves."""
        ...


@dataclass(slots=True)
class Stores:
    """What ``stores/open.py`` makes of a store URL."""

    answers: AnswerCache
    ledger: Ledger
    reader: LedgerReader
    keys: KeyStore
    budgets: BudgetStore
    results: ResultStore
    sweep: Callable[[float], Any]
    """Await it with the time now: forgets expired answers and results."""
    close: Callable[[], Any]
    """Await it: flushes and closes."""
    description: str = ""
    audit: AuditStore | None = None
    """None = what the ledger has is gone with the process."""
    lock: StoreLock | None = None
    """None = no other process can reach it, or any number may."""
    fence: Fence | None = None
    leases: Leases | None = None
    """This and the following: None = only one process writes it."""
    leader: Leader | None = None
    spooled_bytes: Callable[[], int] | None = None
    """How much of the ledger waits on this machine's disk for its server."""
    unwritten_since: Callable[[], float | None] = lambda: None
    """When the oldest row of the ledger was appended that is not in the store, epoch seconds; None = all are."""
    signals: Signals | None = None
    refresh: Callable[[], Awaitable[Sequence[Purge]]] | None = None
    """Await it each second, and when ``purges`` or ``*`` is signalled: forgets what other nodes purged.

    What was purged since the last time, by this node too.
    """
    last_end: Callable[[float], Awaitable[float]] | None = None
    """Until when, epoch seconds, what was stored of answers before then is good at most, whoever stored it."""


# --- many nodes ------------------------------------------------------------------------------------------------

LEASE_S: Final = 5.0
"""A lease that was not renewed for so long, by the clock of whom it is kept at, is ended by whoever sees it first."""


class Want(NamedTuple):
    """A part of an account that a lease asks for: ``want`` where there is plenty, but not less than ``least``."""

    place: Place
    limit: int
    """That account's, now."""
    want: int
    least: int


class Lent(NamedTuple):
    """How an account stands after it was asked for a part."""

    known: bool
    """False: it was not set yet; nothing was lent of any account, and the numbers here are zeros."""
    lent: int = 0
    """Lent just now."""
    part: int = 0
    """What this lease has of it in all, whatever became of earlier answers."""
    taken: int = 0
    """``base`` and all parts: what nobody else can have now."""
    spent: int = 0
    """``base`` and what leases said they spent: this much no give-back frees."""


class Return(NamedTuple):
    """What a lease says of an account of its own."""

    place: Place
    back: int
    """Of its part, it gives so much back."""
    spent: int
    """So much of the part it has spent, in all. Beyond its part, the part grows: it is spent."""


class Beat(NamedTuple):
    """What a lease hears when it is renewed."""

    short: Sequence[Place]
    """Accounts of which it has a part, and of which somebody was refused one since it was renewed last."""
    silent: Sequence[str]
    """Leases that were not renewed for ``LEASE_S``: end them."""
    parts: Sequence[int]
    """What it has, in all, of each account that it spoke of; in their order."""
    ended: Sequence[str]
    """Leases that have ended and are not counted for good."""


class Rooms(Protocol):
    """What is lent of budgets, for all nodes (docs/adr/0014-many-nodes.md). Everything in it can be made again.

    On every account ``base + sum(parts) <= limit`` of the last who asked, but for what was spent beyond its part.
    Each call is one step that nothing comes between. All raise SharedUnavailable when nobody answers in time: then the
    step may have been taken or not, and it is never taken twice. Those that name an epoch raise EpochLost when it is
    not the one that stands, or what stands is older than what was seen of it.
    """

    async def server(self) -> str:
        """Which process, of those that may answer here, does: another one after a restart or a fail-over."""
        ...

    async def begin(self, epoch: int, server: str) -> None:
        """Everything of earlier epochs is forgotten; nothing changes where this one has begun at that server.

        For who made that epoch, once: of one that was begun and is lost again nobody could tell. Raises EpochLost when
        a later one has, or this one at another server, or another server answers now.
        """
        ...

    async def enter(self, epoch: int, lease: str) -> None:
        """A new lease, renewed now. Raises LeaseEnded when it has ended already."""
        ...

    async def ask(self, epoch: int, lease: str, wants: Sequence[Want]) -> Sequence[Lent]:
        """Lend of all these accounts, or of none; in their order. Raises LeaseEnded.

        Each gets ``want``, but no more than its share of what is left, and in any case ``least``. Where one cannot
        have its ``least``, or is not known, all ``lent`` are 0.
        """
        ...

    async def give_back(self, epoch: int, lease: str, returns: Sequence[Return]) -> Sequence[int]:
        """The parts then; what was spent is never given back. Raises LeaseEnded."""
        ...

    async def renew(self, epoch: int, lease: str, returns: Sequence[Return]) -> Beat:
        """As ``give_back``, and the lease lives on. Raises LeaseEnded."""
        ...

    async def set_account(
        self, epoch: int, place: Place, base: int, spent: Mapping[str, int], forget_in_s: float
    ) -> bool:
        """Make an account: what is spent by no living lease, and what each living one has spent or holds.

        Only the first one counts. False: one of these leases has ended meanwhile, so look again what was spent.
        ``forget_in_s``: until the account is not needed any more, some time after its window; inf = never.
        """
        ...

    async def set_lease(self, epoch: int, lease: str, spent: Mapping[Place, int], *, final: bool) -> None:
        """A lease has ended: of each account of its parts it has what it spent there, nothing where nothing is said.

        ``final``: nothing that it did will come to another amount any more, so it is added to ``base``, once. To say it
        again changes nothing.
        """
        ...


PART_S: Final = 1.0
"""A part of a minute's requests or tokens must be used within so long: later it is worth nothing."""


class RateWant(NamedTuple):
    """A part of a rate that a node asks for."""

    what: str
    """``requests`` or ``tokens`` of a minute, or ``concurrency``."""
    limit: int
    want: int
    least: int


class RatePart(NamedTuple):
    """What it got: 0, or at least its ``least``; the same ends for all that were asked for together."""

    lent: int
    wait_s: float
    """0.0, or until its ``least`` may fit."""


class SharedRates(Protocol):
    """The rates of keys, for all nodes: lent in parts, so that a request takes from what its node has.

    A part of a minute is good for ``PART_S`` and then worth nothing; one of the concurrency for ``LEASE_S`` after the
    node asked for that key last, be it for nothing. Raises SharedUnavailable.
    """

    async def take(self, key_id: str, node: str, wants: Sequence[RateWant]) -> Sequence[RatePart]:
        """All of them or none."""
        ...

    async def give_back(self, key_id: str, node: str, back: Mapping[str, int]) -> None:
        """What was not used; negative: tokens that were used beyond what was taken."""
        ...


class CrossingEnd(msgspec.Struct, frozen=True):
    """How a flight ended, for those who followed it on other nodes."""

    answer: StoredAnswer | None = None
    error: PenstockError | None = None


class Crossing(Protocol):
    """A flight that this node leads, and that others may follow. Never raises, never blocks: sends behind.

    Nothing is sent while nobody follows. It is renewed until it is ended.
    """

    leads: Literal[True]
    generation: int
    """How often leadership was handed on before."""
    heed: Callable[[int], object]
    """Called with 1 when somebody on another node begins to follow, with -1 when they cease."""
    behind: bool
    """Whether the store of all nodes may have an answer that was not found here."""

    @property
    def followers(self) -> int:
        """How many on other nodes wait for it, as far as is known."""
        ...

    def publish(self, event: Event, served_by: str) -> None:
        """One more event of its stream. Early ones are kept for those who come later, up to a bound."""
        ...

    def end(self, answer: StoredAnswer | None, error: PenstockError | None, *, store: bool) -> None:
        """Nothing more will come. ``store``: who asks later gets the answer too."""
        ...


class Following(Protocol):
    """A flight that another node leads. Close it whatever happens."""

    leads: Literal[False]
    generation: int
    served_by: str
    """``provider/model``; "" until it is known."""

    def batches(self) -> AsyncIterator[Sequence[Event]]:
        """The events of its stream from the first on, until it has ended."""
        ...

    async def end(self) -> CrossingEnd:
        """How it ended. A leader that fell silent is an Unreachable; one that outgrew its bounds as well."""
        ...

    def close(self) -> None:
        """Follow no more."""
        ...


class SharedAnswers(Protocol):
    """Finished answers and flights, for all nodes, in one round trip to ask and one to tell.

    Fails open: when nobody answers in time, everything is a miss and every node leads for itself.
    """

    async def get(self, key: bytes, *, stored_after: float = 0.0) -> StoredAnswer | None:
        """The answer, unless it expired, was purged, or was stored before then (epoch seconds)."""
        ...

    async def ask(
        self, key: bytes, *, stored_after: float = 0.0, look: bool = True, generation: int = 0
    ) -> StoredAnswer | Crossing | Following:
        """The answer, or the flight to follow, or the right to lead one, which must then be ended.

        ``look``: False leads whatever there is. ``generation``: of a flight in the place of one that failed.
        """
        ...

    async def purge(
        self,
        *,
        model: str | None = None,
        tenant: str | None = None,
        tag: str | None = None,
        deployments: Collection[str] = (),
    ) -> None:
        """As AnswerCache's; every node is told. Raises SharedUnavailable."""
        ...

    async def look_behind(self, last_end: Callable[[float], Awaitable[float]]) -> None:
        """Await it each second: so it is known what need not be looked for in the store.

        ``last_end``: until when what was stored there before then is good at most, epoch seconds. Raises
        SharedUnavailable, StoreError.
        """
        ...


@dataclass(slots=True)
class Shared:
    """What ``stores/open.py`` makes of the URL of what nodes share."""

    rooms: Rooms
    answers: SharedAnswers
    rates: SharedRates
    close: Callable[[], Awaitable[object]]
    """Await it: tells what is to be told, and disconnects."""
    description: str = ""
