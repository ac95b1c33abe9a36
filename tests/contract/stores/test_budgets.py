"""What every budget store keeps: the last word on every name, visible to whoever shares the store."""

import pytest

from penstock.errors import StoreError
from penstock.ports.budgets import BudgetRecord
from penstock.ports.stores import Stores
from penstock.stores.open import open_budgets
from tests.contract.stores.conftest import Reopen

TEAM = BudgetRecord("team", {"scope": "team", "limit": "12.50 CNY", "hard": True, "alerts": [0.5, 1.0], "entries": {}})
ALICE = BudgetRecord("alice ü", {"entries": {"alice": "0"}, "ladder": {"stale": 0.8}})
GONE = BudgetRecord("team", {}, removed=True)


async def test_budgets_are_listed_by_name(stores: Stores) -> None:
    """Every field survives."""
    assert await stores.budgets.list() == []
    await stores.budgets.put(TEAM)
    await stores.budgets.put(ALICE)
    assert await stores.budgets.list() == [ALICE, TEAM]


async def test_the_last_word_counts(stores: Stores) -> None:
    """A budget takes the place of what had its name, a removed one too."""
    for record in (TEAM, GONE):
        await stores.budgets.put(record)
        assert await stores.budgets.list() == [record]


async def test_a_record_is_deleted_whole(stores: Stores) -> None:
    """A removal too; the others stay, and what is not there is told from what was."""
    await stores.budgets.put(ALICE)
    for record in (TEAM, GONE):
        await stores.budgets.put(record)
        before = await stores.budgets.version()
        assert await stores.budgets.delete("team")
        assert await stores.budgets.list() == [ALICE]
        deleted = await stores.budgets.version()
        assert deleted != before
        assert not await stores.budgets.delete("team")
        assert await stores.budgets.version() == deleted


async def test_the_version_changes_with_every_write_only(stores: Stores) -> None:
    """Reading does not change it, nor does a key."""
    seen = [await stores.budgets.version()]
    for record in (TEAM, TEAM, GONE):
        await stores.budgets.put(record)
        await stores.budgets.list()
        seen.append(await stores.budgets.version())
    assert len(set(seen)) == 4
    assert await stores.budgets.version() == seen[-1]


async def test_budgets_of_a_command_are_seen_by_the_server(reopen: Reopen) -> None:
    """And the other way round; the version tells."""
    stores = await reopen()
    before = await stores.budgets.version()
    async with open_budgets("sqlite:store.db", reopen.path.parent, write=True) as budgets:
        await budgets.put(TEAM)
    assert await stores.budgets.list() == [TEAM]
    assert await stores.budgets.version() != before
    await stores.budgets.put(GONE)
    async with open_budgets("sqlite:store.db", reopen.path.parent, write=False) as budgets:
        assert await budgets.list() == [GONE]


async def test_budgets_survive_a_restart(reopen: Reopen) -> None:
    """So does the version."""
    stores = await reopen()
    await stores.budgets.put(TEAM)
    version = await stores.budgets.version()
    stores = await reopen()
    assert await stores.budgets.list() == [TEAM]
    assert await stores.budgets.version() == version


async def test_a_command_that_reads_creates_nothing(reopen: Reopen) -> None:
    """No store yet: an error that says so, and no file."""
    async with open_budgets("sqlite:store.db", reopen.path.parent, write=False) as budgets:
        with pytest.raises(StoreError, match="no store at"):
            await budgets.list()


async def test_what_is_no_json_is_refused(reopen: Reopen) -> None:
    """Before anything is written."""
    stores = await reopen()
    with pytest.raises(StoreError, match="cannot be kept"):
        await stores.budgets.put(BudgetRecord("odd", {"limit": object()}))
    assert await stores.budgets.list() == []
