"""Which deployment takes the next request: balancers as small pure state machines.

Every one of them keeps to this: a candidate of weight 0 is taken only when all have 0, and then all count as equal.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from math import inf, log
from typing import Final

from penstock.core.affinity import PrefixAffinity
from penstock.core.load import Asker, Balancer, Load

CLAIM: Final = 8
"""Least busy: how many requests one may be ahead of or behind its share and have it count."""
CLEARLY: Final = 0.9
"""Latency-aware: the second of two takes over when its latency is below this part of the first one's."""
HOT: Final = 3
"""Latency-aware: hot is who has this many times what the others have in flight for their weight, and"""
HOT_FLOOR: Final = 8
"""so many more."""
PROBES: Final = 2
"""Latency-aware: requests that one of unknown latency may have in flight."""
HASH_BYTES: Final = 8


class SmoothWeighted:
    """Smooth weighted round robin: over any run of picks each candidate gets its share, evenly spread.

    The rule is nginx's: every candidate gains its weight, the highest is picked and pays the total. Candidates are
    told apart by name, so that a pick over a part of them (others dropped) keeps the rest's standing.
    """

    def __init__(self) -> None:
        self._standing: dict[str, int] = {}

    def pick(self, names: Sequence[str], weights: Sequence[int]) -> int:
        """The index of the one to take. All weights 0 = all equal."""
        total = sum(weights)
        if total == 0:
            weights, total = [1] * len(names), len(names)
        standing = self._standing
        best, best_value = 0, None
        for index, (name, weight) in enumerate(zip(names, weights, strict=True)):
            value = standing[name] = standing.get(name, 0) + weight
            if weight and (best_value is None or value > best_value):
                best, best_value = index, value
        standing[names[best]] -= total
        return best


class Weighted:
    """Each its weight's share."""

    def __init__(self) -> None:
        self._turns = SmoothWeighted()

    def pick(self, loads: Sequence[Load], _asker: Asker) -> int:
        """Whose turn it is."""
        return self._turns.pick([load.name for load in loads], [load.weight for load in loads])


class RoundRobin:
    """One after the other; of a weight it matters only whether it is 0."""

    def __init__(self) -> None:
        self._turns = SmoothWeighted()

    def pick(self, loads: Sequence[Load], _asker: Asker) -> int:
        """Whose turn it is."""
        return self._turns.pick([load.name for load in loads], [min(load.weight, 1) for load in loads])


class LeastBusy:
    """The one with the fewest requests in flight for its weight; among equals who is furthest behind its share.

    Equal is who is less busy now than any other would be with this request: with equal weights that is having as few
    as the fewest, with unequal ones it keeps a light candidate from taking every second request of a quiet model. Of
    what busier times left undone, ``CLAIM`` requests are made up for, no more.
    """

    def __init__(self) -> None:
        self._behind: dict[str, int] = {}

    def pick(self, loads: Sequence[Load], _asker: Asker) -> int:
        """One of the least busy."""
        weights = _weights(loads)
        total = sum(weights)
        bar = min((load.in_flight + 1) / weight for load, weight in zip(loads, weights, strict=True) if weight)
        best, best_value = 0, -inf
        for index, (load, weight) in enumerate(zip(loads, weights, strict=True)):
            value = self._behind[load.name] = min(self._behind.get(load.name, 0) + weight, CLAIM * total)
            if weight and value > best_value and load.in_flight / weight < bar:
                best, best_value = index, value
        name = loads[best].name
        self._behind[name] = max(self._behind[name] - total, -CLAIM * total)
        return best


class HashBalancer:
    """Consistent: an asker always comes to the same one, and a change of the roster moves only its own share.

    Weighted rendezvous hashing over the roster, so that one who is out keeps its askers for when it is back; meanwhile
    they are spread by smooth weighted.
    """

    def __init__(self) -> None:
        self._turns = Weighted()

    def pick(self, loads: Sequence[Load], asker: Asker) -> int:
        """The asker's own one, if it is there."""
        wanted = home(asker.hash_key, asker.roster or [(load.name, load.weight) for load in loads])
        for index, load in enumerate(loads):
            if load.name == wanted:
                return index
        return self._turns.pick(loads, asker)


