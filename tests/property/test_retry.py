"""Retry: the schedule of DESIGN part 5, rule 6, and the budget that bounds it."""

import heapq
import random
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.retry import (
    FLOOR,
    HEDGE_FLOOR,
    HEDGE_PART,
    MOVE_WINDOWS,
    WINDOW_S,
    Made,
    RetryBudget,
    Schedule,
    Target,
    next_step,
)
from penstock.errors import Retry

SCHEDULE = Schedule(attempts=4, backoff_s=1.0)
ONE = [Target("a/m", "a")]
TWO = [Target("a/m", "a"), Target("b/m", "b")]
SAME_ACCOUNT = [Target("a/m", "a"), Target("a/n", "a"), Target("b/m", "b")]

targets = st.lists(
    st.builds(
        lambda name, account: Target(f"{account}/{name}", account), st.sampled_from("xyz"), st.sampled_from("ab")
    ),
    min_size=1,
    max_size=5,
    unique=True,
)


def walk(plan: list[Target], retry: Retry = Retry.ANYWHERE, chance: float = 0.5) -> list[tuple[int, float]]:
    """Every step after the first call, all calls failing the same way."""
    made = [Made(0, retry, None)]
    steps = []
    while (step := next_step(plan, made, SCHEDULE, chance)) is not None:
        steps.append((step.place, step.delay_s))
        made.append(Made(step.place, retry, None))
    return steps


def test_the_same_deployment_waits_one_two_four_seconds() -> None:
    """With one deployment the waits double from the backoff."""
    assert walk(ONE) == [(0, 1.0), (0, 2.0), (0, 4.0)]


def test_another_deployment_comes_at_once() -> None:
    """A deployment that was not tried yet is tried without a wait."""
    assert walk(TWO) == [(1, 0.0), (0, 1.0), (1, 2.0)]


def test_an_account_that_refused_is_not_asked_again() -> None:
    """An error that only another account may cure bars all deployments of its account."""
    assert walk(SAME_ACCOUNT, Retry.ELSEWHERE) == [(2, 0.0)]


def test_never_means_never() -> None:
    """An error that no call can cure ends the walk."""
    assert walk(TWO, Retry.NEVER) == []


def test_retry_after_is_honoured_for_the_same_deployment_only() -> None:
    """The provider's own wait counts where it is longer, and only for the deployment that asked for it."""
    assert next_step(ONE, [Made(0, Retry.ANYWHERE, 7.0)], SCHEDULE, 0.5) == (0, 7.0)
    assert next_step(ONE, [Made(0, Retry.ANYWHERE, 0.1)], SCHEDULE, 0.5) == (0, 1.0)
    assert next_step(TWO, [Made(0, Retry.ANYWHERE, 7.0)], SCHEDULE, 0.5) == (1, 0.0)


@given(targets, st.floats(0, 1, exclude_max=True), st.integers(1, 8), st.data())
def test_the_walk_is_bounded(plan: list[Target], chance: float, attempts: int, data: st.DataObject) -> None:
    """Never more calls than allowed, never a barred account, every wait within 20 % of its place in the schedule."""
    schedule = Schedule(attempts, 1.0)
    made = [Made(0, data.draw(st.sampled_from(Retry)), None)]
    while (step := next_step(plan, made, schedule, chance)) is not None:
        barred = {plan[m.place].account for m in made if m.retry is not Retry.ANYWHERE}
        assert plan[step.place].account not in barred
        repeated = step.place in [m.place for m in made]
        assert (step.delay_s > 0) == repeated
        assert step.delay_s <= 1.2 * 2 ** (attempts - 2) or not repeated
        made.append(Made(step.place, data.draw(st.sampled_from(Retry)), None))
        assert len(made) <= attempts


@given(
    st.lists(st.tuples(st.floats(0, 2), st.sampled_from(["request", "retry", "hedge"])), max_size=300),
    st.floats(0, 0.5),
)
def test_the_budget_bounds_calls_in_every_window(moves: list[tuple[float, str]], share: float) -> None:
    """In any ten seconds: retries and hedges <= share x requests or the floor; hedges half of that, or one."""
    budget, now = RetryBudget(share), 100.0
    at: dict[str, list[float]] = {"request": [], "retry": [], "hedge": []}
    for gap, what in moves:
        now += gap
        seen, retries, hedges = (sum(then > now - WINDOW_S for then in at[kind]) for kind in at)
        fits = retries + hedges + 1 <= max(share * seen, FLOOR)
        if what == "request":
            budget.request(now)
        elif what == "retry":
            assert (budget.retry(now) is not None) == fits
        else:
            fits = fits and hedges + 1 <= max(HEDGE_PART * share * seen, HEDGE_FLOOR)
            assert (budget.hedges_left(now) >= 1) == fits
            assert (budget.hedge(now) is not None) == fits
        if what == "request" or fits:
            at[what].append(now)


