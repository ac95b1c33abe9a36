"""Three times what a server bears: the limit and the queue together keep it busy and the admitted quick.

The server has a fixed number of slots and lets the rest wait in order, as providers do. Simulated time, seeded.
"""

import random
from collections.abc import Callable
from functools import cache
from math import inf

import pytest

from penstock.core.concurrency import FIRST_BYTES, WHOLE_ANSWERS, AdaptiveLimit, Sense
from penstock.core.queueing import FairQueue, Patience
from tests.support.overload_simulator import (
    Limit,
    Phase,
    Request,
    Server,
    Simulation,
    goodput,
    quantile,
    refusals,
    times,
    within,
)

Call = Callable[[random.Random, float], tuple[float, float]]
MANY = 100_000
PATIENT = Patience(2.0, 0.1)


def embedding(rng: random.Random, now: float) -> tuple[float, float]:  # noqa: ARG001 - the same at any time
    """A tenth of a second, and the first byte is the last."""
    return 0.1 * rng.lognormvariate(0, 0.25), 0.0


def chat(rng: random.Random, now: float) -> tuple[float, float]:  # noqa: ARG001 - likewise
    """A quick model: half a second or so."""
    return rng.uniform(0.03, 0.07), rng.lognormvariate(-1.0, 0.5)


def essay(rng: random.Random, now: float) -> tuple[float, float]:  # noqa: ARG001 - likewise
    """A slow one: answers of 1 to 40 s, as long as they are."""
    return 0.3 * rng.lognormvariate(0, 0.4), 5 * rng.lognormvariate(0, 0.8)


def mixed(rng: random.Random, now: float) -> tuple[float, float]:
    """Half the prompts are books and need 6 s to be read; answers of all lengths."""
    first_s, rest_s = essay(rng, now)
    return (first_s if rng.random() < 0.5 else 6 * rng.lognormvariate(0, 0.3)), rest_s


def shifting(rng: random.Random, now: float) -> tuple[float, float]:
    """From 60 s on every prompt is a book."""
    first_s, rest_s = essay(rng, now)
    return (first_s if now < 60 else 6 * rng.lognormvariate(0, 0.3)), rest_s


def whole(call: Call) -> Call:
    """The same, and its first byte is its last."""

    def answer(rng: random.Random, now: float) -> tuple[float, float]:
        return sum(call(rng, now)), 0.0

    return answer


class NoLimit:
    """All may pass."""

    def allows(self, in_flight: int) -> bool:  # noqa: ARG002 - it does not matter
        """Yes."""
        return True

    def observe(self, wait_s: float, in_flight: int, now: float) -> None:
        """Nothing is learned."""


class Watched(AdaptiveLimit):
    """One that is told how long calls usually take, as the fleet tells it."""

    usual_s = 0.0

    def observe(self, wait_s: float, in_flight: int, now: float) -> None:
        """A call was begun to be answered."""
        self.look(now, self.usual_s)
        super().observe(wait_s, in_flight, now)


class Case:
    """A kind of call on a server of so many slots; ``scale_s`` is how long a phase lasts."""

    def __init__(self, call: Call, slots: int, scale_s: float) -> None:
        self.server = Server(slots, call)
        self.scale_s = scale_s
        rng = random.Random(1)  # noqa: S311 - chance, no secret
        self.usual_s = sum(sum(call(rng, 0)) for _ in range(4000)) / 4000
        self.peak = slots / self.usual_s
        self.patience = Patience(max(0.15, 0.5 * self.usual_s), 0.1 * self.usual_s)

    def run(
        self,
        limit: Limit,
        seed: int,
        *phases: Phase,
        batch: frozenset[str] = frozenset(),
        patience: Patience | None = None,
    ) -> list[Request]:
        """What became of each request, in the order of arrival."""
        queue = FairQueue[Request](1000, patience or self.patience)
        simulation = Simulation(self.server, limit, queue, seed, batch)
        simulation.run(phases)
        assert all((request.ended is None) != (request.refused is None) for request in simulation.requests)
        return simulation.requests

    @cache  # noqa: B019 - a handful of cases, as long as the tests
    def normal_p99_s(self, seed: int) -> float:
        """P99 at 0.9 of the peak, without any limit."""
        return quantile(times(self.run(NoLimit(), seed, Phase(3 * self.scale_s, {"a": 0.9 * self.peak}))), 0.99)

    def peak_goodput(self, seed: int) -> float:
        """What the server gives when it never runs empty, for these very draws."""
        requests = self.run(NoLimit(), seed, Phase(self.scale_s, {"a": 1.5 * self.peak}))
        return goodput(requests, self.usual_s, self.scale_s)


