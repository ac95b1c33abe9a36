"""Prefix affinity: a conversation, or a shared prompt, goes where its beginning is warm, as far as the load allows.

Providers and engines keep what they read of a prompt and charge, or compute, only what is new. So the memory here says
which candidate saw which beginning. The longest match wins, unless that candidate is too far ahead of its share of the
requests; then the next shorter one, at last who is furthest behind (smooth weighted round robin, of which the matches
are a part). What a provider forgets by itself is not known here: a pick is a guess, never a promise.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from penstock.core.load import Asker, Load

REMEMBERED: Final = 32_768
"""Prefixes that are remembered."""
CAP: Final = 1.04
"""What part of its weight's share of the recent requests a match may bring a candidate to,"""
SLACK: Final = 1
"""and so many requests more, that a first match may count at all."""
RECENT: Final = 4_096
"""How many requests are recent."""
BUSY_CAP: Final = 2
"""Swamped is who has in flight so many times what the others have for their weight, and"""
BUSY_SLACK: Final = 4
"""so many more."""


class PrefixAffinity:
    """Remembers who saw what, and by how many requests each is behind its share.

    ``cap``: what part of its share a match may bring a candidate to; ``remembered``: the most prefixes that are kept,
    those not seen for longest go first.
    """

    def __init__(self, *, cap: float = CAP, remembered: int = REMEMBERED) -> None:
        self._extra = cap - 1
        self._remembered = remembered
        self._seen: OrderedDict[bytes, tuple[str, ...]] = OrderedDict()
        self._behind: dict[str, int] = {}
        """In requests times the weight of all: what smooth weighted calls the standing."""
        self._picks = 0

    def __deepcopy__(self, _memo: object) -> "PrefixAffinity":
        """Another with the same memory; what is remembered is never changed in place, so both may hold it."""
        other = PrefixAffinity(cap=self._extra + 1, remembered=self._remembered)
        other._seen, other._behind, other._picks = self._seen.copy(), self._behind.copy(), self._picks
        return other

    def pick(self, loads: Sequence[Load], asker: Asker) -> int:
        """The one that saw the longest beginning of this prompt and is not too far ahead; it is remembered."""
        weights = _not_swamped(loads)
        for name, weight in weights.items():
            self._behind[name] = self._behind.get(name, 0) + weight
        name = self._warm(weights, asker.prefixes) or max(weights, key=self._behind.__getitem__)
        self._behind[name] -= sum(weights.values())
        self._picks = min(self._picks + 1, RECENT)
        self._learn(name, asker.prefixes)
        return next(index for index, load in enumerate(loads) if load.name == name)

    def _warm(self, weights: Mapping[str, int], prefixes: Sequence[bytes]) -> str:
        """Of those that know the longest prefix the one furthest behind; "" when all who know any are ahead."""
        total = sum(weights.values())
        for prefix in reversed(prefixes):
            known = [name for name in self._seen.get(prefix, ()) if name in weights]
            fit = [name for name in known if total - self._behind[name] <= self._ahead(weights[name], total)]
            if fit:
                return max(fit, key=self._behind.__getitem__)
        return ""

    def _ahead(self, weight: int, total: int) -> float:
        """How far ahead a match may bring one of that weight, in requests times ``total``."""
        return SLACK * total + self._extra * self._picks * weight

    def _learn(self, name: str, prefixes: Sequence[bytes]) -> None:
        for prefix in prefixes:
            names = self._seen.setdefault(prefix, ())
            if name not in names:
                self._seen[prefix] = (*names, name)
            self._seen.move_to_end(prefix)
        while len(self._seen) > self._remembered:
            self._seen.popitem(last=False)


def _not_swamped(loads: Sequence[Load]) -> dict[str, int]:
    """Name and weight of those that have a weight and are not swamped with requests in flight: at least one.

    A slow one is not to keep its conversations until it stands still. It neither gains nor loses meanwhile, so it
    collects no claim that would be paid when it recovers.
    """
    able = [load for load in loads if load.weight] or loads
    weights = {load.name: load.weight or 1 for load in able}
    busy, total = sum(load.in_flight for load in able), sum(weights.values())

    def is_swamped(load: Load) -> bool:
        """Against what the others have in flight for their weight."""
        weight, others = weights[load.name], total - weights[load.name]
        return (load.in_flight - BUSY_SLACK) * others > BUSY_CAP * (busy - load.in_flight) * weight

    return {load.name: weights[load.name] for load in able if not is_swamped(load)}
