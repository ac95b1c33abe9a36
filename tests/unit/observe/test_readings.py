"""Gauges are read a few at a time."""

import asyncio
from collections.abc import Iterator

from penstock.observe.readings import AT_ONCE, Reading, Readings


async def test_the_loop_turns_while_gauges_are_read() -> None:
    """Whether there are many values, or much to look through for one: never more than some steps at once."""
    readings, turns, read_in = Readings(), 0, list[int]()

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(turn)

    def survey() -> Iterator[Reading | None]:
        for step in range(20 * AT_ONCE):
            read_in.append(turns)
            yield None if step % 2 else Reading("depth", (str(step),), step)

    loop = asyncio.get_running_loop()
    loop.call_soon(turn)
    readings.survey("test", survey)
    found = await readings.read()
    assert len(found["depth"]) == 10 * AT_ONCE
    assert max(map(read_in.count, set(read_in))) <= AT_ONCE


async def test_each_way_to_watch_is_read() -> None:
    """One value, all of a metric, several metrics; a later survey of the same replaces the earlier."""
    readings = Readings()
    readings.watch("up", (), lambda: 1)
    readings.watch_all("ratio", lambda: {("all",): 0.5})
    readings.survey("fleet", lambda: iter([Reading("gone", (), 1)]))
    readings.survey("fleet", lambda: iter([Reading("limit", ("a",), 3), None]))
    assert await readings.read() == {"up": {(): 1}, "ratio": {("all",): 0.5}, "limit": {("a",): 3}}
    assert readings.now("ratio") == {("all",): 0.5}
    assert readings.now("up") == {}
