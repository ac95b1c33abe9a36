"""Balancing: every deployment gets its share, evenly spread, and each balancer does what it is named for."""

from collections import Counter
from collections.abc import Sequence
from heapq import heappop, heappush
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.balance import (
    BALANCERS,
    CLAIM,
    PROBES,
    HashBalancer,
    LatencyAware,
    LeastBusy,
    RoundRobin,
    SmoothWeighted,
    balancer,
    draw_two,
    home,
)
from penstock.core.load import NOBODY, Asker, Balancer, Load

NAMES = [f"p/{letter}" for letter in "abcdef"]
GOLDEN = 0.6180339887498949
"""Its multiples are spread over [0, 1) more evenly than chance would: a run of them is every chance once."""

weights = st.lists(st.integers(0, 9), min_size=1, max_size=6)
latencies = st.none() | st.floats(0.001, 100)
chances = st.floats(0, 1, exclude_max=True)
askers = st.builds(
    Asker, hash_key=st.text(max_size=3), prefixes=st.lists(st.binary(min_size=1, max_size=1)), chance=chances
)


@st.composite
def loads(draw: st.DrawFn) -> list[Load]:
    """Some of the candidates, loaded somehow."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    return [Load(name, draw(st.integers(0, 3)), draw(st.integers(0, 30)), draw(latencies)) for name in names]


moments = st.lists(st.tuples(loads(), askers), max_size=8)


def idle(shares: Sequence[int]) -> list[Load]:
    """Candidates of those weights with nothing to do, all equally fast."""
    return [Load(name, weight, latency_s=0.5) for name, weight in zip(NAMES, shares, strict=False)]


def spread(balance: Balancer, shares: Sequence[int], picks: int) -> list[float]:
    """What part of its weight's share each gets, of so many askers that differ, one after the other."""
    askers = (Asker(f"10.0.{n >> 8}.{n & 255}", (b"%d" % n,), n * GOLDEN % 1) for n in range(picks))
    taken = Counter(balance.pick(idle(shares), asker) for asker in askers)
    return [taken[index] * sum(shares) / picks / share for index, share in enumerate(shares) if share]


@given(weights)
def test_a_full_round_gives_every_one_its_weight(shares: list[int]) -> None:
    """Over as many picks as the weights sum to, each is picked exactly its weight times (all 0: once each)."""
    names = [str(index) for index in range(len(shares))]
    turns = SmoothWeighted()
    wanted = shares if sum(shares) else [1] * len(shares)
    picked = [turns.pick(names, shares) for _ in range(sum(wanted))]
    assert [picked.count(index) for index in range(len(shares))] == wanted


@pytest.mark.parametrize("name", BALANCERS)
@settings(max_examples=50)
@given(moments)
def test_a_pick_is_always_one_that_is_there(name: str, moments: list[tuple[list[Load], Asker]]) -> None:
    """Whatever comes and goes: in range, never of weight 0 while another has more, and the same every time."""
    balance, twin = balancer(name), balancer(name)
    for some, asker in moments:
        index = balance.pick(some, asker)
        assert some[index].weight > 0 or not any(load.weight for load in some)
        assert twin.pick(some, asker) == index


@pytest.mark.parametrize("shares", [(5, 3, 2), (8, 1, 1), (1, 1, 1, 1), (2, 0, 1)])
@pytest.mark.parametrize(
    ("name", "picks"),
    [("weighted", 2_000), ("least_busy", 2_000), ("prefix", 2_000), ("ip_hash", 20_000), ("latency", 20_000)],
)
def test_the_spread_is_the_weights(name: str, picks: int, shares: tuple[int, ...]) -> None:
    """Among idle and equally fast ones each gets its weight's share within 2 %."""
    assert spread(balancer(name), shares, picks) == pytest.approx([1] * sum(map(bool, shares)), abs=0.02)


def test_round_robin_takes_turns() -> None:
    """One after the other whatever the weights; only 0 is left out."""
    balance = RoundRobin()
    assert [balance.pick(idle((5, 0, 1, 2)), NOBODY) for _ in range(6)] == [0, 2, 3, 0, 2, 3]