CASES = {"embedding": Case(embedding, 20, 40), "chat": Case(chat, 32, 25), "essay": Case(essay, 100, 200)}
WHOLE = {"whole chat": Case(whole(chat), 32, 25), "whole essay": Case(whole(essay), 100, 200)}
SENSED = [(case, FIRST_BYTES) for case in CASES.values()] + [(case, WHOLE_ANSWERS) for case in WHOLE.values()]
EACH = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])


@pytest.mark.parametrize(("case", "sense"), SENSED, ids=[*CASES, *WHOLE])
@SEEDS
def test_three_times_the_load(case: Case, sense: Sense, seed: int) -> None:
    """Goodput >= 90 % of peak, P99 of the admitted <= twice the normal one, refusals at once, all well 5 s after."""
    scale_s, peak = case.scale_s, case.peak
    phases = Phase(scale_s, {"a": 0.9 * peak}), Phase(scale_s, {"a": 3 * peak}), Phase(scale_s, {"a": 0.5 * peak})
    requests = case.run(AdaptiveLimit(4, 512, sense), seed, *phases)
    overload = within(requests, scale_s, 2 * scale_s)
    assert goodput(requests, scale_s, 2 * scale_s) >= 0.9 * case.peak_goodput(seed)
    assert quantile(times(overload), 0.99) <= 2 * case.normal_p99_s(seed)
    assert quantile(refusals(overload), 0.95) <= 0.05
    assert quantile(refusals(overload), 1.0) <= case.patience.most_s + 1e-9
    after = within(requests, 2 * scale_s + 5, inf)
    assert not refusals(after)
    assert quantile(times(after), 0.99) <= 2 * case.normal_p99_s(seed)


@EACH
def test_it_is_the_limit_that_keeps_the_admitted_quick(case: Case) -> None:
    """Without one the same load is answered later than twice the normal time: the test above can fail."""
    requests = case.run(NoLimit(), 1, Phase(case.scale_s, {"a": 3 * case.peak}))
    assert quantile(times(requests), 0.99) > 2 * case.normal_p99_s(1)


@pytest.mark.parametrize("sense", [FIRST_BYTES, WHOLE_ANSWERS], ids=["streams", "wholes"])
@pytest.mark.parametrize("call", [embedding, chat, essay, mixed], ids=lambda call: call.__name__)
@SEEDS
def test_answers_of_all_lengths_are_no_overload(call: Call, sense: Sense, seed: int) -> None:
    """A provider that scales without end is never held back: nobody is refused, hardly anybody waits."""
    case = Case(call if sense is FIRST_BYTES else whole(call), MANY, 120)
    seconds = min(120, 200 * case.usual_s)
    requests = case.run(AdaptiveLimit(4, 512, sense), seed, Phase(seconds, {"a": 100 / case.usual_s}))
    assert len(refusals(requests)) <= 0.005 * len(requests)
    waits = sorted(request.sent - request.arrived for request in requests if request.sent is not None)
    assert quantile(waits, 0.98) <= max(0.1, 0.1 * case.usual_s)


