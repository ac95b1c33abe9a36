"""An upstream response made of steps instead of sockets: what the stand-ins answer with.

A step is bytes (one read), a Pause (time passes on the clock), an error (raised), or SILENCE (for ever). Time passes
only through the Clock port, so a stand-in is as quick as its clock.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from penstock.errors import BadAnswer, UpstreamError
from penstock.ports.clock import Clock

JSON: Final = {"content-type": "application/json"}
SSE: Final = {"content-type": "text/event-stream"}


class Silence(Enum):
    """The one step that never ends."""

    FOR_EVER = "for ever"


SILENCE: Final = Silence.FOR_EVER


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds that pass before the next step."""

    seconds: float


Step = bytes | Pause | UpstreamError | Silence


@dataclass(frozen=True, slots=True)
class Play:
    """One reply: what happens before the head, the head, what happens in the body."""

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: dict(JSON))
    before: Sequence[Step] = ()


async def perform(play: Play, clock: Clock, ended: Callable[[str], None] = lambda _: None) -> "Played":
    """The response, once what comes before its head is over. ``ended`` hears once how: ``read closed broken left``."""
    response = Played(play, clock, ended)
    await response.begin(play.before)
    return response


class Played:
    """An UpstreamResponse that plays steps."""

    def __init__(self, play: Play, clock: Clock, ended: Callable[[str], None]) -> None:
        """Use ``perform``."""
        self.status = play.status
        self.headers: Mapping[str, str] = play.headers
        self._clock = clock
        self._ended: Callable[[str], None] | None = ended
        self._steps = deque(play.steps)

    async def begin(self, steps: Sequence[Step]) -> None:
        """Play what comes before the head."""
        for step in steps:
            await self._guard(step)

    async def next(self) -> bytes:
        """The next bytes; b"" at the end."""
        while self._steps:
            data = await self._guard(self._steps.popleft())
            if data:
                return data
        self._end("read")
        return b""

    async def read(self, limit: int) -> bytes:
        """The rest of them. Raises BadAnswer above ``limit`` bytes."""
        parts = bytearray()
        while data := await self.next():
            parts += data
            if len(parts) > limit:
                self._end("closed")
                raise BadAnswer("The provider's answer is too large.", detail=f"more than {limit} bytes")
        return bytes(parts)

    async def close(self) -> None:
        """Leave."""
        self._end("closed")

    async def _guard(self, step: Step) -> bytes:
        try:
            return await self._play(step)
        except asyncio.CancelledError:
            self._end("left")
            raise
        except UpstreamError:
            self._end("broken")
            raise

    async def _play(self, step: Step) -> bytes:
        if isinstance(step, bytes):
            return step
        if isinstance(step, UpstreamError):
            raise step
        if isinstance(step, Pause):
            if step.seconds:
                await self._clock.sleep(step.seconds)
            return b""
        await asyncio.get_running_loop().create_future()
        return b""

    def _end(self, how: str) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(how)
