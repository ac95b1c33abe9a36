"""In which order a caller's regions are tried, and when that order may change.

A request goes to the first region that can serve it; the later ones are where it fails over to. Nothing here flaps: a
measured order changes, and a region that was out comes back, only after things have been so for a while. Times are
seconds of a monotonic clock, given by the caller.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Final

BETTER: Final = 0.8
"""A region moves ahead of another whose latency it stays within this part of,"""
BETTER_FOR_S: Final = 10.0
"""for so long."""
WELL_FOR_S: Final = 30.0
"""How long a region that was out has to be well before it counts again."""


def rank_regions(
    regions: Collection[str], order: Sequence[str] = (), own: str = "", held: Collection[str] = ()
) -> dict[str, int]:
    """The rank of each of ``regions``, 0 first: the caller's ``own``, those of ``order``, then all others alike.

    ``held``: regions that are not failed back to yet. They come behind the rest, in the same order among themselves,
    for a region that may be unwell is still better than none.
    """
    listed = dict.fromkeys([own, *order] if own else order)
    places = {region: place for place, region in enumerate(listed)}
    rungs = {region: (region in held, places.get(region, len(places))) for region in regions}
    ranks = {rung: rank for rank, rung in enumerate(sorted(set(rungs.values())))}
    return {region: ranks[rung] for region, rung in rungs.items()}


class MeasuredOrder:
    """Regions by measured latency, the nearest first; the order given counts until there is a reason to change it."""

    def __init__(self, regions: Sequence[str]) -> None:
        self._order = list(regions)
        self._since: dict[tuple[str, str], float] = {}
        """Since when the first of the two has been better than the second, which is ahead of it."""

    def update(self, latencies_s: Mapping[str, float | None], now: float) -> tuple[str, ...]:
        """The order now. A region without a latency keeps its place."""
        better = set(self._better(latencies_s))
        self._since = {pair: self._since.get(pair, now) for pair in better}
        for region in tuple(self._order):
            self._advance(region, now)
        return tuple(self._order)

    def _better(self, latencies_s: Mapping[str, float | None]) -> Iterator[tuple[str, str]]:
        """Each region with each one ahead of it that it is clearly better than."""
        for place, region in enumerate(self._order):
            latency_s = latencies_s.get(region)
            for ahead in self._order[:place]:
                other_s = latencies_s.get(ahead)
                if latency_s is not None and other_s is not None and latency_s <= BETTER * other_s:
                    yield region, ahead

    def _advance(self, region: str, now: float) -> None:
        """Move it before the first one that it has been better than for long enough."""
        place = self._order.index(region)
        for goal, ahead in enumerate(self._order[:place]):
            if now - self._since.get((region, ahead), now) >= BETTER_FOR_S:
                self._order.insert(goal, self._order.pop(place))
                return


class Recovery:
    """Which regions are not failed back to yet."""

    def __init__(self, well_for_s: float = WELL_FOR_S) -> None:
        self._well_for_s = well_for_s
        self._well_since: dict[str, float | None] = {}
        """Of the regions that were out; None = still out."""

    def see(self, region: str, *, up: bool, now: float) -> None:
        """A region is well, or out: none of its deployments can be used."""
        if not up:
            self._well_since[region] = None
        elif region in self._well_since and self._well_since[region] is None:
            self._well_since[region] = now

    def held(self, now: float) -> frozenset[str]:
        """Those that are out, and those that have not been well for long enough since."""
        return frozenset(
            region for region, since in self._well_since.items() if since is None or now - since < self._well_for_s
        )


class Networks:
    """Which region a client's address belongs to: that of the smallest network it is in.

    ``regions``: network (``10.0.0.0/8``, ``2001:db8::/32``) to region. Raises ValueError on what is no network.
    """

    def __init__(self, regions: Mapping[str, str]) -> None:
        self._tables: dict[int, dict[int, dict[int, str]]] = {4: {}, 6: {}}
        """Version -> bits that are not of the network -> the bits that are -> region."""
        for text, region in regions.items():
            network = ip_network(text)
            host_bits = network.max_prefixlen - network.prefixlen
            table = self._tables[network.version].setdefault(host_bits, {})
            table[int(network.network_address) >> host_bits] = region
        self._tables = {version: dict(sorted(tables.items())) for version, tables in self._tables.items()}

    def region(self, address: str) -> str:
        """The region of that address; "" for one that is in no network, or is no address."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return ""
        mapped = getattr(parsed, "ipv4_mapped", None)
        version, number = (4, int(mapped)) if mapped else (parsed.version, int(parsed))
        for host_bits, table in self._tables[version].items():
            if number >> host_bits in table:
                return table[number >> host_bits]
        return ""
