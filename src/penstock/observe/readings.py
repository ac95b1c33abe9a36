"""Gauges that are read when somebody scrapes, a few at a time: the loop has requests to serve in between."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from penstock.observe.counts import Labels

AT_ONCE: Final = 25
"""Steps between two turns of the loop: a millisecond, at forty microseconds for what holds of a price list."""

Gauges = Mapping[str, Mapping[Labels, float]]
"""Values by name and labels."""


class Reading(NamedTuple):
    """One value."""

    name: str
    labels: Labels
    value: float


Survey = Callable[[], Iterator[Reading | None]]
"""Each step is a little work, and has a value or None."""


class Readings:
    """Whom to ask."""

    def __init__(self) -> None:
        self._singles: dict[tuple[str, Labels], Callable[[], float]] = {}
        self._mappings: dict[str, Callable[[], Mapping[Labels, float]]] = {}
        self._surveys: dict[str, Survey] = {}

    def watch(self, name: str, labels: Labels, read: Callable[[], float]) -> None:
        """One value."""
        self._singles[name, labels] = read

    def watch_all(self, name: str, read: Callable[[], Mapping[Labels, float]]) -> None:
        """All values of a metric whose labels come and go."""
        self._mappings[name] = read

    def survey(self, of: str, survey: Survey) -> None:
        """Values of several metrics, of many labels. ``of``: whose they are; a second survey of that replaces it."""
        self._surveys[of] = survey

    def now(self, name: str) -> Mapping[Labels, float]:
        """What one metric of ``watch_all`` says."""
        return self._mappings[name]() if name in self._mappings else {}

    async def read(self) -> Gauges:
        """All of them."""
        found: dict[str, dict[Labels, float]] = defaultdict(dict)
        for step, reading in enumerate(self._steps(), 1):
            if reading is not None:
                found[reading.name][reading.labels] = reading.value
            if step % AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    def _steps(self) -> Iterator[Reading | None]:
        for (name, labels), read in tuple(self._singles.items()):
            yield Reading(name, labels, read())
        for name, read_all in tuple(self._mappings.items()):
            for labels, value in read_all().items():
                yield Reading(name, labels, value)
        for survey in tuple(self._surveys.values()):
            yield from survey()
