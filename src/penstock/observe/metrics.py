"""Every metric, declared in one table and filled from the ledger's own rows.

The hot path adds to plain integers; their text is made when somebody scrapes, off the loop and a piece at a time.
Labels come from the config and from our own names, never from a client: a model or deployment that is not configured
counts as ``other``. docs/reference/metrics.md describes each metric; a test fails when one is missing there.
"""

import asyncio
import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from types import MappingProxyType
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector

from penstock.config.settings import Settings
from penstock.core.recent import Recent, Sums
from penstock.core.records import AttemptRow, ExchangeRow, ShareRow
from penstock.observe.counts import OTHER, Count, Histogram, Labels, Outcomes
from penstock.observe.exposition import Format, end, head, histogram, labelled, line, pieces
from penstock.observe.readings import Gauges, Readings, Survey

_ANSWER_S: Final = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""What language models take. Alerts have their thresholds among them."""
_OVERHEAD_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_NANO: Final = 1e-9


class Declared(NamedTuple):
    """One metric. ``scale`` turns what is kept into what is shown; ``bounds`` make it a histogram.

    ``across``: what a gauge of several processes is, ``sum``, ``max`` or ``min``; ``except_for``: the same of those
    series that have this value of a label.
    """

    name: str
    text: str
    labels: Labels = ()
    scale: float = 1.0
    bounds: tuple[float, ...] = ()
    across: str = "sum"
    except_for: Mapping[str, str] = MappingProxyType({})

    @property
    def kind(self) -> str:
        """counter, gauge or histogram."""
        if self.bounds:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"


DECLARED: Final[tuple[Declared, ...]] = (
    Declared("penstock_requests_total", "Requests that ended.", ("model", "outcome", "cache")),
    Declared("penstock_request_duration_seconds", "Arrival to last byte.", ("model", "cache"), bounds=_ANSWER_S),
    Declared("penstock_time_to_first_token_seconds", "Arrival to first data event.", ("model",), bounds=_ANSWER_S),
    Declared("penstock_tokens_total", "Tokens that providers billed.", ("model", "kind")),
    Declared("penstock_reasoning_tokens_total", "The part of output spent on reasoning.", ("model",)),
    Declared("penstock_cost_total", "What requests cost.", ("model", "currency"), scale=_NANO),
    Declared("penstock_saved_total", "Baseline minus cost.", ("lever", "currency"), scale=_NANO),
    Declared("penstock_active_requests", "Requests under way."),
    Declared("penstock_queue_depth", "Requests waiting for a slot or a deployment."),
    Declared("penstock_requests_per_second", "Requests that ended, over the last seconds."),
    Declared("penstock_concurrency_limit", "Requests that may be served at once."),
    Declared(
        "penstock_capacity_requests_per_second",
        "Requests per second that it was sized for, or that it can take as far as it has learned.",
        ("source",),
        except_for=MappingProxyType({"configured": "max"}),
    ),
    Declared("penstock_model_up", "0 while none of its deployments is up.", ("model",), across="min"),
    Declared(
        "penstock_deployment_info", "Always 1: which deployments serve a model.", ("model", "deployment"), across="max"
    ),
    Declared("penstock_attempts_total", "Calls to providers.", ("deployment", "outcome")),
    Declared(
        "penstock_overspent_slices_total",
        "Slices of a budget that nodes gave while nobody could lend them (shared.on_failure: answer).",
        ("budget",),
    ),
    Declared("penstock_overruns_total", "Calls that were billed beyond what was held for them.", ("deployment",)),
    Declared("penstock_centre_up", "0 while a central Penstock cannot be heard.", ("provider",), across="min"),
    Declared("penstock_deployment_up", "0 while it or its account is out, or on trial.", ("deployment",), across="min"),
    Declared("penstock_deployment_in_flight", "Calls under way.", ("deployment",)),
    Declared("penstock_deployment_limit", "Calls that it may have at once.", ("deployment",)),
    Declared(
        "penstock_deployment_first_byte_seconds",
        "What streams there have taken to begin lately.",
        ("deployment",),
        across="max",
    ),
    Declared("penstock_cache_lookups_total", "Questions to a cache.", ("cache", "result")),
    Declared("penstock_cache_entries", "Answers held.", ("cache",)),
    Declared("penstock_cache_bytes", "Bytes held.", ("cache",)),
    Declared("penstock_shed_total", "Requests refused to protect the rest.", ("reason",)),
    Declared("penstock_overhead_seconds", "Time spent in the gateway itself, its lines included.", bounds=_OVERHEAD_S),
    Declared("penstock_budget_used_ratio", "Posted per limit, of the fullest account.", ("budget",), across="max"),
    Declared("penstock_budget_window_elapsed_ratio", "How much of its window has gone by.", ("budget",), across="max"),
    Declared("penstock_budget_alerts_total", "Fractions of a limit that were reached.", ("budget",)),
    Declared("penstock_avoided_total", "What refused requests would have cost.", ("currency",), scale=_NANO),
    Declared(
        "penstock_prefix_hit_value_per_mtok",
        "What a million prompt tokens cost less when the provider has them in its cache.",
        ("model", "currency"),
        across="max",
    ),
    Declared(
        "penstock_price_age_seconds", "Since the oldest price in use was last confirmed.", ("provider",), across="max"
    ),
    Declared("penstock_tokens_today", "Tokens of the current day, by the ledger.", ("kind",), across="max"),
    Declared(
        "penstock_cost_today",
        "What the current day cost, by the ledger.",
        ("currency",),
        scale=_NANO,
        across="max",
    ),
    Declared("penstock_tokens_per_day_limit", "More tokens on one day are told of.", across="max"),
    Declared(
        "penstock_account_balance",
        "What the account holds, as its provider said last.",
        ("provider", "currency"),
        scale=_NANO,
        across="min",
    ),
    Declared("penstock_account_balance_low", "From where on that is little.", ("provider", "currency"), across="max"),
    Declared(
        "penstock_ledger_drift_ratio",
        "What an account's balance fell otherwise than our ledger charged there today, per charged.",
        ("provider",),
        across="max",
    ),
    Declared("penstock_ledger_healthy", "0 while the ledger cannot be written.", across="min"),
    Declared("penstock_ledger_rows_lost_total", "Ledger rows given up, and logged."),
    Declared(
        "penstock_ledger_oldest_unwritten_seconds", "How long the oldest row has waited to be written.", across="max"
    ),
    Declared("penstock_ledger_spooled_bytes", "Ledger rows that wait on this disk for their server."),
    Declared("penstock_keys_age_seconds", "Since the store was asked for its keys and answered.", across="max"),
    Declared("penstock_traces_total", "Recorded requests, by what became of their spans.", ("outcome",)),
    Declared("penstock_traces_waiting", "Recorded requests whose spans wait to be sent."),
    Declared("penstock_build_info", "Always 1.", ("version", "python"), across="max"),
)

MOST_SERIES: Final[Mapping[str, int]] = MappingProxyType(
    {"penstock_requests_total": 2_500, "penstock_attempts_total": 2_500}
)
"""Of metrics that have an outcome: beyond, an outcome that is new for a model or deployment counts as ``other``.

