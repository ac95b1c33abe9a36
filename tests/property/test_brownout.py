"""Two deployments, one of them sick for a while: breakers, schedule and retry budget together, in simulated time."""

import heapq
import random
from itertools import count

import pytest

from penstock.core.breaker import DEPLOYMENT, Breaker, State
from penstock.core.retry import FLOOR, Made, RetryBudget, Schedule, Target, next_step
from penstock.errors import Retry

PLAN = [Target("a/m", "a"), Target("b/m", "b")]
USUAL_S = 0.1
SICK = 10.0, 70.0
END_S = 140.0


class House:
    """Requests take turns between the deployments that their breakers allow. ``a`` is sick from 10 to 70 s."""

    def __init__(self, seed: int, per_s: float) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - chance, no secret
        self.breakers = [Breaker(DEPLOYMENT), Breaker(DEPLOYMENT)]
        self.budget = RetryBudget(0.2)
        self.requests = int(per_s * END_S)
        self.calls: list[tuple[float, int]] = []
        self.answered = 0
        self.ejected_at: float | None = None
        self._order = count()
        self._events: list[tuple[float, int, str, int, list[Made], float]] = []
        for number in range(self.requests):
            self._at(number / per_s, "send", number % 2, [], 0.0)

    def _at(self, when: float, what: str, first: int, made: list[Made], sent_at: float) -> None:
        heapq.heappush(self._events, (when, next(self._order), what, first, made, sent_at))

    def run(self) -> None:
        """Everything, to the last answer."""
        while self._events:
            now, _, what, place, made, sent_at = heapq.heappop(self._events)
            if what == "send":
                self._send(now, place, made)
            else:
                self._hear(now, what, place, made, sent_at)
            if self.ejected_at is None and self.breakers[0].state(now) is State.OPEN:
                self.ejected_at = now

    def _send(self, now: float, place: int, made: list[Made]) -> None:
        if not made:
            self.budget.request(now)
            place = place if self.breakers[place].allows(now) else 1 - place
        if not self.breakers[place].admit(now):
            return
        self.calls.append((now, place))
        sick = place == 0 and SICK[0] <= now < SICK[1]
        takes_s = 20 * USUAL_S if sick else USUAL_S
        failed = sick and self.rng.random() < 0.35
        if takes_s > 3 * USUAL_S:
            self._at(now + 3 * USUAL_S, "overdue", place, made, now)
        self._at(now + takes_s, "failed" if failed else "ok", place, made, now)

    def _hear(self, now: float, what: str, place: int, made: list[Made], sent_at: float) -> None:
        late = now - sent_at >= 3 * USUAL_S - 1e-9
        self.breakers[place].report(ok=what != "failed", slow=late, sent_at=sent_at, now=now, chance=self.rng.random())
        self.answered += what == "ok"
        if what == "failed":
            made = [*made, Made(place, Retry.ANYWHERE, None)]
            step = next_step(PLAN, made, Schedule(4, 1.0), self.rng.random())
            if step is not None and self.budget.retry(now):
                self._at(now + step.delay_s, "send", step.place, made, 0.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("per_s", [20.0, 100.0])
def test_a_brownout_is_hardly_noticed(per_s: float, seed: int) -> None:
    """Success >= 99 %, amplification <= 1.2, out within 2 s, probed, and back within the longest open time."""
    house = House(seed, per_s)
    house.run()
    assert house.answered >= 0.99 * house.requests
    assert len(house.calls) <= 1.2 * house.requests + FLOOR
    assert house.ejected_at is not None
    assert SICK[0] < house.ejected_at <= SICK[0] + 2
    while_out = sum(place == 0 and house.ejected_at < at < SICK[1] for at, place in house.calls)
    assert 3 <= while_out <= 20
    back = SICK[1] + DEPLOYMENT.open_most_s + 1
    share = [place for at, place in house.calls if at >= back]
    assert 0.45 <= share.count(0) / len(share) <= 0.55
