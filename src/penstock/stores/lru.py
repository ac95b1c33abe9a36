"""A bounded map: least recently used goes first, every entry ends at its own time. Arithmetic only: no clock, no I/O.

``bytes`` is the sum of the sizes of the entries held and never exceeds ``max_bytes``. An entry is held until it is
replaced, evicted, removed or swept; ``get`` never returns one whose time has come. Whatever leaves is returned to the
caller, once, so that a store behind can be told.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_SLACK = 64
"""Stale ends kept before they are worth clearing out."""


class _Entry(NamedTuple, Generic[V]):
    value: V
    size: int
    expires_at: float
    order: int


class LruIndex(Generic[K, V]):
    """``max_bytes`` bounds the sum of the sizes. Not for use by several threads."""

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes``: 0 holds nothing."""
        self._max_bytes = max_bytes
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._ends: list[tuple[float, int, K]] = []
        self._bytes = 0
        self._puts = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """The sum of the sizes held."""
        return self._bytes

    def get(self, key: K, now: float) -> V | None:
        """The value, made the youngest; None when there is none or its time has come."""
        entry = self._entries.get(key)
        if entry is None or entry.expires_at <= now:
            return None
        self._entries.move_to_end(key)
        return entry.value

    def put(self, key: K, value: V, size: int, expires_at: float) -> list[V]:
        """Hold ``value`` as the youngest; what is held no more, which is ``value`` itself if it is larger than all."""
        gone = self.remove(key)
        if size > self._max_bytes:
            return [*gone, value]
        self._puts += 1
        self._entries[key] = _Entry(value, size, expires_at, self._puts)
        self._bytes += size
        heapq.heappush(self._ends, (expires_at, self._puts, key))
        while self._bytes > self._max_bytes:
            gone.append(self._forget(next(iter(self._entries))))
        self._clear_stale_ends()
        return gone

    def remove(self, key: K) -> list[V]:
        """Forget ``key``; its value, if it was held."""
        return [self._forget(key)] if key in self._entries else []

    def remove_where(self, matches: Callable[[V], bool]) -> list[V]:
        """Forget every value that ``matches``."""
        keys = [key for key, entry in self._entries.items() if matches(entry.value)]
        return [self._forget(key) for key in keys]

    def sweep(self, now: float) -> list[V]:
        """Forget every entry whose time has come."""
        gone = []
        while self._ends and self._ends[0][0] <= now:
            _, order, key = heapq.heappop(self._ends)
            if self._is_current(order, key):
                gone.append(self._forget(key))
        return gone

    def _forget(self, key: K) -> V:
        entry = self._entries.pop(key)
        self._bytes -= entry.size
        return entry.value

    def _is_current(self, order: int, key: K) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry.order == order

    def _clear_stale_ends(self) -> None:
        if len(self._ends) > 2 * len(self._entries) + _SLACK:
            self._ends = [(entry.expires_at, entry.order, key) for key, entry in self._entries.items()]
            heapq.heapify(self._ends)
