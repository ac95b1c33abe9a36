"""What a balancer is told and what it says: the candidates with their load, who asks, the index of the one to take."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Load(NamedTuple):
    """One candidate as it stands now."""

    name: str
    weight: int
    """Its share of the traffic, >= 0. 0 = only while every candidate has 0."""
    in_flight: int = 0
    """Requests it is serving."""
    latency_s: float | None = None
    """Smoothed time to the first byte; None = not known (any more)."""


class Asker(NamedTuple):
    """What of the request a balancer may go by. Each reads only its own part; the rest may be left empty."""

    hash_key: str = ""
    """The client's address, key or session, as configured."""
    prefixes: Sequence[bytes] = ()
    """Digests of the prompt's growing prefixes, the longest last."""
    chance: float = 0.0
    """Uniform in [0, 1)."""
    roster: Sequence[tuple[str, int]] = ()
    """Name and weight of every one that could serve this were all of them up; () = the candidates are all there are."""


NOBODY = Asker()


class Balancer(Protocol):
    """A rule with its memory. The same picks in the same order give the same answers."""

    def pick(self, loads: Sequence[Load], asker: Asker) -> int:
        """The index of the one to take; ``loads`` holds at least one."""
        ...
