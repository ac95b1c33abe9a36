"""Routing is compilation: a model's deployments and the facts about them become an ordered plan with drop reasons."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


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


C = TypeVar("C", bound=Candidate)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that is not in the plan, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan(Generic[C]):
    """The deployments to try, in order; never changed once made."""

    candidates: tuple[C, ...]
    dropped: tuple[Dropped, ...] = ()


def compile_plan(
    candidates: Sequence[C], objection: Callable[[C], str], first: Callable[[Sequence[C]], int]
) -> Plan[C]:
    """Drop every candidate with an objection, put the one that ``first`` chooses in front, the rest by weight.

    ``objection``: why a candidate cannot serve this request, "" when it can. ``first``: the balancer, given the
    candidates that are left (at least one); the order of equals is the order of the config.
    """
    kept: list[C] = []
    dropped: list[Dropped] = []
    for candidate in candidates:
        reason = objection(candidate)
        if reason:
            dropped.append(Dropped(candidate.id, reason))
        else:
            kept.append(candidate)
    if len(kept) > 1:
        chosen = kept.pop(first(kept))
        kept.sort(key=lambda candidate: -candidate.weight)
        kept.insert(0, chosen)
    return Plan(tuple(kept), tuple(dropped))
