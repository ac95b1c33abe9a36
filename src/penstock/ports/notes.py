"""What background jobs write down for the next start."""

from typing import Literal, Protocol


class DigestNotes(Protocol):
    """Which digests were told, for all who share a store. Every method raises StoreError."""

    async def take(self, note: str, now: float, until: float) -> Literal["taken", "busy", "told"]:
        """``taken``: by the caller, until then; ``busy``: by another; ``told``: there is nothing to do."""
        ...

    async def told(self, note: str, until: float) -> None:
        """What was taken is done; known until then."""
        ...

    async def give_back(self, note: str) -> None:
        """What was taken was not done."""
        ...


class CentreNotes(Protocol):
    """What an edge remembers of its centre from start to start. Never raises: what is lost is asked for again."""

    async def read(self, name: str) -> bytes | None:
        """The note of that name; None = there is none."""
        ...

    async def write(self, name: str, note: bytes) -> None:
        """Keep it in the place of what had its name."""
        ...
