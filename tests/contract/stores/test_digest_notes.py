"""Notes of digests: who takes one has it alone until then; what was told stays told, for all who share the store."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock.ports.notes import DigestNotes
from penstock.stores.open import open_digest_notes
from tests.contract.stores.conftest import POSTGRES
from tests.support.postgres_server import database_of

NOW = 1_763_800_000.0


@pytest.mark.parametrize("url", ["memory:", "sqlite:store.db", POSTGRES])
async def test_a_note_is_taken_by_one(url: str, tmp_path: Path) -> None:
    """Two processes ask at once: one has it. Given back or past its time another may; told, nobody any more."""
    url = database_of(tmp_path) if url == POSTGRES else url
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(open_digest_notes(url, tmp_path))
        two = one if url == "memory:" else await stack.enter_async_context(open_digest_notes(url, tmp_path))
        both: list[DigestNotes] = [one, two] * 3
        assert sorted(await asyncio.gather(*(each.take("d a", NOW, NOW + 9) for each in both))) == [
            *["busy"] * 5,
            "taken",
        ]
        assert await two.take("d b", NOW, NOW + 9) == "taken"
        await one.give_back("d a")
        assert await two.take("d a", NOW + 1, NOW + 9) == "taken"
        assert await one.take("d a", NOW + 8, NOW + 20) == "busy"
        assert await one.take("d a", NOW + 9, NOW + 20) == "taken"
        await one.told("d a", NOW + 1000)
        await two.give_back("d a")
        assert await two.take("d a", NOW + 999, NOW + 2000) == "told"
        assert await two.take("d a", NOW + 1000, NOW + 2000) == "taken"


async def test_a_note_outlives_the_process(tmp_path: Path) -> None:
    """The store on disk has it."""
    async with open_digest_notes("sqlite:store.db", tmp_path) as notes:
        await notes.take("d a", NOW, NOW + 9)
        await notes.told("d a", NOW + 1000)
    async with open_digest_notes("sqlite:store.db", tmp_path) as notes:
        assert await notes.take("d a", NOW + 9, NOW + 20) == "told"
