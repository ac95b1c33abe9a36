"""The plan: every candidate once, in the order that weights, tiers and the balancer say, each dropped one with why."""

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.routing import FIRST, Dropped, Placed, Plan, Tier, compile_plan, explain


class Deployment(NamedTuple):
    """The least that routing needs."""

    id: str
    weight: int
    region: str = ""
    priority: int = 0


@st.composite
def deployments(draw: st.DrawFn) -> list[Deployment]:
    """Up to seven, in up to three regions."""
    return [
        Deployment(f"p/{number}", draw(st.integers(0, 3)), draw(st.sampled_from("xyz")), draw(st.integers(0, 1)))
        for number in range(draw(st.integers(0, 7)))
    ]


def tier(candidate: Deployment) -> Tier:
    """Regions by their letter."""
    return Tier("xyz".index(candidate.region), candidate.priority)


def last(kept: Sequence[Deployment]) -> int:
    """A balancer that says what no order by weight would."""
    return len(kept) - 1


def plan_without(out: set[str], candidates: Sequence[Deployment], *, tiers: bool) -> Plan[Deployment]:
    """The plan when those are out."""
    return compile_plan(candidates, lambda each: "out" if each.id in out else "", last, tier if tiers else None)


outs = st.sets(st.sampled_from([f"p/{number}" for number in range(7)]))


@given(deployments(), outs, st.booleans())
def test_the_plan_holds_every_candidate_once(candidates: list[Deployment], out: set[str], tiers: bool) -> None:  # noqa: FBT001 - given by Hypothesis
    """Kept and dropped together are the candidates; every dropped one has its reason, region and tier."""
    plan = plan_without(out, candidates, tiers=tiers)
    assert sorted(plan.candidates) == sorted(each for each in candidates if each.id not in out)
    assert plan.dropped == tuple(
        Dropped(each.id, "out", each.region, tier(each) if tiers else FIRST) for each in candidates if each.id in out
    )
    assert plan.tiers == (tuple(map(tier, plan.candidates)) if tiers else ())


@given(deployments(), outs)
def test_the_chosen_one_leads_and_the_rest_go_by_weight(candidates: list[Deployment], out: set[str]) -> None:
    """Without tiers the balancer chooses among all; behind its choice the heaviest first."""
    kept = [each for each in candidates if each.id not in out]
    plan = plan_without(out, candidates, tiers=False)
    assert plan.candidates[:1] == tuple(kept[-1:])
    rest = [each.weight for each in plan.candidates[1:]]
    assert rest == sorted(rest, reverse=True)


@given(deployments(), outs)
def test_tiers_follow_each_other(candidates: list[Deployment], out: set[str]) -> None:
    """Weight 0 behind all others, then region, then priority; the balancer chooses within the first tier only."""
    plan = plan_without(out, candidates, tiers=True)
    rungs = [(not each.weight, tier(each)) for each in plan.candidates]
    assert rungs == sorted(rungs)
    lead = [each for each in candidates if each.id not in out and (not each.weight, tier(each)) == rungs[0]]
    assert plan.candidates[:1] == tuple(lead[-1:])


def test_what_one_leaves_undone_is_spread() -> None:
    """Equals follow in the order that comes round behind the chosen one: each has another successor."""
    equals = [Deployment(name, 1) for name in "abc"]
    plans = [compile_plan(equals, lambda _: "", lambda _, n=number: n).candidates for number in range(3)]  # type: ignore[misc]  # a default argument is no part of the type
    assert ["".join(each.id for each in plan) for plan in plans] == ["abc", "bca", "cab"]


def test_the_balancer_is_not_asked_without_a_choice() -> None:
    """Of one there is nothing to choose, however many were dropped or stand in later tiers."""
    one, other = Deployment("a", 1, "x"), Deployment("b", 1, "y")

    def never(_: Sequence[Deployment]) -> int:
        raise AssertionError

    assert compile_plan([one], lambda _: "", never, tier).candidates == (one,)
    assert compile_plan([other, one], lambda _: "", never, tier).candidates == (one, other)
    assert compile_plan([], lambda _: "", never, tier) == Plan(())


def test_a_plan_explains_itself() -> None:
    """A line per candidate: its place, region and tier, or why it has no place."""
    some = [Deployment("far", 1, "y"), Deployment("sick", 1, "x"), Deployment("near", 1, "x")]
    assert explain(plan_without({"sick"}, some, tiers=True)) == [
        Placed(1, "near", "x", Tier(0, 0)),
        Placed(2, "far", "y", Tier(1, 0)),
        Placed(0, "sick", "x", Tier(0, 0), "out"),
    ]
    assert explain(plan_without(set(), some[:1], tiers=False)) == [Placed(1, "far", "y", FIRST)]
