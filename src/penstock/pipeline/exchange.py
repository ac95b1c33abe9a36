"""One request through the gateway and its answer: the typed state that the stages share."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from penstock.config.settings import DeploymentSettings, ModelSettings, TimeoutSettings
from penstock.core.budget import Payer
from penstock.core.cachekey import NO_DIRECTIVE, CacheDirective
from penstock.core.edge import Passed, Told
from penstock.core.records import AttemptRow, ExchangeRow, ShareRow
from penstock.core.routing import Plan
from penstock.core.trace import Trace
from penstock.core.usage import NO_USAGE, Usage
from penstock.errors import PenstockError
from penstock.pipeline.first import First
from penstock.pipeline.flight import Flight
from penstock.pipeline.hold import Hold
from penstock.pipeline.seat import Seat
from penstock.pipeline.standing import Standing
from penstock.pipeline.stream import Stream
from penstock.ports.answers import StoredAnswer
from penstock.ports.crossing import Crossing, Following
from penstock.wire.fold import Fold

Found = StoredAnswer | Crossing | Following
"""What other nodes say: the answer, the right to lead, or whom to follow."""


class Made(NamedTuple):
    """What came of an exchange, to be kept."""

    answer: StoredAnswer | None
    """None = it has none of its own."""
    may_be_stored: bool
    """Whether who asks later may get it, too."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``key_id`` is the tenant; ``anonymous`` in open mode."""

    key_id: str
    name: str
    team: str = ""
    models: tuple[str, ...] = ()
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    edge: str = ""
    """The name of the key of the edge that asks for it; "" = it asks itself."""
    edge_id: str = ""
    """That key's id: whose rates and slots it takes."""

    @property
    def limited(self) -> str:
        """The id of the key whose limits hold: an edge has no more than its own, for however many it asks."""
        return self.edge_id or self.key_id


ANONYMOUS = Principal("anonymous", "anonymous")
STRANGER = Principal("", "")
"""Who has not been identified."""


NO_MODEL = ModelSettings(
    name="",
    deployments=(),
    balance="weighted",
    baseline=None,
    default_output=0,
    stream_upstream=False,
    exact=None,
    timeouts=TimeoutSettings(connect_s=0, first_byte_s=0, between_s=0, total_s=0),
)
"""The model of an exchange that has not named one yet."""