def home(key: str, roster: Sequence[tuple[str, int]]) -> str:
    """The name that ``key`` belongs to: of exponential waiting times at rate ``weight`` the shortest wins."""
    salt = blake2b(key.encode(), digest_size=32).digest()
    level = not any(weight for _, weight in roster)
    return min((_wait(salt, name, 1 if level else weight), name) for name, weight in roster)[1]


def _wait(salt: bytes, name: str, weight: int) -> float:
    if not weight:
        return inf
    drawn = int.from_bytes(blake2b(name.encode(), key=salt, digest_size=HASH_BYTES).digest())
    return -log((drawn + 1) / (1 << 8 * HASH_BYTES)) / weight


class LatencyAware:
    """Power of two choices on latency and requests in flight, after Prequal (NSDI 2024).

    Two candidates are drawn by weight. A hot one loses to a cold one; of two cold ones the second wins when it is
    clearly faster, of two hot ones the less busy wins. Prequal calls hot what is above a quantile of many probes; of
    two or three deployments a quantile says nothing, so hot is measured against what the others carry.
    Who has no known latency counts as the fastest, for ``PROBES`` requests at a time, and as the slowest beyond.
    """

    def pick(self, loads: Sequence[Load], asker: Asker) -> int:
        """The better of two."""
        weights = _weights(loads)
        first, second = draw_two(weights, asker.chance)
        if first == second:
            return first
        busy, total = sum(load.in_flight for load in loads), sum(weights)
        one, other = _Choice(loads[first], weights[first]), _Choice(loads[second], weights[second])
        hot, other_hot = one.hot(busy, total), other.hot(busy, total)
        if hot != other_hot:
            return second if hot else first
        if hot:
            return second if other.level < one.level else first
        return second if other.pace_s < CLEARLY * one.pace_s else first


class _Choice:
    """One of the two that were drawn; ``weight`` > 0."""

    __slots__ = ("load", "weight")

    def __init__(self, load: Load, weight: int) -> None:
        self.load = load
        self.weight = weight

    @property
    def level(self) -> float:
        """Requests in flight for its weight."""
        return self.load.in_flight / self.weight

    @property
    def pace_s(self) -> float:
        """Its latency as far as choices go."""
        if self.load.latency_s is not None:
            return self.load.latency_s
        return 0.0 if self.load.in_flight < PROBES else inf

    def hot(self, busy: int, total: int) -> bool:
        """Whether it carries far more for its weight than the others do; ``busy`` and ``total`` are sums over all."""
        fair = (busy - self.load.in_flight) * self.weight / (total - self.weight)
        return self.load.in_flight > HOT * fair + HOT_FLOOR


def draw_two(weights: Sequence[int], chance: float) -> tuple[int, int]:
    """Two different indices drawn by weight, from one ``chance``; the same one twice where only one has any."""
    first, rest = _draw(weights, chance)
    others = [0 if index == first else weight for index, weight in enumerate(weights)]
    return first, _draw(others, rest)[0] if any(others) else first


def _draw(weights: Sequence[int], chance: float) -> tuple[int, float]:
    """An index drawn by weight, and what is left of the chance: uniform again within the one drawn."""
    ends = list(accumulate(weights))
    point = chance * ends[-1]
    for index, end in enumerate(ends):
        if point < end:
            return index, (point - end + weights[index]) / weights[index]
    return max(index for index, weight in enumerate(weights) if weight), 0.0  # rounded up to the very end


def _weights(loads: Sequence[Load]) -> list[int]:
    """The weights, all 1 where all are 0."""
    weights = [load.weight for load in loads]
    return weights if any(weights) else [1] * len(weights)


BALANCERS: Final[Mapping[str, Callable[[], Balancer]]] = {
    "round_robin": RoundRobin,
    "weighted": Weighted,
    "least_busy": LeastBusy,
    "ip_hash": HashBalancer,
    "prefix": PrefixAffinity,
    "latency": LatencyAware,
}
"""By the names of the config's ``balance``."""


def balancer(name: str) -> Balancer:
    """A new one, with nothing remembered."""
    return BALANCERS[name]()
