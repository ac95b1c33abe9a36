"""What every key store keeps: names unique among the living, revocation for good, a version that tells of changes."""

from dataclasses import replace

import pytest

from penstock.errors import StoreError
from penstock.ports.keys import KeyRecord
from penstock.ports.stores import Stores
from tests.contract.stores.conftest import Reopen

FULL = KeyRecord(
    id="key_1", name="ci", digest="d1", prefix="psk-abc", created_at=100.0, expires_at=200.0, team="search",
    models=("flash", "pro"), rpm=60, tpm=1000, concurrency=4,
)  # fmt: skip
PLAIN = KeyRecord(id="key_2", name="app", digest="d2", prefix="psk-xyz", created_at=101.0)


async def test_keys_are_listed_as_added_oldest_first(stores: Stores) -> None:
    """Every field survives."""
    await stores.keys.add(PLAIN)
    await stores.keys.add(FULL)
    assert await stores.keys.list() == [FULL, PLAIN]


async def test_a_live_name_is_taken(stores: Stores) -> None:
    """A name is free again once its key is revoked, or has expired."""
    await stores.keys.add(FULL)
    with pytest.raises(StoreError, match="'ci'"):
        await stores.keys.add(replace(PLAIN, name="ci"))
    await stores.keys.add(replace(PLAIN, name="ci", created_at=200.0))
    await stores.keys.revoke("key_2", 300.0)
    await stores.keys.add(replace(PLAIN, id="key_3", digest="d3", name="ci", created_at=300.0))
    assert [record.revoked_at for record in await stores.keys.list()] == [None, 300.0, None]


@pytest.mark.parametrize("name_or_id", ["app", "key_2"])
async def test_a_key_is_revoked_once_by_name_or_id(stores: Stores, name_or_id: str) -> None:
    """The revoked key is returned; a second time there is none to revoke."""
    await stores.keys.add(PLAIN)
    assert await stores.keys.revoke(name_or_id, 500.0) == replace(PLAIN, revoked_at=500.0)
    assert await stores.keys.revoke(name_or_id, 501.0) is None
    assert await stores.keys.list() == [replace(PLAIN, revoked_at=500.0)]


async def test_an_id_goes_before_a_name(stores: Stores) -> None:
    """A key named like another's id is not revoked in its place."""
    await stores.keys.add(replace(PLAIN, name="key_1"))
    await stores.keys.add(FULL)
    revoked = await stores.keys.revoke("key_1", 150.0)
    assert revoked is not None
    assert revoked.id == "key_1"


async def test_nothing_is_revoked_where_nothing_lives(stores: Stores) -> None:
    """Unknown and expired keys are not revoked."""
    await stores.keys.add(FULL)
    assert await stores.keys.revoke("nobody", 150.0) is None
    assert await stores.keys.revoke("ci", 200.0) is None


async def test_the_version_changes_with_every_write_only(stores: Stores) -> None:
    """Adding and revoking change it; listing, failing and revoking nobody do not."""
    seen = [await stores.keys.version()]
    await stores.keys.add(PLAIN)
    seen.append(await stores.keys.version())
    with pytest.raises(StoreError):
        await stores.keys.add(replace(PLAIN, id="key_3"))
    await stores.keys.revoke("nobody", 500.0)
    await stores.keys.list()
    assert await stores.keys.version() == seen[-1]
    await stores.keys.revoke("app", 500.0)
    seen.append(await stores.keys.version())
    assert len(set(seen)) == 3


async def test_keys_survive_a_restart(reopen: Reopen) -> None:
    """So does the version."""
    stores = await reopen()
    await stores.keys.add(FULL)
    version = await stores.keys.version()
    stores = await reopen()
    assert await stores.keys.list() == [FULL]
    assert await stores.keys.version() == version
