"""Where a test ends the process: at the n-th passing of one of ``ports.FAIL_POINTS``."""

import os
import signal

from penstock.ports.faults import FAIL_POINTS


class KillAt:
    """A ``FailPoint`` that is the end: SIGKILL, as sudden as the kernel's own."""

    def __init__(self, point: str, passing: int) -> None:
        """``point``: one of FAIL_POINTS; ``passing``: 1 = the first time that it is reached."""
        if point not in FAIL_POINTS:
            raise ValueError(f"there is no fail-point {point!r}: use one of {', '.join(FAIL_POINTS)}")
        self._point = point
        self._left = passing

    def __call__(self, step: str) -> None:
        """Count the passing; die of the last one."""
        if step == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
