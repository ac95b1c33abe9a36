"""Time, chance and names: what a process asks of the machine it runs on."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Deadline(Protocol):
    """One re-armable timer for one task; waiting under it again and again costs no new timers."""

    def until(self, when: float) -> AbstractContextManager[object]:
        """A scope that raises TimeoutError when monotonic time reaches ``when``; not nestable."""
        ...

    def rebind(self) -> None:
        """From now on it is the running task's."""
        ...

    def close(self) -> None:
        """Drop the timer."""
        ...


class Timer(Protocol):
    """A callback to come."""

    def cancel(self) -> None:
        """It will not come any more."""
        ...


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for that long."""
        ...

    def later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call back after that long, once."""
        ...

    def deadline(self) -> Deadline:
        """A new timer for the running task."""
        ...


class Rng(Protocol):
    """The only source of chance."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...


class Ids(Protocol):
    """The only source of identifiers: unique, sortable by time."""

    def new(self, prefix: str) -> str:
        """``<prefix>_<32 hex digits>``."""
        ...
