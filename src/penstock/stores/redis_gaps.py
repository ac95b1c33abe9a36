"""What the store behind may have that Redis has not: so that a miss there need not be looked for behind it.

Whoever stores an answer tells Redis, too. So what Redis has not, the store has not, unless it was stored before this
Redis began, or while it could not be told, was too large for it, or was evicted there. A record in Redis says until
when an answer of that kind may be good: it begins anew, with nothing known, when the process is another, evicted
something, was emptied or set back, or no node has lived for a minute. Who asks for an answer is told what stands there
in the same round trip (``ask.lua``).

Fails safe: what is not known for sure is looked for. What is missed all the same (a node died before it could say that
it could not tell) is a call more, never a wrong answer.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from penstock.ports.clock import Clock
from penstock.stores.redis_link import RedisLink, checked
from penstock.stores.scripts import load_script

KEPT_S: Final = 60.0
SETTLED_S: Final = 2.0
"""What was stored for a record before is written by then: counting its end waits so long."""

LastEnd = Callable[[float], Awaitable[float]]
"""Until when what was stored before then is good at most, epoch seconds both."""


class RedisGaps:
    """One record, of one server: in a cluster nothing is known."""

    def __init__(
        self,
        link: RedisLink,
        clock: Clock,
        new_id: Callable[[], str],
        prefix: str = "penstock",
        settled_s: float = SETTLED_S,
    ) -> None:
        """``new_id``: a name that no record ever had; ``settled_s``: how long an answer may take into the store."""
        self.key = f"{prefix}:{{gaps}}".encode()
        self._link = link
        self._clock = clock
        self._new_id = new_id
        self._settled_ms = round(settled_s * 1000)
        self._script = load_script("gaps")
        self._record, self._beat = "", 0
        self._untold = 0.0
        """The last end of an answer that could not be told."""

    def note(self, end: float) -> None:
        """An answer that is good until then (epoch seconds) is in the store, and not in Redis."""
        self._untold = max(self._untold, end)

    def may_be_behind(self, told: bytes, now: float) -> bool:
        """Whether the store may have what Redis has not. ``told``: until when, by ``ask.lua``; b"" = nobody knows."""
        return not told or now < float(told) or now < self._untold

    async def look(self, last_end: LastEnd) -> None:
        """Keep the record. Raises SharedUnavailable, StoreError."""
        age_ms, known = await self._say("", 0.0)
        if not known and age_ms >= self._settled_ms:
            record = self._record
            await self._say(record, await last_end(self._clock.now() - age_ms / 1000))

    async def _say(self, counted: str, end: float) -> tuple[int, bool]:
        words = (self._record, self._beat, self._untold, counted, end, self._new_id(), round(KEPT_S * 1000))
        record, self._beat, age_ms, known = checked(await self._link.run(self._script, [self.key], words))
        self._record = record.decode()
        return age_ms, bool(known)
