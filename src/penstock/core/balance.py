"""Which deployment takes the next request: balancers as small pure state machines."""

from collections.abc import Sequence


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