class Asked(msgspec.Struct):
    """What the request's head says, before its body is read."""

    dialect: str
    credential: str = ""
    directive: CacheDirective = NO_DIRECTIVE
    idempotency_key: str = ""
    tags: Mapping[str, str] = {}
    forward: Mapping[str, str] = {}
    """Client headers that go to the provider unchanged."""
    timeout_s: float | None = None
    """The most that the whole may take, where the request says; it narrows the model's deadlines."""
    address: str = ""
    """The caller's, as far as proxies are trusted."""
    region: str = ""
    session: str = ""
    batch: bool = False
    """It may wait behind those that somebody waits for."""
    sensitive: bool = False
    """It may go to private providers only."""
    passed: Passed | None = None
    """What the Penstock that it came through says of it."""
    trace: tuple[bytes, bytes] | None = None
    """``traceparent`` and ``tracestate``, as they came."""

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The tags as ``name=value``."""
        return tuple([f"{name}={value}" for name, value in self.tags.items()]) if self.tags else ()


class Reply(msgspec.Struct):
    """An answer on its way: whole (``body``) or a stream (``batches``)."""

    status: int
    body: bytes = b""
    batches: Stream | None = None
    headers: Mapping[str, str] = {}


class Exchange:
    """One request and its answer. Every stage reads and writes it; nothing else passes between stages."""

    __slots__ = (
        "_payer", "age_s", "asked", "asking", "at", "attempts", "avoided_nano", "baseline_nano", "cache", "called_off",
        "client_gone", "cost_nano", "crossing", "cut_by", "degraded", "dispatched", "error", "estimated", "fields",
        "finished", "first", "first_byte_at", "flight", "fold", "followers", "hold", "hurry", "id", "key", "lent",
        "made", "model", "plan", "principal", "raw", "read_body", "reply", "requested", "row", "said", "seat",
        "served_by", "shares", "standing", "started", "steps", "stoppable", "streamed", "task", "told", "trace",
        "usage", "user", "waited_s", "wants_stream", "wants_usage", "whole",
    )  # fmt: skip

    def __init__(
        self, exchange_id: str, asked: Asked, read_body: Callable[[], Awaitable[bytes]], at: float, started: float
    ) -> None:
        """``at``: epoch seconds of arrival; ``started``: the same instant on the monotonic clock."""
        self.id, self.asked, self.read_body = exchange_id, asked, read_body
        self.at, self.started = at, started
        self.principal = STRANGER
        # The request, after admit.
        self.raw, self.user, self.wants_stream, self.wants_usage = b"", "", False, False
        self.fields: dict[str, Any] = {}
        self.requested: ModelSettings = NO_MODEL
        """As asked for: what a saving is measured against, and what budgets and bills go by."""
        self.model: ModelSettings = NO_MODEL
        """As served: the requested one, or what the ladder stepped down to."""
        self.standing: Standing | None = None
        self.lent: Mapping[str, int] = {}  # of its key's limits, where these are shared
        # The answer, as far as it has come. ``finished``: complete, from a provider, fit to be stored; ``estimated``:
        # its usage is our own count.
        self.reply: Reply | None = None
        self.error: PenstockError | None = None
        self.finished = self.estimated = False
        self.fold: Fold | None = None
        self.whole: bytes | None = None
        self.said: Mapping[str, Any] = {}  # what ``whole`` says, where it has been read already
        self.streamed, self.waited_s, self.age_s = False, 0.0, 0.0  # ``age_s``: how long ago it was made
        self.first_byte_at: float | None = None
        self.told: Told | None = None  # what a centre said of it
        self.trace: Trace | None = None  # where traces are kept
        self.row: ExchangeRow | None = None  # as recorded at its end
        self.made: Made | None = None  # when it is left
        # Caching, joining, routing.
        self.key: bytes | None = None
        self.cache, self.served_by, self.dispatched = "off", "", 0
        self.flight: Flight | None = None
        self.asking: asyncio.Future[Found] | None = None
        """What other nodes are asked before its turn; not taken yet."""
        self.crossing: Crossing | None = None
        """Its flight, as other nodes see it."""
        self.first: First | None = None
        self.plan: Plan[DeploymentSettings] | None = None
        self.seat: Seat | None = None
        """At the plan's first deployment, until the call there is made."""
        # Money. ``hold``: the first call's, until it is made; ``steps``:
        # the rungs of the ladder that apply; ``degraded``: those that were taken.
        self.attempts: list[AttemptRow] = []
        self.shares: list[ShareRow] = []
        self.usage: Usage = NO_USAGE
        self.hold: Hold | None = None
        self._payer: Payer | None = None
        self.steps: tuple[str, ...] = ()
        self.degraded: tuple[str, ...] = ()
        self.avoided_nano: int | None = 0
        self.baseline_nano: int | None = 0
        self.cost_nano: int | None = 0
        # Who still waits for it. ``stoppable``: nothing is lost by stopping now; ``hurry``: send without waiting until
        # the client has taken what was sent before.
        self.client_gone = self.called_off = False
        self.cut_by: PenstockError | None = None
        self.followers, self.stoppable = 0, True
        self.hurry: Callable[[], None] = _at_its_pace
        self.task: asyncio.Task[Any] | None = None

    @property
    def payer(self) -> Payer:
        """Whose budgets it falls under; known once admitted."""
        if self._payer is None:
            principal = self.principal
            model, tags = self.requested.name, self.asked.tag_names
            self._payer = Payer(principal.team, principal.name, self.user, model, tags)
        return self._payer

    @property
    def paid(self) -> AttemptRow | None:
        """The attempt that its answer is of: not always the last, a loser may be settled after; None = no attempt."""
        for attempt in reversed(self.attempts):
            if attempt.outcome == "ok":
                return attempt
        return self.attempts[-1] if self.attempts else None

    @property
    def paid_by(self) -> str:
        """The id of the attempt that its answer is of, whichever exchange made it; "" = none."""
        paid = self.paid
        if paid is not None:
            return paid.id
        return self.shares[-1].attempt_id if self.shares else ""

    @property
    def trace_id(self) -> str:
        """Of its trace; "" = it is not recorded."""
        trace = self.trace
        return trace.trace_id if trace is not None and trace.sampled else ""

    @property
    def total_s(self) -> float:
        """The most that it may take: the model's total, or less where the request allows itself less."""
        total_s, own_s = self.model.timeouts.total_s, self.asked.timeout_s
        return total_s if own_s is None else min(total_s, own_s)

    @property
    def unwanted(self) -> bool:
        """True when neither its client nor a follower waits for the answer."""
        return self.client_gone and not self.followers

    def client_left(self) -> None:
        """The client's connection is gone."""
        self.client_gone = True
        self.call_off()

    def join(self) -> None:
        """One more waits for the answer: it no longer keeps the pace of its client."""
        self.followers += 1
        self.hurry()

    def attend(self, change: int) -> None:
        """So many more wait for it elsewhere, or less."""
        if change > 0:
            self.join()
        else:
            self.part()

    def part(self) -> None:
        """One of those who waited is gone."""
        self.followers -= 1
        self.call_off()

    def call_off(self) -> None:
        """Stop, if nobody waits for the answer and stopping saves anything."""
        if self.unwanted and self.stoppable and self.task is not None and not self.called_off:
            self.called_off = True
            self.task.cancel()

    def cut(self, error: PenstockError) -> None:
        """Stop, whoever waits: the gateway goes, and ``error`` is what its client is told."""
        if self.task is not None and not (self.called_off or self.finished):
            self.called_off, self.cut_by = True, error
            self.task.cancel()

    def answer(self) -> bytes | None:
        """The whole answer, whichever way it came; None when it is not finished."""
        if self.whole is None and self.finished and self.fold is not None:
            self.whole = self.fold.whole()
        return self.whole if self.finished else None


def _at_its_pace() -> None:
    """A server that cannot hurry."""
