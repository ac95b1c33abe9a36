"""The simulated provider's prefix cache, like DeepSeek's: units of 64 tokens, complete or not at all, per account.

What is stored is a chain: a unit is found only behind all units before it. Nothing below one unit is ever cached.
(api-docs.deepseek.com guides/kv_cache and news0802; the live service keeps entries hours to days.)
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

UNIT_TOKENS: Final = 64
KEPT_S: Final = 3 * 3600.0
"""Since last use."""
MAX_UNITS: Final = 200_000


class PrefixStore:
    """Which prefixes are cached for whom. Bounded; the longest unused go first."""

    def __init__(self, max_units: int = MAX_UNITS) -> None:
        """``max_units``: how many it holds, over all accounts."""
        self._max_units = max_units
        self._until: dict[bytes, float] = {}

    def hit_tokens(self, account: str, pieces: Sequence[str], now: float) -> int:
        """How many tokens at the beginning of a prompt are cached at ``now``."""
        hits = 0
        for unit in _units(account, pieces):
            if self._until.get(unit, 0.0) <= now:
                break
            hits += 1
        return hits * UNIT_TOKENS

    def store(self, account: str, pieces: Sequence[str], now: float) -> None:
        """Cache every complete unit of these tokens."""
        for unit in _units(account, pieces):
            self._until.pop(unit, None)
            self._until[unit] = now + KEPT_S
        while len(self._until) > self._max_units:
            del self._until[next(iter(self._until))]


def _units(account: str, pieces: Sequence[str]) -> Iterator[bytes]:
    """The name of each complete unit, which depends on all before it."""
    link = hashlib.blake2b(account.encode(), digest_size=16).digest()
    for start in range(0, len(pieces) - UNIT_TOKENS + 1, UNIT_TOKENS):
        text = "".join(pieces[start : start + UNIT_TOKENS]).encode(errors="replace")
        link = hashlib.blake2b(link + text, digest_size=16).digest()
        yield link
