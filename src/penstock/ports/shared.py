"""What the URL of what nodes share opens to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from penstock.ports.crossing import SharedAnswers
from penstock.ports.lending import Rooms, SharedRates


@dataclass(slots=True)
class Shared:
    """What ``stores/open.py`` makes of the URL of what nodes share."""

    rooms: Rooms
    answers: SharedAnswers
    rates: SharedRates
    close: Callable[[], Awaitable[object]]
    """Await it: tells what is to be told, and disconnects."""
    description: str = ""
