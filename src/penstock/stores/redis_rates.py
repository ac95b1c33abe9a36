"""The rates of keys, in Redis: the port SharedRates, a script each.

What is lent of a minute counts from the second it was lent in until a minute after it is worth nothing any more, so in
no minute more is used than the limit, wherever. All of one key stands in one slot: one call asks for all it wants.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from penstock.core.quota import WINDOW_S
from penstock.ports.leases import LEASE_S
from penstock.ports.lending import PART_S, RatePart, RateWant
from penstock.stores.redis_connection import Word
from penstock.stores.redis_link import RedisLink, checked
from penstock.stores.scripts import load_script

COUNTED_S: Final = WINDOW_S + PART_S + 1.0
"""From the beginning of the second in which it was lent, which may have been its end."""


class RedisRates:
    """The port SharedRates. For one loop."""

    def __init__(self, link: RedisLink, prefix: str = "penstock") -> None:
        """``prefix``: tells several gateways in one Redis apart."""
        self._link = link
        self._prefix = prefix
        self._rates = load_script("rates")
        self._unused = load_script("unused")

    async def take(self, key_id: str, node: str, wants: Sequence[RateWant]) -> Sequence[RatePart]:
        """All of them or none. Raises SharedUnavailable."""
        words = [node, round(LEASE_S * 1000), round(COUNTED_S), *_flat(wants)]
        keys = [self._key(key_id, want.what) for want in wants]
        parts = checked(await self._link.run(self._rates, keys, words))
        return [RatePart(lent, wait_ms / 1000) for lent, wait_ms in parts]

    async def give_back(self, key_id: str, node: str, back: Mapping[str, int]) -> None:
        """What was not used. Raises SharedUnavailable."""
        words = [node, *_flat(back.items())]
        checked(await self._link.run(self._unused, [self._key(key_id, what) for what in back], words))

    def _key(self, key_id: str, what: str) -> bytes:
        return f"{self._prefix}:{{rate:{key_id}}}:{what}".encode()


def _flat(rows: Iterable[tuple[Word, ...]]) -> Sequence[Word]:
    return list(chain.from_iterable(rows))