@given(loads())
def test_the_least_busy_is_least_busy(some: list[Load]) -> None:
    """Nobody with this request would still be less busy for its weight than the one taken was."""
    level = not any(load.weight for load in some)
    served = [(load.in_flight, 1 if level else load.weight) for load in some]
    in_flight, weight = served[LeastBusy().pick(some, NOBODY)]
    assert all(in_flight / weight < (other + 1) / share for other, share in served if share)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_of_equals_the_one_with_the_fewest_in_flight_is_taken(in_flight: list[int]) -> None:
    """With equal weights least busy is who has the fewest."""
    some = [Load(name, 2, count) for name, count in zip(NAMES, in_flight, strict=False)]
    assert some[LeastBusy().pick(some, NOBODY)].in_flight == min(in_flight)


@pytest.mark.parametrize("clients", [1, 2, 3, 8, 16, 64])
@pytest.mark.parametrize("shares", [(3, 1), (5, 3, 2), (8, 1, 1)])
def test_least_busy_spreads_by_weight_under_load(shares: tuple[int, ...], clients: int) -> None:
    """With requests of all lengths in flight the shares are within 2 % of all requests of the weights."""
    balance, running = LeastBusy(), list[tuple[float, int]]()
    in_flight, taken, now = [0] * len(shares), [0] * len(shares), 0.0
    for request in range(1, 8_001):
        if len(running) == clients:
            now, done = heappop(running)
            in_flight[done] -= 1
        some = [load._replace(in_flight=count) for load, count in zip(idle(shares), in_flight, strict=True)]
        picked = balance.pick(some, NOBODY)
        taken[picked] += 1
        in_flight[picked] += 1
        heappush(running, (now - log(1 - request * GOLDEN % 1), picked))
    assert [count / 8_000 for count in taken] == pytest.approx([each / sum(shares) for each in shares], abs=0.02)


def test_a_busy_time_is_made_up_for_but_a_little() -> None:
    """One that had its hands full gets a few more requests when it is idle again, not all that it missed."""
    balance = LeastBusy()
    assert {balance.pick([Load("a", 1), Load("b", 1, 50)], NOBODY) for _ in range(1_000)} == {0}
    picked = [balance.pick([Load("a", 1), Load("b", 1)], NOBODY) for _ in range(100)]
    assert picked.count(1) == pytest.approx(50 + CLAIM, abs=1)


rosters = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5), min_size=2).filter(
    lambda roster: any(roster.values())
)


@given(rosters, st.text(max_size=8), st.data())
def test_a_change_of_the_roster_moves_only_its_own_share(roster: dict[str, int], key: str, data: st.DataObject) -> None:
    """Who is not at the one that leaves stays; so one that is added takes only what comes to it."""
    gone = data.draw(st.sampled_from(sorted(roster)))
    rest = {name: weight for name, weight in roster.items() if name != gone}
    before = home(key, list(roster.items()))
    if before != gone and any(rest.values()):
        assert home(key, list(rest.items())) == before


@given(rosters, st.text(max_size=8), st.data())
def test_a_hashed_asker_comes_back_to_its_own(roster: dict[str, int], key: str, data: st.DataObject) -> None:
    """An asker meets its own one whenever that is there, and never depends on the order of the config."""
    own = home(key, list(roster.items()))
    balance = HashBalancer()
    for _ in range(3):
        there = data.draw(st.lists(st.sampled_from(sorted(roster)), min_size=1, unique=True))
        order = data.draw(st.permutations(list(roster.items())))
        picked = balance.pick([Load(name, roster[name]) for name in there], Asker(key, roster=order))
        assert own not in there or there[picked] == own


