"""What providers sent is handed on a turn's worth at a time."""

import asyncio
from functools import partial
from itertools import pairwise

import pytest

from penstock.providers.turns import READ_BYTES, SHORT_BYTES, TURN_BYTES, Turns

pytestmark = pytest.mark.looptime

SMALL = 100
LARGE = TURN_BYTES


def turns() -> Turns:
    """On the loop's own time."""
    return Turns(asyncio.get_running_loop().time)


async def test_what_a_turn_takes_is_handed_on_at_once() -> None:
    """Nobody waits while there is little."""
    line, handed = turns(), list[int]()
    for number in range(TURN_BYTES // (READ_BYTES + SMALL)):
        line.take(SMALL, partial(handed.append, number))
    assert len(handed) == TURN_BYTES // (READ_BYTES + SMALL)
    assert line.late_s == 0.0


async def test_between_two_turns_the_loop_looks_at_everything_else() -> None:
    """Five large reads are five turns, in the order in which they came, and others go in between."""
    line, seen = turns(), list[str]()
    for number in range(5):
        line.take(LARGE, partial(seen.append, f"read {number}"))
    assert seen == ["read 0"]
    while len(seen) < 9:
        await asyncio.sleep(0)
        seen.append("other")
    assert [each for each in seen if each != "other"] == [f"read {number}" for number in range(5)]
    assert all("other" in pair for pair in pairwise(seen[1:]))


async def test_small_reads_count_for_what_a_read_costs() -> None:
    """Ten thousand of them are not one turn."""
    line, handed, looks = turns(), list[int](), 0
    for _ in range(10_000):
        line.take(SMALL, lambda: handed.append(1))
    while len(handed) < 10_000:
        before = len(handed)
        await asyncio.sleep(0)
        looks += 1
        assert len(handed) - before <= TURN_BYTES // READ_BYTES + 1
    assert looks > 10_000 * READ_BYTES // TURN_BYTES * 0.9


async def test_a_turn_is_short_while_it_is_said() -> None:
    """From the next on, and long again after it."""
    line, handed = turns(), list[int]()
    per_turn = list[int]()

    async def a_turn() -> None:
        before = len(handed)
        await asyncio.sleep(0)
        per_turn.append(len(handed) - before)

    for number in range(400):
        line.take(SMALL, partial(handed.append, number))
    line.shorten(short=True)
    await a_turn()
    line.shorten(short=False)
    await a_turn()
    assert per_turn == [SHORT_BYTES // (READ_BYTES + SMALL) + 1, TURN_BYTES // (READ_BYTES + SMALL) + 1]


async def test_what_comes_meanwhile_stands_behind_those_who_wait() -> None:
    """First come, first served, however small it is."""
    line, handed = turns(), list[str]()
    for name in ("a", "b", "c"):
        line.take(LARGE, partial(handed.append, name))
    await asyncio.sleep(0)
    line.take(SMALL, lambda: handed.append("d"))
    await asyncio.sleep(0.01)
    assert handed == ["a", "b", "c", "d"]


async def test_it_says_how_late_it_is() -> None:
    """By who is next."""
    now = [10.0]
    line = Turns(lambda: now[0])
    for _ in range(3):
        line.take(LARGE, lambda: None)
    now[0] = 12.5
    assert line.late_s == 2.5
    for _ in range(3):
        await asyncio.sleep(0)
    assert line.late_s == 0.0
