"""What one server demands of its connections, and the one sweep that holds them to it.

No request costs a timer. A connection that is still waiting for bytes when a read has been handled puts itself under
watch; once per ``interval_s`` the sweep looks at those alone, and at the idle ones once per ``idle_look_s``. Deadlines
are therefore met early by up to two intervals and never late by more than a busy loop makes the sweep.

Fails closed: what is slower or larger than the bounds is refused and the connection ends.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from penstock.ports.clock import Clock, Timer


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one server. A body must keep up with ``body_grace_s + received / body_rate`` seconds."""

    header_bytes: int = 32 * 1024
    """Request line and headers together."""
    header_s: float = 10.0
    """From connect, or from a request's first byte, to the end of its headers."""
    body_grace_s: float = 10.0
    body_rate: int = 8 * 1024
    """Bytes per second (64 kbit/s). Time in which we do not read is not counted."""
    keep_alive_s: float = 75.0
    """An idle connection's life: longer than SDK pools keep theirs, so that the client closes first."""
    idle_look_s: float = 5.0
    """Between two looks at all connections for those whose life is over."""
    stall_s: float = 120.0
    """How long a client may take nothing of an answer that waits for it."""
    connections: int = 16_384
    linger_s: float = 2.0
    """After our last answer: how long the client may go on sending, so that no reset overtakes the answer."""
    linger_bytes: int = 128 * 1024 * 1024
    """Likewise: how much."""
    lame_duck_s: float = 1.0
    """While draining: how long an idle connection may still bring one last request."""
    interval_s: float = 1.0
    """Between two sweeps."""


class Watched(Protocol):
    """A connection that waits for its client."""

    def sweep(self, now: float) -> bool:
        """Enforce the bounds; False when there is nothing to wait for any more."""
        ...

    def close_if_idle_since(self, then: float) -> None:
        """Close if nothing was asked since ``then``, monotonic time."""
        ...


def _ignore(reason: str) -> None:
    """Nobody counts the refusals."""


class Edge:
    """The state that the connections of one server share. ``now`` is monotonic time as of the last sweep."""

    def __init__(self, bounds: Bounds, clock: Clock, on_refusal: Callable[[str], None] = _ignore) -> None:
        """``on_refusal``: told the kind of every refusal made here, for the metrics."""
        self.bounds = bounds
        self.clock = clock
        self.on_refusal = on_refusal
        self.now = clock.monotonic()
        self.connections: set[Watched] = set()
        """All that are open."""
        self.watched: set[Watched] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """What answers them."""
        self.draining = False
        self._timer: Timer | None = None
        self._idle_looked_at = self.now

    def start(self) -> None:
        """Sweep from now on."""
        self._timer = self.clock.later(self.bounds.interval_s, self._tick)

    def stop(self) -> None:
        """Sweep no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sweep(self) -> None:
        """Look once at every connection under watch."""
        self.now = now = self.clock.monotonic()
        done = [connection for connection in list(self.watched) if not connection.sweep(now)]
        self.watched.difference_update(done)
        if now - self._idle_looked_at >= self.bounds.idle_look_s:
            self._idle_looked_at = now
            for connection in list(self.connections):
                connection.close_if_idle_since(now - self.bounds.keep_alive_s)

    def _tick(self) -> None:
        self.start()
        self.sweep()
