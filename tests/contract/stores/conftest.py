"""One suite, every store: a fixture per test opens one, and can open it again."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from penstock.clock import SystemClock
from penstock.core.records import LedgerRow
from penstock.ports.stores import Stores
from penstock.stores.open import open_stores
from tests.support.postgres_server import database_of

MAX_ANSWER_BYTES = 1 << 20

POSTGRES = "postgresql:"
"""The URL of a database for each directory."""

ALL = ["memory:", "sqlite:here/store.db", POSTGRES]


async def opened(url: str, directory: Path, lost: list[tuple[Sequence[LedgerRow], str]]) -> Stores:
    """The stores of ``url``; ``lost`` gets what they give up."""
    return await open_stores(
        database_of(directory) if url == POSTGRES else url,
        directory,
        max_answer_bytes=MAX_ANSWER_BYTES,
        sync="normal",
        on_lost=lambda rows, reason: lost.append((rows, reason)),
        clock=SystemClock(),
    )


@pytest.fixture(params=ALL)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """A fresh store of each kind."""
    lost: list[tuple[Sequence[LedgerRow], str]] = []
    made = await opened(request.param, tmp_path, lost)
    yield made
    await made.close()
    assert not lost


class Reopen:
    """A store on disk that is opened again and again: each time the next start of the process."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "store.db"
        self.lost: list[tuple[Sequence[LedgerRow], str]] = []
        self._current: Stores | None = None

    async def __call__(self) -> Stores:
        """Close it if it is open, and open it."""
        await self.close()
        self._current = await opened("sqlite:store.db", self.path.parent, self.lost)
        return self._current

    async def close(self) -> None:
        """The end of the process."""
        if self._current is not None:
            await self._current.close()
            self._current = None


@pytest.fixture
async def reopen(tmp_path: Path) -> AsyncIterator[Reopen]:
    """A store on disk, not yet open."""
    made = Reopen(tmp_path)
    yield made
    await made.close()
