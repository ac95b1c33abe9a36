"""What every exact cache keeps: bytes for bytes, never another's, never expired, never purged."""

import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace

from penstock.clock import SystemClock
from penstock.core.usage import Usage
from penstock.ports.answers import StoredAnswer
from penstock.ports.stores import Stores
from penstock.stores.answers import size_of
from tests.contract.stores.conftest import MAX_ANSWER_BYTES, Reopen

NOW = 4_000_000_000.0
"""After the machine's own time: what lives now has not expired when a store is opened again."""

ANSWER = StoredAnswer(
    body=b'{"choices": []}', stored_at=NOW, expires_at=NOW + 60, attempt_id="at_1", model="flash", tenant="key_1",
    tags=("env=prod", "feature=search"), deployment="deepseek/flash", usage=Usage(1, 2, 3, 4, 5), estimated=True,
)  # fmt: skip


def key(number: int) -> bytes:
    """A canonical key."""
    return number.to_bytes(32, "big")


async def test_an_answer_is_there_at_once_and_as_given(stores: Stores) -> None:
    """What is put is found without waiting, every field of it; another key is a miss."""
    stores.answers.put(key(1), ANSWER)
    assert await stores.answers.get(key(1), NOW) == ANSWER
    assert await stores.answers.get(key(2), NOW) is None
    assert stores.answers.stats() == (1, size_of(len(ANSWER.body)))


async def test_what_another_node_stored_is_held_in_memory(stores: Stores) -> None:
    """Until its time, or a purge; it takes the place of none that is there."""
    assert stores.answers.held(key(1), NOW) is None
    stores.answers.hold(key(1), ANSWER)
    stores.answers.hold(key(1), replace(ANSWER, body=b"another"))
    assert stores.answers.held(key(1), NOW) == await stores.answers.get(key(1), NOW) == ANSWER
    assert stores.answers.held(key(1), NOW + 60) is None
    stores.answers.put(key(2), ANSWER)
    assert stores.answers.held(key(2), NOW) == ANSWER
    stores.answers.hold(key(3), replace(ANSWER, model="other"))
    assert stores.answers.forget(model="flash", tenant=None, tag=None) >= 1
    assert stores.answers.held(key(2), NOW) is None
    assert stores.answers.held(key(3), NOW) is not None


async def test_an_answer_ends_at_its_time(stores: Stores) -> None:
    """At its end an answer is gone, and swept it takes no room."""
    stores.answers.put(key(1), ANSWER)
    assert await stores.answers.get(key(1), NOW + 59.9) == ANSWER
    assert await stores.answers.get(key(1), NOW + 60) is None
    await stores.sweep(NOW + 60)
    assert stores.answers.stats() == (0, 0)


async def test_a_newer_answer_replaces_the_older(stores: Stores) -> None:
    """One key, one answer."""
    newer = replace(ANSWER, body=b"{}")
    stores.answers.put(key(1), ANSWER)
    stores.answers.put(key(1), newer)
    assert await stores.answers.get(key(1), NOW) == newer
    assert stores.answers.stats() == (1, size_of(2))


async def test_the_bytes_are_bounded(stores: Stores) -> None:
    """The least recently used answers leave; one larger than everything is not kept at all."""
    large = replace(ANSWER, body=b"x" * (MAX_ANSWER_BYTES // 3 - 2048))
    for number in range(3):
        stores.answers.put(key(number), large)
    await stores.answers.get(key(0), NOW)
    stores.answers.put(key(3), large)
    stores.answers.put(key(4), replace(ANSWER, body=b"x" * MAX_ANSWER_BYTES))
    found = [number for number in range(5) if await stores.answers.get(key(number), NOW)]
    assert found == [0, 2, 3]
    assert stores.answers.stats()[1] <= MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ({"model": "flash"}, [2]),
        ({"tenant": "key_2"}, [0, 2]),
        ({"tag": "env=prod"}, [1]),
        ({"model": "flash", "tag": "env=prod"}, [1, 2]),
        ({"tag": "env"}, [0, 1, 2]),
        ({}, []),
    ],
)
async def test_a_purge_forgets_what_matches(stores: Stores, what: dict[str, str], left: list[int]) -> None:
    """By model, tenant, tag, several at once, or everything; the number is told."""
    stores.answers.put(key(0), ANSWER)
    stores.answers.put(key(1), replace(ANSWER, tenant="key_2", tags=()))
    stores.answers.put(key(2), replace(ANSWER, model="pro"))
    assert await stores.answers.purge(**what) == 3 - len(left)
    assert [number for number in range(3) if await stores.answers.get(key(number), NOW)] == left


# --- on disk


async def test_what_was_asked_for_before_a_purge_is_not_stored_after_it(stores: Stores) -> None:
    """The purge was meant for it, too; what is asked for afterwards is stored."""
    asked_at = SystemClock().now() - 5
    assert await stores.answers.purge(model="another") == 0
    stores.answers.put(key(1), ANSWER, asked_at)
    assert await stores.answers.get(key(1), NOW) is None
    stores.answers.put(key(1), ANSWER, SystemClock().now() + 5)
    assert await stores.answers.get(key(1), NOW) is not None


