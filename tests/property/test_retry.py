"""Retry: the schedule of DESIGN part 5, rule 6, and the budget that bounds it."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.retry import FLOOR, WINDOW_S, Made, RetryBudget, Schedule, Target, next_step
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


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=300), st.floats(0, 0.5))
def test_the_budget_bounds_retries_in_every_window(moves: list[tuple[float, bool]], share: float) -> None:
    """In any ten seconds: retries <= share x requests + floor, counted at the moment each was granted."""
    budget, now = RetryBudget(share), 100.0
    requests: list[float] = []
    granted: list[float] = []
    for gap, is_request in moves:
        now += gap
        if is_request:
            budget.request(now)
            requests.append(now)
        else:
            seen = sum(at > now - WINDOW_S for at in requests)
            spent = sum(at > now - WINDOW_S for at in granted)
            fits = spent + 1 <= share * seen + FLOOR
            assert budget.retry(now) == fits
            if fits:
                granted.append(now)
