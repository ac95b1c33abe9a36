"""How much of what providers sent is handed on per turn of the loop.

A loop serves in one turn whatever is ready. When many answers come at once, that is hundreds of milliseconds of work,
and who asks meanwhile, to be refused or to see how we are, waits for all of it. So what came is handed on piece by
piece, and between two turns' worth the loop looks at everything else. Nothing waits while less comes than one turn
takes. Short turns cost: there is less to do at once that is alike, in the code and in the ledger's groups, so they are
short only while somebody is sent away.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

TURN_BYTES: Final = 256 * 1024
"""Handed on per turn: some milliseconds of work. With a quarter of it a request costs a tenth more."""
SHORT_BYTES: Final = 64 * 1024
"""The same while there is too much to do."""
READ_BYTES: Final = 4 * 1024
"""However small it is, a read costs as much as so many bytes."""

Handover = Callable[[], None]


class Turns:
    """The line of reads that wait for their turn, first come, first served."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """``monotonic``: the clock of ``late_s``."""
        self._monotonic = monotonic
        self._line: deque[tuple[Handover, int, float]] = deque()
        self._size = self._left = TURN_BYTES
        self._under_way = False

    @property
    def late_s(self) -> float:
        """How long who is next has waited."""
        return self._monotonic() - self._line[0][2] if self._line else 0.0

    def shorten(self, *, short: bool) -> None:
        """Whether turns are short, from the next on."""
        self._size = SHORT_BYTES if short else TURN_BYTES

    def take(self, size: int, hand_over: Handover) -> None:
        """Hand a read of ``size`` bytes on, now or in a later turn. It must not raise."""
        if self._left <= 0:
            self._line.append((hand_over, size, self._monotonic()))
            return
        self._left -= size + READ_BYTES
        if not self._under_way:
            self._under_way = True
            asyncio.get_running_loop().call_soon(self._turn)
        hand_over()

    def _turn(self) -> None:
        """One turn is over, and its work done."""
        self._left, self._under_way = self._size, False
        line = self._line
        while line and self._left > 0:
            hand_over, size, _ = line.popleft()
            self.take(size, hand_over)