So that all series together stay under 15,000 with 50 models of 10 deployments each, whatever goes wrong at once.
"""

SHEDDING: Final = frozenset({"rate_limited", "draining", "ledger_unavailable"})
"""Outcomes that are refusals to protect the rest. Those of a line too long are counted by it, with their cause."""

PROVIDER_FAULTS: Final = frozenset(
    {
        "provider_error", "provider_unreachable", "provider_timeout", "provider_busy", "provider_account",
        "provider_bad_answer",
    }
)  # fmt: skip

_LOOKUPS: Final[Mapping[str, tuple[Labels, ...]]] = {
    "exact": (("exact", "hit"),),
    "joined": (("exact", "miss"), ("join", "hit")),
    "miss": (("exact", "miss"), ("join", "miss")),
}

_HITS: Final = frozenset({"exact", "joined"})


class Metrics:
    """Counts exchanges. One per process."""

    def __init__(self, settings: Settings) -> None:
        self.active = 0
        self._counts: dict[str, defaultdict[Labels, int]] = {
            declared.name: defaultdict(int) for declared in DECLARED if declared.kind == "counter"
        }
        for declared in DECLARED:
            if declared.kind == "counter" and not declared.labels:
                self._counts[declared.name][()] = 0  # what begins at 1 is no increase
        self._histograms: dict[str, defaultdict[Labels, Histogram]] = {
            declared.name: defaultdict(partial(Histogram, declared.bounds)) for declared in DECLARED if declared.bounds
        }
        self._outcomes = {name: Outcomes(1, most, Count) for name, most in MOST_SERIES.items()}
        self._readings = Readings()
        self._gauges: Gauges = {}
        self._recent = Recent()
        self._requests = self._outcomes["penstock_requests_total"]
        self._attempts = self._outcomes["penstock_attempts_total"]
        self._tokens = self._counts["penstock_tokens_total"]
        self._reasoning = self._counts["penstock_reasoning_tokens_total"]
        self._cost = self._counts["penstock_cost_total"]
        self._saved = self._counts["penstock_saved_total"]
        self._avoided = self._counts["penstock_avoided_total"]
        self._overruns = self._counts["penstock_overruns_total"]
        self._lookups = self._counts["penstock_cache_lookups_total"]
        self._shed = self._counts["penstock_shed_total"]
        self._duration = self._histograms["penstock_request_duration_seconds"]
        self._first = self._histograms["penstock_time_to_first_token_seconds"]
        self._overhead = self._histograms["penstock_overhead_seconds"][()]
        self._process = ProcessCollector(registry=CollectorRegistry())
        info = (version("penstock"), platform.python_version())
        self.watch("penstock_build_info", info, lambda: 1.0)
        self.watch("penstock_active_requests", (), lambda: self.active)
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Take the labels of new settings; what was counted stays."""
        self._models = frozenset(settings.models)
        self._deployments = frozenset(
            deployment.id for model in settings.models.values() for deployment in model.deployments
        )

    # --- counting, on the loop

    def observe(
        self, row: ExchangeRow, attempts: Sequence[AttemptRow], shares: Sequence[ShareRow], trace_id: str = ""
    ) -> None:
        """Count one finished exchange, its calls and what it saved. ``trace_id``: of its trace, "" = there is none."""
        model = row.model if row.model in self._models else OTHER
        cache, request_id, at = row.cache, row.id, row.at + row.duration_s
        requests = self._requests[model, row.outcome, cache]
        requests.value += 1
        requests.exemplar = request_id, trace_id, 1.0, at
        self._duration[model, cache].observe(row.duration_s, request_id, trace_id, at)
        self._overhead.observe(row.overhead_s, request_id, trace_id, at)
        if row.streamed and row.first_byte_s is not None:
            self._first[model,].observe(row.first_byte_s, request_id, trace_id, at)
        if row.outcome in SHEDDING:
            self._shed[row.outcome,] += 1
        for labels in _LOOKUPS.get(cache, ()):
            self._lookups[labels] += 1
        if row.cost_nano is not None:
            self._cost[model, row.currency] += row.cost_nano
            if row.baseline_nano is not None:
                self._save(row, shares, row.baseline_nano - row.cost_nano)
        if row.avoided_nano:
            self._avoided[row.currency,] += row.avoided_nano
        for attempt in attempts:
            self._observe_attempt(model, attempt)

    def shed(self, reason: str) -> None:
        """Count a refusal that never became an exchange."""
        self._shed[reason,] += 1

    def rows_lost(self, count: int) -> None:
        """Count ledger rows that were given up."""
        self._counts["penstock_ledger_rows_lost_total"][()] += count

    def overspent(self, budget: str) -> None:
        """Count that a node gave a slice of a budget while nobody lent; ``budget``: its id."""
        self._counts["penstock_overspent_slices_total"][budget.partition("|")[0],] += 1

    def budget_alert(self, budget: str) -> None:
        """Count that an account of a budget reached one of its alerts."""
        self._counts["penstock_budget_alerts_total"][budget,] += 1

    def watch(self, name: str, labels: Labels, read: Callable[[], float]) -> None:
        """Ask ``read`` for a gauge's value at every scrape, on the loop."""
        self._readings.watch(name, labels, read)

    def watch_all(self, name: str, read: Callable[[], Mapping[Labels, float]]) -> None:
        """The same where labels come and go: ``read`` gives all of them with their values, of a counter too."""
        self._readings.watch_all(name, read)

    def survey(self, of: str, survey: Survey) -> None:
        """The same of several metrics, with many labels or much to look through. ``of``: whose they are."""
        self._readings.survey(of, survey)

    def _save(self, row: ExchangeRow, shares: Sequence[ShareRow], saved_nano: int) -> None:
        """A saving belongs to the one share that was not paid in full; what retries wasted is not a saving."""
        if saved_nano <= 0:
            return
        for share in shares:
            if share.lever != "direct":
                self._saved[share.lever, row.currency] += saved_nano
                return

    def _observe_attempt(self, model: str, attempt: AttemptRow) -> None:
        deployment = attempt.deployment if attempt.deployment in self._deployments else OTHER
        self._attempts[deployment, attempt.outcome].value += 1
        if attempt.overrun:
            self._overruns[deployment,] += 1
        usage, tokens = attempt.usage, self._tokens
        if usage.input_miss:
            tokens[model, "input_miss"] += usage.input_miss
        if usage.input_hit:
            tokens[model, "input_hit"] += usage.input_hit
        if usage.cache_write:
            tokens[model, "cache_write"] += usage.cache_write
        if usage.output:
            tokens[model, "output"] += usage.output
        if usage.reasoning:
            self._reasoning[model,] += usage.reasoning

    # --- the last seconds

    def note(self, now: float) -> None:
        """To be called about once a second, in monotonic seconds: what ``recent`` looks back on."""
        if self._recent.is_due(now):
            self._recent.note(now, self._sums())

    def recent(self, now: float) -> tuple[float, Sums]:
        """The seconds looked back, and what was done in them."""
        return self._recent.until(now, self._sums())

    def sheds(self) -> dict[str, int]:
        """How many requests were refused to protect the rest, by reason."""
        told = self._readings.now("penstock_shed_total")
        return {reason: int(count) for (reason,), count in {**self._shed, **told}.items()}

    def _sums(self) -> Sums:
        calls, failures = defaultdict[str, int](int), defaultdict[str, int](int)
        requests = {labels: count.value for labels, count in self._requests.shown.items()}
        for (deployment, outcome), count in self._attempts.shown.items():
            calls[deployment] += count.value
            failures[deployment] += count.value if outcome in PROVIDER_FAULTS else 0
        return Sums(
            requests=sum(requests.values()),
            errors=sum(count for (_, outcome, _), count in requests.items() if outcome != "ok"),
            lookups=sum(count for (_, _, cache), count in requests.items() if cache in _LOOKUPS),
            hits=sum(count for (_, _, cache), count in requests.items() if cache in _HITS),
            shed=sum(self.sheds().values()),
            tokens=sum(self._tokens.values()),
            cost_nano=sum(self._cost.values()),
            saved_nano=sum(self._saved.values()),
            calls=calls,
            failures=failures,
        )

    # --- showing

    async def scrape(self, format_: Format = Format.TEXT) -> bytes:
        """The exposition. Gauges are read here and text is made in a thread, both in pieces: the loop turns between.

        For a thread at work holds the loop up as the loop itself does (docs/adr/0017-an-exposition-of-our-own.md).
        """
        self._gauges = await self._readings.read()
        made, told = self.pieces(format_), list[bytes]()
        while piece := await asyncio.to_thread(next, made, b""):
            told.append(piece)
        return b"".join(told)

    def render(self, format_: Format = Format.TEXT) -> bytes:
        """The exposition, with the gauges as last read."""
        return b"".join(self.pieces(format_))

    def pieces(self, format_: Format) -> Iterator[bytes]:
        """The same, a piece at a time."""
        return pieces(self._lines(format_))

    def _lines(self, format_: Format) -> Iterator[str]:
        """Safe beside a loop that counts: it copies what it reads."""
        for declared in DECLARED:
            yield head(declared.name, declared.kind, declared.text, format_)
            if declared.bounds:
                yield from self._histogram_lines(declared, format_)
            elif declared.name in self._outcomes:
                yield from self._outcome_lines(declared, format_)
            else:
                yield from self._plain_lines(declared)
        yield from self._process_lines(format_)
        yield end(format_)

    def _histogram_lines(self, declared: Declared, format_: Format) -> Iterator[str]:
        for labels, each in self._histograms[declared.name].copy().items():
            buckets = each.buckets(with_exemplars=format_.has_exemplars)
            yield from histogram(declared.name, labelled(declared.labels, labels), buckets)

    def _outcome_lines(self, declared: Declared, format_: Format) -> Iterator[str]:
        for labels, count in self._outcomes[declared.name].shown.copy().items():
            exemplar = count.exemplar if format_.has_exemplars else None
            yield line(declared.name, labelled(declared.labels, labels), count.value, exemplar)

    def _plain_lines(self, declared: Declared) -> Iterator[str]:
        """Of a counter or a gauge; a counter may be read, too."""
        values = {**self._counts.get(declared.name, {}), **self._gauges.get(declared.name, {})}
        for labels, value in values.items():
            yield line(declared.name, labelled(declared.labels, labels), value * declared.scale)

    def _process_lines(self, format_: Format) -> Iterator[str]:
        """What the official client tells of this process."""
        for family in self._process.collect():
            name = family.samples[0].name
            yield head(name, family.type, family.documentation, format_)
            yield line(name, "", family.samples[0].value)
