"""What every result store keeps: the first result under (tenant, key), until its time."""

from dataclasses import replace

from penstock.ports.results import StoredResult
from penstock.ports.stores import Stores
from penstock.stores.results import MAX_BYTES, OVERHEAD_BYTES
from tests.contract.stores.conftest import Reopen

NOW = 4_000_000_000.0

RESULT = StoredResult(
    body_digest=b"\x00\xff" * 16, status=200, headers={"content-type": "text/event-stream"}, body=b"data: 1\n\n",
    exchange_id="ex_1", expires_at=NOW + 60,
)  # fmt: skip


async def test_a_result_is_there_at_once_for_its_tenant_only(stores: Stores) -> None:
    """Every field survives; another tenant's same key is another result."""
    stores.results.put("key_1", "abc", RESULT)
    stores.results.put("key_2", "abc", replace(RESULT, status=201))
    assert await stores.results.get("key_1", "abc", NOW) == RESULT
    assert await stores.results.get("key_2", "abc", NOW) == replace(RESULT, status=201)
    assert await stores.results.get("key_1", "abd", NOW) is None


async def test_a_result_ends_at_its_time(stores: Stores) -> None:
    """At its end it is gone, swept or not."""
    stores.results.put("key_1", "abc", RESULT)
    assert await stores.results.get("key_1", "abc", NOW + 60) is None
    await stores.sweep(NOW + 60)
    assert await stores.results.get("key_1", "abc", NOW) is None


async def test_results_survive_a_restart_and_the_bound_in_memory(reopen: Reopen) -> None:
    """More than memory holds is read from the disk, in this process and the next."""
    stores = await reopen()
    large = replace(RESULT, body=b"x" * (MAX_BYTES // 2 - OVERHEAD_BYTES))
    for number in range(3):
        stores.results.put("key_1", str(number), large)
        await stores.keys.revoke("nobody", NOW)  # a turn of the writer: the body is on disk
    assert [await stores.results.get("key_1", str(number), NOW) for number in range(3)] == [large] * 3
    stores = await reopen()
    assert [await stores.results.get("key_1", str(number), NOW) for number in range(3)] == [large] * 3


async def test_swept_results_stay_away(reopen: Reopen) -> None:
    """What is swept is gone from the disk too."""
    stores = await reopen()
    stores.results.put("key_1", "abc", RESULT)
    await stores.sweep(NOW + 60)
    stores = await reopen()
    assert await stores.results.get("key_1", "abc", NOW) is None