@SEEDS
def test_prompts_that_become_books_are_overload_for_a_while_only(seed: int) -> None:
    """All first bytes twenty times as late from one second to the next: a minute later hardly anybody is refused."""
    case = Case(shifting, MANY, 240)
    requests = case.run(AdaptiveLimit(4, 512), seed, Phase(240, {"a": 100 / case.usual_s}))
    healed = within(requests, 120, inf)
    assert len(refusals(healed)) <= 0.02 * len(healed)


@SEEDS
def test_a_burst_finds_the_limit_open(seed: int) -> None:
    """After a quiet time four times the load of a healthy provider is served as it comes."""
    case = Case(essay, MANY, 120)
    load = 60 / case.usual_s
    requests = case.run(AdaptiveLimit(4, 512), seed, Phase(60, {"a": load}), Phase(60, {"a": 4 * load}))
    assert not refusals(requests)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_server_that_becomes_slower_is_used_as_it_is(seed: int) -> None:
    """Three times slower from 20 s on, under overload: 90 % of what it then gives, within ten of its calls."""

    def slower(rng: random.Random, now: float) -> tuple[float, float]:
        first_s, rest_s = chat(rng, now)
        return (first_s, rest_s) if now < 20 else (3 * first_s, 3 * rest_s)

    case = Case(slower, 32, 80)
    requests = case.run(AdaptiveLimit(4, 512), seed, Phase(80, {"a": 3 * case.peak}))
    assert goodput(requests, 35, 80) >= 0.9 * case.peak / 3


@SEEDS
def test_one_tenant_at_ten_times_its_share(seed: int) -> None:
    """Four tenants within their shares lose nothing and, the limit once learned, wait little; the fifth pays."""
    case = CASES["embedding"]
    share = case.peak / 5
    loads = {"greedy": 10 * share, **dict.fromkeys("abcd", 0.5 * share)}
    requests = case.run(AdaptiveLimit(4, 512), seed, Phase(20, loads), patience=PATIENT)
    modest = [request for request in requests if request.tenant != "greedy"]
    greedy = [request for request in requests if request.tenant == "greedy"]
    assert not refusals(modest)
    learned = within(modest, 3, inf)
    assert quantile(times(learned), 0.99) <= 1.5 * case.normal_p99_s(seed)
    assert len(times(greedy)) >= 0.9 * (case.peak * 20 - len(modest))


@SEEDS
def test_a_server_that_stalls_is_not_slower(seed: int) -> None:
    """Nothing moves for a second, under overload: five seconds later the others wait as little as before."""

    def stalling(rng: random.Random, now: float) -> tuple[float, float]:
        took_s = rng.uniform(0.35, 0.65)
        stalled_s = min(1.0, 11.0 - now) if now < 11.0 and now + took_s > 10.0 else 0.0
        return took_s + stalled_s, 0.0

    case = Case(stalling, 40, 40)
    loads = {"greedy": 160.0, **dict.fromkeys("abcd", 8.0)}
    limit = Watched(4, 512)
    limit.usual_s = case.usual_s
    requests = case.run(limit, seed, Phase(5, {**loads, "greedy": 16.0}), Phase(35, loads), patience=Patience(5.0, 0.1))
    modest = [request for request in requests if request.tenant != "greedy"]
    assert not refusals(modest)
    assert quantile(times(within(modest, 18, inf)), 0.99) <= 1.5 * 0.65


@SEEDS
def test_batch_is_shed_first(seed: int) -> None:
    """Interactive work within the capacity loses nothing to any amount of batch, and batch gets the rest."""
    case = CASES["embedding"]
    loads = {"people": 0.6 * case.peak, "night": 2 * case.peak}
    requests = case.run(AdaptiveLimit(4, 512), seed, Phase(20, loads), batch=frozenset({"night"}), patience=PATIENT)
    people = [request for request in requests if request.tenant == "people"]
    night = [request for request in requests if request.tenant == "night"]
    assert not refusals(people)
    assert len(times(night)) >= 0.85 * (20 * case.peak - len(people))
