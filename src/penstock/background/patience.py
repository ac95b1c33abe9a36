"""How long a start waits for what nodes share: one answer that is late is no reason to give up.

Who serves refuses whoever asks when an answer is late, for somebody waits. At a start nobody does, and servers are
often started together with what they need. What time does not cure, such as a wrong password, ends a start at once.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from penstock.errors import SharedRefused, SharedUnavailable
from penstock.ports.clock import Clock

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
PAUSE_S: Final = 0.1

T = TypeVar("T")


async def patiently(step: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """What comes of a step of the start, which is taken again for ``PATIENCE_S`` while nobody answers it in time.

    Raises SharedUnavailable after that, SharedRefused and whatever else the step raises at once.
    """
    until, told = clock.monotonic() + PATIENCE_S, False
    while True:
        try:
            return await step()
        except SharedRefused:
            raise
        except SharedUnavailable as error:
            if clock.monotonic() >= until:
                raise
            if not told:
                why = error.detail or error.public
                log.warning("the start waits for what nodes share", extra={"at_most_s": PATIENCE_S, "why": why})
            told = True
        await clock.sleep(PAUSE_S)
