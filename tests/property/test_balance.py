"""Balancing: every deployment gets its share, evenly spread."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.balance import SmoothWeighted
from penstock.core.routing import Dropped, compile_plan


class Deployment:
    """The least that routing needs."""

    def __init__(self, name: str, weight: int) -> None:
        self.id = name
        self.weight = weight


weights = st.lists(st.integers(0, 9), min_size=1, max_size=6)


@given(weights)
def test_a_full_round_gives_every_one_its_weight(shares: list[int]) -> None:
    """Over as many picks as the weights sum to, each is picked exactly its weight times (all 0: once each)."""
    names = [str(index) for index in range(len(shares))]
    balancer = SmoothWeighted()
    wanted = shares if sum(shares) else [1] * len(shares)
    picked = [balancer.pick(names, shares) for _ in range(sum(wanted))]
    assert [picked.count(index) for index in range(len(shares))] == wanted


@given(weights, st.data())
def test_a_pick_is_always_one_that_is_there(shares: list[int], data: st.DataObject) -> None:
    """Picks over changing parts of the candidates stay in range and never take a weight of 0 while another has more."""
    balancer = SmoothWeighted()
    for _ in range(20):
        kept = data.draw(st.lists(st.sampled_from(range(len(shares))), min_size=1, unique=True))
        some = [shares[index] for index in kept]
        picked = balancer.pick([str(index) for index in kept], some)
        assert some[picked] > 0 or sum(some) == 0


@given(weights, st.data())
def test_the_plan_holds_every_candidate_once(shares: list[int], data: st.DataObject) -> None:
    """Kept and dropped together are the candidates; every dropped one has its reason; the rest go by weight."""
    candidates = [Deployment(str(index), weight) for index, weight in enumerate(shares)]
    out = data.draw(st.sets(st.sampled_from([each.id for each in candidates])))
    plan = compile_plan(candidates, lambda each: "out" if each.id in out else "", lambda kept: len(kept) - 1)
    assert {each.id for each in plan.candidates} == {each.id for each in candidates} - out
    assert set(plan.dropped) == {Dropped(name, "out") for name in out}
    rest = [each.weight for each in plan.candidates[1:]]
    assert rest == sorted(rest, reverse=True)
