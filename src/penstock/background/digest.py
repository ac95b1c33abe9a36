"""The daily digest, told once a day to each of its bots, whichever of several relays is up.

A note in the store says for which day a bot is taken care of. It is taken for a quarter of an hour before the bot is
told, so that two relays never tell the same; whoever cannot tell gives it back, and whoever dies loses it. A relay that
starts later in the day makes up for it; a day that nobody told of is not told the day after. Told twice only when a bot
took a message and the process died, or its answer was lost, before that was noted.

A store that is away, or whatever else goes wrong here, is logged and tried again: the relay beside it goes on.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from penstock.core.notice import Notice
from penstock.errors import PenstockError
from penstock.ports.clock import Clock
from penstock.ports.notes import DigestNotes

log = logging.getLogger(__name__)

TAKEN_S: Final = 900.0
KEPT_S: Final = 3 * 86_400.0
AGAIN_S: Final = 600.0
"""After a failure, while it is still that day."""


class DailyDigest:
    """The loop."""

    def __init__(
        self,
        clock: Clock,
        notes: Callable[[], AbstractAsyncContextManager[DigestNotes]],
        *,
        zone: ZoneInfo,
        minute: int,
        bots: Sequence[str],
        make: Callable[[float], Awaitable[Notice]],
        tell: Callable[[str, Notice], Awaitable[object]],
        told: set[str] | None = None,
    ) -> None:
        """``notes``: opens them, for as long as it takes to tell. ``minute``: after midnight in ``zone``.

        ``make``: the digest as of then. ``tell``: raises UpstreamError. ``told``: what one before could not note.
        """
        self._clock, self._notes = clock, notes
        self._zone, self._minute, self._bots = zone, minute, bots
        self._make, self._tell = make, tell
        self._told = set[str]() if told is None else told
        """What could not be noted yet."""

    async def run(self) -> None:
        """Tell, day after day, until cancelled."""
        while True:
            wait_s = self.wait_s(self._clock.now())
            if wait_s <= 0:
                wait_s = AGAIN_S if not await self.tell_all() else self._until_tomorrow_s(self._clock.now())
            await self._clock.sleep(wait_s)

    def wait_s(self, now: float) -> float:
        """Until today's may be told; 0 or less = now."""
        return self._due(now, days=0) - now

    async def tell_all(self) -> bool:
        """Tell whom nobody has told today; False when somebody has still to be told."""
        now = self._clock.now()
        try:
            async with self._notes() as notes:  # first: where there is no store yet, it is made
                notice = await self._make(now)
                done = [await self._tell_one(notes, bot, notice) for bot in self._bots]
        except PenstockError as error:
            log.error("the daily digest could not be made", extra={"why": error.public, "detail": error.detail})  # noqa: TRY400 - the message says all
            return False
        except Exception:
            log.exception("the daily digest could not be made")
            return False
        return all(done)

    async def _tell_one(self, notes: DigestNotes, bot: str, notice: Notice) -> bool:
        """Whether nothing is left to do."""
        now = self._clock.now()
        note = f"{datetime.fromtimestamp(now, self._zone).date().isoformat()} {bot}"
        if note not in self._told:
            state = await notes.take(note, now, now + TAKEN_S)
            if state != "taken":
                return state == "told"
            try:
                await self._tell(bot, notice)
            except PenstockError as error:
                log.error("a bot was not told the daily digest", extra={"bot": bot, "why": error.public})  # noqa: TRY400 - the message says all
                await notes.give_back(note)
                return False
            self._told.add(note)
        await notes.told(note, now + KEPT_S)
        self._told.discard(note)
        return True

    def _until_tomorrow_s(self, now: float) -> float:
        return max(self._due(now, days=1) - now, 1.0)

    def _due(self, now: float, days: int) -> float:
        day = datetime.fromtimestamp(now, self._zone).date() + timedelta(days=days)
        hour, minute = divmod(self._minute, 60)
        return datetime(day.year, day.month, day.day, hour, minute, tzinfo=self._zone).timestamp()
