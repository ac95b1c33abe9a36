"""Answers as streams of batches, and a whole answer told as one."""

from collections.abc import AsyncGenerator, Iterable
from typing import Final

from penstock.wire.sse import Event
from penstock.wire.unfold import unfold

STREAMABLE: Final = frozenset({"chat", "completions", "messages"})
"""Dialects whose answers may be streams; in the others ``stream`` means nothing."""

Batch = list[Event]
"""The events of one upstream read: one send to the client."""


Stream = AsyncGenerator[Batch, None]
"""An answer on its way. Closing it, or reading it to its end, ends what stands behind it."""


async def told(batches: Iterable[Batch]) -> Stream:
    """Batches that are all there already."""
    for batch in batches:
        yield batch


def retold(dialect: str, whole: bytes) -> Stream:
    """A whole answer as the stream that would have carried it, usage included."""
    return told([unfold(dialect, whole, include_usage=True)])