def test_askers_of_one_that_is_out_are_spread_by_weight() -> None:
    """While the one they belong to is out, the others share them by smooth weighted; nobody else moves."""
    roster = list(zip(NAMES[:3], (2, 3, 1), strict=True))
    keys = [str(number) for number in range(600)]
    displaced = [key for key in keys if home(key, roster) == NAMES[0]]
    balance, rest = HashBalancer(), [Load(*each) for each in roster[1:]]
    picked = Counter(balance.pick(rest, Asker(key, roster=roster)) for key in displaced)
    assert picked[0] == pytest.approx(3 * picked[1], abs=3)


@given(weights.filter(any), chances)
def test_two_are_drawn(shares: list[int], chance: float) -> None:
    """Two different ones that have a weight; the same one twice only where no other has."""
    first, second = draw_two(shares, chance)
    assert shares[first]
    assert shares[second]
    assert (first == second) == (sum(map(bool, shares)) == 1)


def test_the_second_is_drawn_by_weight_too() -> None:
    """One chance makes two draws: given the first, the others come by their weights."""
    drawn = Counter(draw_two([1, 2, 1], number * GOLDEN % 1) for number in range(20_000))
    assert drawn[0, 1] == pytest.approx(20_000 / 4 * 2 / 3, rel=0.02)
    assert drawn[1, 0] == pytest.approx(20_000 / 2 / 2, rel=0.02)
    assert drawn[2, 0] == pytest.approx(20_000 / 4 / 3, rel=0.02)


def picks(some: list[Load]) -> set[int]:
    """Whom latency-aware takes over all chances."""
    return {LatencyAware().pick(some, Asker(chance=n / 64)) for n in range(64)}


@given(st.floats(0.01, 100), st.floats(0.01, 0.89))
def test_of_two_the_clearly_faster_one_is_taken(slow_s: float, part: float) -> None:
    """Latency decides when both are cold; a small difference does not, so that weights still count."""
    assert picks([Load("a", 1, latency_s=slow_s), Load("b", 1, latency_s=slow_s * part)]) == {1}
    assert picks([Load("a", 1, latency_s=slow_s), Load("b", 1, latency_s=slow_s * 0.95)]) == {0, 1}


def test_a_hot_one_loses_to_a_cold_one() -> None:
    """Who carries far more than the others for its weight is left alone, however fast it is."""
    assert picks([Load("a", 1, 20, 0.1), Load("b", 1, 3, 9.0)]) == {1}
    assert picks([Load("a", 4, 20, 0.1), Load("b", 1, 3, 9.0)]) == {0}


def test_of_two_hot_ones_the_less_busy_is_taken() -> None:
    """Among hot ones latency says nothing any more."""
    idle_ones = [Load(name, 1, 0, 5.0) for name in NAMES[2:]]
    some = [Load("a", 1, 70, 0.1), Load("b", 1, 90, 0.01), *idle_ones]
    both = [
        LatencyAware().pick(some, Asker(chance=n / 600)) for n in range(100) if draw_two([1] * 6, n / 600) == (0, 1)
    ]
    assert set(both) == {0}


def test_an_unknown_one_is_tried_and_not_flooded() -> None:
    """Who has no latency yet is preferred until it serves a few requests, and avoided then until it answers."""
    known = Load("a", 1, 5, 0.1)
    assert picks([known, Load("b", 1, PROBES - 1)]) == {1}
    assert picks([known, Load("b", 1, PROBES)]) == {0}
    assert picks([Load("a", 1), Load("b", 1)]) == {0, 1}


def test_a_slow_one_gets_little_of_a_busy_model() -> None:
    """Of two the one that is 20 times slower serves at most 3 % of what 32 clients ask."""
    service_s, in_flight, running = (0.1, 2.0), [0, 0], list[tuple[float, int]]()
    taken, now = [0, 0], 0.0
    for request in range(5_000):
        if len(running) == 32:
            now, done = heappop(running)
            in_flight[done] -= 1
        some = [Load(name, 1, in_flight[n], service_s[n]) for n, name in enumerate("ab")]
        picked = LatencyAware().pick(some, Asker(chance=request * GOLDEN % 1))
        taken[picked] += 1
        in_flight[picked] += 1
        heappush(running, (now + service_s[picked], picked))
    assert taken[1] <= 0.03 * sum(taken)