async def test_what_was_asked_for_later_stays(stores: Stores) -> None:
    """A slow answer never replaces the one of a younger request that went round the cache (``no-cache``)."""
    stores.answers.put(key(1), replace(ANSWER, body=b"younger"), 200.0)
    stores.answers.put(key(1), replace(ANSWER, body=b"older"), 100.0)
    held = await stores.answers.get(key(1), NOW)
    assert held is not None
    assert held.body == b"younger"
    stores.answers.put(key(1), replace(ANSWER, body=b"youngest"))
    held = await stores.answers.get(key(1), NOW)
    assert held is not None
    assert held.body == b"youngest"


async def test_answers_survive_a_restart(reopen: Reopen) -> None:
    """The next process finds every field of every answer."""
    (await reopen()).answers.put(key(1), ANSWER)
    stores = await reopen()
    assert stores.answers.stats() == (1, size_of(len(ANSWER.body)))
    assert await stores.answers.get(key(1), NOW) == ANSWER
    assert await stores.answers.get(key(1), NOW) == ANSWER


async def test_replaced_purged_swept_and_evicted_answers_stay_away(reopen: Reopen) -> None:
    """What was forgotten is not there after a restart either, and no row of it."""
    stores = await reopen()
    stores.answers.put(key(1), ANSWER)
    stores.answers.put(key(1), replace(ANSWER, body=b"{}"))
    stores.answers.put(key(2), replace(ANSWER, expires_at=NOW + 1))
    stores.answers.put(key(3), replace(ANSWER, model="pro"))
    await stores.sweep(NOW + 1)
    await stores.answers.purge(model="pro")
    stores = await reopen()
    found = [await stores.answers.get(key(number), NOW) for number in range(4)]
    assert found == [None, replace(ANSWER, body=b"{}"), None, None]
    assert stores.answers.stats()[0] == 1


async def test_a_purge_reaches_answers_of_an_earlier_process(reopen: Reopen) -> None:
    """Entries whose bodies were never fetched are purged by what the index knows of them."""
    (await reopen()).answers.put(key(1), ANSWER)
    stores = await reopen()
    assert await stores.answers.purge(tag="feature=search") == 1
    assert await stores.answers.get(key(1), NOW) is None
    assert (await reopen()).answers.stats() == (0, 0)


async def test_a_put_after_a_purge_stays(reopen: Reopen) -> None:
    """Puts and purges take effect in their order, behind as well as before."""
    stores = await reopen()
    stores.answers.put(key(1), ANSWER)
    purge = stores.answers.purge()
    stores.answers.put(key(2), ANSWER)
    await purge
    stores.answers.put(key(1), ANSWER)
    stores = await reopen()
    assert await stores.answers.get(key(1), NOW) == ANSWER
    assert await stores.answers.get(key(2), NOW) is None


async def test_expired_answers_are_not_read_back(reopen: Reopen) -> None:
    """What ended while no process ran is swept at the start."""
    (await reopen()).answers.put(key(1), replace(ANSWER, expires_at=1.0))
    assert (await reopen()).answers.stats() == (0, 0)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE answers SET body = substr(body, 1, 5)",
        "UPDATE answers SET body = CAST('{\"choices\": {}}' AS BLOB)",
        "UPDATE answers SET tags = 'nonsense'",
        "UPDATE answers SET key = zeroblob(32)",
        "DELETE FROM answers",
    ],
)
async def test_a_damaged_row_is_a_miss(reopen: Reopen, damage: str) -> None:
    """Cut, altered, unreadable, another's, vanished while known: never an error, and gone for good."""
    (await reopen()).answers.put(key(1), ANSWER)
    stores = await reopen()
    with closing(sqlite3.connect(reopen.path)) as connection, connection:
        connection.execute(damage)
    assert await stores.answers.get(key(1), NOW) is None
    assert await stores.answers.get(key(1), NOW) is None
    assert stores.answers.stats() == (0, 0)
    stores = await reopen()
    assert await stores.answers.get(key(1), NOW) is None


async def test_an_unreadable_index_row_is_a_miss(reopen: Reopen) -> None:
    """Damage found at the start costs the entry, not the start."""
    (await reopen()).answers.put(key(1), ANSWER)
    await reopen.close()
    with closing(sqlite3.connect(reopen.path)) as connection, connection:
        connection.execute("UPDATE answers SET tags = 'nonsense'")
    stores = await reopen()
    assert await stores.answers.get(key(1), NOW) is None


async def test_who_hands_over_stores_nothing_more_behind(reopen: Reopen) -> None:
    """What is stored after ``withdraw`` is served, and lost with the process; what was stored before is there."""
    stores = await reopen()
    stores.answers.put(key(1), ANSWER)
    await stores.answers.withdraw()
    stores.answers.put(key(2), ANSWER)
    assert await stores.answers.get(key(2), NOW) == ANSWER
    with closing(sqlite3.connect(reopen.path)) as connection:
        assert connection.execute("SELECT key FROM answers").fetchall() == [(key(1),)]
    stores.answers.resume()
    stores.answers.put(key(3), ANSWER)
    stores = await reopen()
    assert [await stores.answers.get(key(number), NOW) for number in (1, 2, 3)] == [ANSWER, None, ANSWER]


async def test_who_has_handed_over_answers_nothing(stores: Stores) -> None:
    """Its successor may have purged it; without a successor after all it answers again."""
    stores.answers.put(key(1), ANSWER)
    stores.answers.retire()
    stores.answers.put(key(2), ANSWER)
    assert await stores.answers.get(key(1), NOW) is None
    stores.answers.resume()
    assert await stores.answers.get(key(1), NOW) == ANSWER
    assert await stores.answers.get(key(2), NOW) is None
