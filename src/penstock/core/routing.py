"""Routing is compilation: a model's deployments and the facts about them become an ordered plan with drop reasons.

The order: candidates of weight 0 behind all others; then by tier, which is the region's rank for this caller and the
priority within it; within the first tier the balancer's choice is ahead; the rest by weight, equals going round from
the chosen one, so that what one leaves undone is spread over the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, Protocol, TypeVar


class Candidate(Protocol):
    """What routing needs to know of a deployment."""

    @property
    def id(self) -> str:
        """``provider/model``."""
        ...

    @property
    def weight(self) -> int:
        """Its share of the traffic, >= 0."""
        ...

    @property
    def region(self) -> str:
        """Where it runs; "" = nowhere in particular."""
        ...


C = TypeVar("C", bound=Candidate)


class Tier(NamedTuple):
    """Which candidates are tried before which: the lowest first."""

    rank: int
    """Of its region, for this caller."""
    priority: int
    """Within its region."""


FIRST: Final = Tier(0, 0)
"""Of every candidate where there are no tiers."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that is not in the plan, and why."""

    id: str
    reason: str
    region: str = ""
    tier: Tier = FIRST


class Plan(NamedTuple, Generic[C]):
    """The deployments to try, in order; never changed once made."""

    candidates: tuple[C, ...]
    dropped: tuple[Dropped, ...] = ()
    tiers: tuple[Tier, ...] = ()
    """Of each candidate; () = all in the first."""


class Placed(NamedTuple):
    """What a plan says of one candidate: its place among those to try from 1 on, or, with 0, why it is not there."""

    place: int
    id: str
    region: str
    tier: Tier
    reason: str = ""


def explain(plan: Plan[C]) -> list[Placed]:
    """A line for every candidate, those to try first, in order."""
    tiers = plan.tiers or (FIRST,) * len(plan.candidates)
    tried = [
        Placed(place, candidate.id, candidate.region, tier)
        for place, (candidate, tier) in enumerate(zip(plan.candidates, tiers, strict=True), 1)
    ]
    return tried + [Placed(0, each.id, each.region, each.tier, each.reason) for each in plan.dropped]


def compile_plan(
    candidates: Sequence[C],
    objection: Callable[[C], str],
    first: Callable[[Sequence[C]], int],
    tier: Callable[[C], Tier] | None = None,
) -> Plan[C]:
    """Drop every candidate with an objection, order the rest.

    ``objection``: why a candidate cannot serve this request, "" when it can. ``first``: the balancer, given the
    candidates of the first tier in the order of the config; it is not asked where there is only one. ``tier``: None =
    all are alike.
    """
    kept: list[C] = []
    dropped: list[Dropped] = []
    for candidate in candidates:
        reason = objection(candidate)
        if reason:
            at = tier(candidate) if tier else FIRST
            dropped.append(Dropped(candidate.id, reason, candidate.region, at))
        else:
            kept.append(candidate)
    if len(kept) < 2:  # noqa: PLR2004 - the usual case, and nothing to order
        return Plan(tuple(kept), tuple(dropped), (tier(kept[0]),) if tier and kept else ())
    if tier is None:
        return Plan(tuple(_led(kept, first)), tuple(dropped))
    rungs = _by_tier([_Rung(not candidate.weight, tier(candidate), candidate) for candidate in kept])
    lead = [rung.candidate for rung in rungs if rung[:2] == rungs[0][:2]]
    rest = [rung.candidate for rung in rungs[len(lead) :]]
    return Plan((*_led(lead, first), *rest), tuple(dropped), tuple(rung.tier for rung in rungs))


class _Rung(NamedTuple, Generic[C]):
    standby: bool
    tier: Tier
    candidate: C


def _by_tier(rungs: list[_Rung[C]]) -> list[_Rung[C]]:
    """Tier by tier, weight 0 behind; within the first tier in the order they came, within the later ones by weight."""
    top = min(rung[:2] for rung in rungs)
    return sorted(rungs, key=lambda rung: (*rung[:2], 0 if rung[:2] == top else -rung.candidate.weight))


def _led(kept: list[C], first: Callable[[Sequence[C]], int]) -> list[C]:
    """The chosen one ahead, the others by weight, equals in the order that comes round behind it."""
    chosen = first(kept) if len(kept) > 1 else 0
    rest = [*kept[chosen + 1 :], *kept[:chosen]]
    rest.sort(key=lambda candidate: -candidate.weight)
    return [kept[chosen], *rest]