@given(
    st.lists(st.tuples(st.floats(0, 8), st.sampled_from(["request", "retry", "hedge", "move"])), max_size=300),
    st.floats(0, 0.5),
)
def test_moved_calls_are_bounded_by_the_last_minute(moves: list[tuple[float, str]], share: float) -> None:
    """One is granted while all calls beyond the first fit a minute's share or floor; or as a retry would be."""
    budget, now, minute = RetryBudget(share), 100.0, MOVE_WINDOWS * WINDOW_S
    requests: list[float] = []
    further: list[float] = []
    for gap, what in moves:
        now += gap
        if what == "request":
            budget.request(now)
            requests.append(now)
            continue
        backs = minute - WINDOW_S / 1e9, minute + WINDOW_S
        surely, at_most = (sum(then > now - back for then in requests) for back in backs)
        few, many = (sum(then > now - back for then in further) + 1 for back in backs)
        kept = RetryBudget(share)
        vars(kept).update({name: deepcopy(value) for name, value in vars(budget).items()})
        as_retry = kept.retry(now) is not None
        granted = {"retry": budget.retry, "hedge": budget.hedge, "move": budget.move}[what](now) is not None
        if what == "move":
            assert granted or (many > max(share * surely, FLOOR * MOVE_WINDOWS) and not as_retry)
            assert not granted or as_retry or few <= max(share * at_most, FLOOR * MOVE_WINDOWS)
        if granted:
            further.append(now)


@pytest.mark.parametrize("kind", ["retry", "hedge", "move"])
def test_what_is_given_back_can_be_taken_again(kind: str) -> None:
    """For ever; what is kept is used up."""
    budget = RetryBudget(0.2)
    take = getattr(budget, kind)
    for _ in range(1000):
        permit = take(100.0)
        assert permit is not None
        permit.give_back()
    while take(100.0) is not None:
        pass
    assert take(100.0 + MOVE_WINDOWS * WINDOW_S) is not None


def test_a_machine_that_dies_may_have_all_its_calls_made_elsewhere() -> None:
    """Half of the calls in flight at 50 a second and 4 s each: far more than ten seconds' share, within a minute's."""
    budget = RetryBudget(0.2)
    for number in range(3000):
        budget.request(100.0 + number / 50)
    assert sum(budget.move(160.0) is not None for _ in range(150)) == 150
    assert sum(budget.retry(160.0) is not None for _ in range(150)) == 99, "what fails otherwise has its own bound"


@pytest.mark.parametrize("per_s", [2.0, 20.0, 200.0])
def test_connections_that_break_all_the_time_do_not_multiply_calls(per_s: float) -> None:
    """Four of ten break, everywhere, for ten minutes: calls stay within the share, the floor, and a minute's share."""
    rng, budget, moved = random.Random(5), RetryBudget(0.2), 0  # noqa: S311 - chance, no secret
    requests = int(600 * per_s)
    for number in range(requests):
        now = 100.0 + number / per_s
        budget.request(now)
        if rng.random() < 0.4:
            moved += budget.move(now) is not None
    assert moved <= max(0.2 * requests, FLOOR * 600 / WINDOW_S) + max(0.2 * 70 * per_s, FLOOR * MOVE_WINDOWS)


def outage(failure: float, per_s: float, seconds: float, rng: random.Random) -> tuple[float, float]:
    """Success and amplification of one deployment of which that share of calls fails, retried as scheduled."""
    budget, calls, answered = RetryBudget(0.2), 0, 0
    due: list[tuple[float, int, list[Made]]] = []
    requests = int(per_s * seconds)
    for number in range(requests):
        heapq.heappush(due, (number / per_s, number, []))
    while due:
        now, number, made = heapq.heappop(due)
        if not made:
            budget.request(now)
        calls += 1
        if rng.random() >= failure:
            answered += 1
            continue
        made = [*made, Made(0, Retry.ANYWHERE, None)]
        step = next_step(ONE, made, SCHEDULE, rng.random())
        if step is not None and budget.retry(now):
            heapq.heappush(due, (now + step.delay_s, number, made))
    return answered / requests, calls / requests


@pytest.mark.parametrize("failure", [0.05, 0.1, 0.2, 0.3, 0.35, 0.5, 0.8])
@pytest.mark.parametrize("per_s", [10.0, 20.0, 200.0])
def test_retries_are_worth_what_they_cost(failure: float, per_s: float) -> None:
    """One deployment: success >= 0.97 x (1 - failure rate) x amplification, and calls <= 1.2 x requests + FLOOR."""
    rng = random.Random(f"{failure} {per_s}")  # noqa: S311 - chance, no secret
    success, amplification = outage(failure, per_s, 10_000 / per_s, rng)
    assert amplification <= 1.2 + FLOOR / 10_000
    assert success >= 0.97 * (1 - failure) * amplification
    assert amplification >= min(1.18, 1 + 0.85 * failure)


def test_a_quiet_gateway_retries_within_the_floor() -> None:
    """At a request every two seconds the share would be one retry in ten seconds: the floor cures nearly all."""
    rng = random.Random(3)  # noqa: S311 - chance, no secret
    success, amplification = outage(0.3, 0.5, 4000, rng)
    assert success > 0.98
    assert amplification < 1.5
