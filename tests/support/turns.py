"""Tests run beside each other, but for those that hold something to the clock: these have the machine to themselves.

A test takes its turn from a lock that all workers of a run share: others beside it, one marked ``alone`` by itself.
One that waits to be alone holds the door as well, so that no more go in before it.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_LONGEST: Final = ("e2e", "security", "chaos", "contract", "integration", "fuzz", "property")
"""The directories whose files take long, which come first: what is short fills the end."""


class Turns:
    """Of one worker."""

    def __init__(self, run: str) -> None:
        """``run``: a name that its workers have in common."""
        self._paths = [Path(tempfile.gettempdir(), f"penstock-{run}-{each}") for each in ("door", "room")]
        self._door, self._room = (os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for path in self._paths)

    @contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Entered when a test may run."""
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        fcntl.flock(self._door, how)
        fcntl.flock(self._room, how)
        if not alone:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def end(self) -> None:
        """Of the worker; others go on with the files that they have open."""
        for path, file in zip(self._paths, (self._door, self._room), strict=True):
            path.unlink(missing_ok=True)
            os.close(file)


def is_alone(item: pytest.Item) -> bool:
    """Whether it is marked so."""
    return item.get_closest_marker("alone") is not None


def longest_first(items: list[pytest.Item]) -> None:
    """Put those that run alone last: nobody waits for them then."""

    def place(item: pytest.Item) -> tuple[bool, int]:
        room = item.path.relative_to(item.config.rootpath / "tests").parts[0]
        return is_alone(item), _LONGEST.index(room) if room in _LONGEST else len(_LONGEST)

    items.sort(key=place)
