"""The steps of an attempt at which a test may end the process."""

from collections.abc import Callable
from typing import Final

FAIL_POINTS: Final = ("reserve", "held", "dispatch", "first_byte", "usage", "settle", "flush")
"""The steps of an attempt, in order: the hold is asked for, is durable, the call goes out, its answer begins, its usage
is known, it is settled, its end is durable."""


FailPoint = Callable[[str], None]
"""Told of each of ``FAIL_POINTS`` as it is reached; a test ends the process there. Live it does nothing."""
