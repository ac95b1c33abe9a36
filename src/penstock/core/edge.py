"""What an edge and its centre say to each other of a request, as values; their headers: ``pipeline/passing.py``."""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from penstock.core.budget import STEPS

MOST_HOPS: Final = 4
"""Penstocks that a request may come through. A ring of them asks itself that often, and no more."""

_PLAIN: Final = re.compile(r"[\x21-\x7e]{1,128}|[\x20-\x7e]{1,60}")
_AGE: Final = re.compile(r"\d{1,10}", re.ASCII)


class Tenant(NamedTuple):
    """Whom an edge asks for: its own key."""

    id: str
    name: str
    team: str


@dataclass(frozen=True, slots=True)
class Passed:
    """What a Penstock says of a request that came to it first."""

    hops: int
    """Penstocks it came through before this one."""
    parent: str = ""
    """The id of its exchange there."""
    tenant: Tenant | None = None
    entry: str = ""
    """What the edge has to know to store the answer later on: opaque here."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a centre says of its answer in the headers."""

    request_id: str = ""
    cache: str = ""
    """``exact joined miss off``; "" = it began before that was known."""
    cost: str = ""
    """With its currency; "" = of a stream, or no price covers it."""
    age_s: float = 0
    """How long ago the answer was made."""
    degraded: tuple[str, ...] = ()
    """The steps of its ladder."""

    @property
    def storable(self) -> bool:
        """Whether it is sure that it is what was asked for: another model's, or one past its time, is not."""
        return bool(self.cache) and not self.degraded


def read_told(request_id: str, cache: str, cost: str, age: str, degraded: str) -> Told:
    """The headers, each "" where it is absent; what makes no sense counts as absent."""
    return Told(
        request_id=request_id if _PLAIN.fullmatch(request_id) else "",
        cache=cache if cache in {"exact", "joined", "similar", "miss", "off"} else "",
        cost=cost if _PLAIN.fullmatch(cost) else "",
        age_s=float(age) if _AGE.fullmatch(age) else 0.0,
        degraded=tuple(step for step in STEPS if step in degraded.split(",")),
    )
