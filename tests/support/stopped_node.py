"""A node that is stopped under load and goes on: its requests wait meanwhile, its lease does not."""

import asyncio
import signal
from collections.abc import Sequence
from typing import Any, Final

from tests.support.many_nodes import BUSY, MODELS, House, Load, Node, Said

USERS: Final = 6
_AT_ONCE: Final = 40


def question(number: int) -> dict[str, Any]:
    """Users and models in turn."""
    fields = {"max_tokens": 4, "user": f"user-{number % USERS}"}
    return {"model": MODELS[number // USERS % len(MODELS)], "fields": fields, "gap_ms": 40}


async def stop_one(
    house: House, nodes: Sequence[Node], *, rate: float, before_s: float, stopped_s: float, after_s: float
) -> list[Said]:
    """Load on all of them; the first is stopped for that long. All that was said."""
    async with Load(house, nodes, rate=rate, questions=question) as load:
        await asyncio.sleep(before_s)
        nodes[0].signal(signal.SIGSTOP)
        await asyncio.sleep(stopped_s)
        nodes[0].signal(signal.SIGCONT)
        await asyncio.sleep(after_s)
    return load.said


async def serve_out(house: House, nodes: Sequence[Node]) -> list[Said]:
    """Ask until nobody is served any more, nor told to come again: there is nobody to lend for a moment."""
    said: list[Said] = []
    while True:
        found = await house.ask_all(_AT_ONCE, nodes)
        said += found
        if not any(each.told.status in {200, BUSY} for each in found):
            return said
