"""What one key has in flight and took in the last minute."""

from typing import Protocol

from penstock.core.quota import MinuteWindow


class Limits(Protocol):
    """The limits of a key; None = unlimited."""

    @property
    def rpm(self) -> int | None:
        """Requests per minute."""
        ...

    @property
    def tpm(self) -> int | None:
        """Tokens per minute."""
        ...


class Standing:
    """What one key has in flight and took in the last minute."""

    __slots__ = ("active", "requests", "tokens")

    def __init__(self) -> None:
        self.active = 0
        self.requests: MinuteWindow | None = None
        self.tokens: MinuteWindow | None = None

    def follow(self, limits: Limits) -> None:
        """Hold the key to these limits, None = unlimited; a window whose limit changed begins empty."""
        self.requests = _window(self.requests, limits.rpm)
        self.tokens = _window(self.tokens, limits.tpm)


Standings = dict[str, Standing]
"""By key id; outlives a reload."""


def _window(window: MinuteWindow | None, limit: int | None) -> MinuteWindow | None:
    if not limit:
        return None
    return window if window is not None and window.limit == limit else MinuteWindow(limit)
