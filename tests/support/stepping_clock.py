"""A wall clock that is set and steps, as NTP, operators and suspended machines make it; what is measured goes on."""

from penstock.clock import LoopClock


class SteppingClock(LoopClock):
    """``now`` is the loop's time and every step so far; ``monotonic`` never steps."""

    def __init__(self, epoch: float) -> None:
        """``epoch``: what ``now`` says when the loop's own clock says 0."""
        super().__init__(epoch)
        self._stepped_s = 0.0

    def now(self) -> float:
        """Seconds since the epoch, as far as this clock knows."""
        return super().now() + self._stepped_s

    def step(self, seconds: float) -> None:
        """Forward, or back."""
        self._stepped_s += seconds

    def set(self, at: float) -> None:
        """To an instant, epoch seconds."""
        self.step(at - self.now())
