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

    def __init__(self, limits: Limits) -> None:
        """The windows follow the key's limits; None = unlimited."""
        self.active = 0
        self.requests = MinuteWindow(limits.rpm) if limits.rpm else None
        self.tokens = MinuteWindow(limits.tpm) if limits.tpm else None

    def fits(self, limits: Limits) -> bool:
        """False when the key's limits have changed since."""
        requests = self.requests.limit if self.requests else None
        tokens = self.tokens.limit if self.tokens else None
        return (requests, tokens) == (limits.rpm or None, limits.tpm or None)
