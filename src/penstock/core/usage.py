"""What an attempt used, in disjoint buckets.

The buckets never overlap and never go negative: ``input_miss + input_hit + cache_write`` is the whole prompt,
``output`` the whole completion; ``reasoning`` is a part of ``output`` and is never added again.
"""

from typing import NamedTuple


class Usage(NamedTuple):
    """Token counts, all >= 0. ``reasoning <= output``."""

    input_miss: int = 0
    input_hit: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def prompt(self) -> int:
        """All prompt tokens, however they were priced."""
        return self.input_miss + self.input_hit + self.cache_write

    @property
    def total(self) -> int:
        """All billed tokens."""
        return self.input_miss + self.input_hit + self.cache_write + self.output


NO_USAGE = Usage()
