"""Who connects is let in, however long the turns of the loop are."""

import asyncio
import contextlib
import socket

import uvloop

from penstock.clock import SystemClock
from penstock.config.settings import Address
from penstock.server.listener import DOORS, Listener, bind
from tests.support.tiny_app import TinyApp

CROWD = 8 * DOORS


async def turns_to_let_in() -> int:
    """Turns of the loop until a crowd that has connected meanwhile is in."""
    listener = await Listener(TinyApp(), bind(Address("127.0.0.1", 0)), clock=SystemClock()).start()
    with contextlib.ExitStack() as stack:
        for _ in range(CROWD):
            stack.enter_context(socket.create_connection(("127.0.0.1", listener.address.port)))
        turns = 0
        while listener.connections < CROWD and turns < 2 * CROWD:
            await asyncio.sleep(0)
            turns += 1
    await listener.drain(1.0)
    return turns


def test_a_turn_lets_many_in() -> None:
    """On the loop that serves, which would let in one."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(turns_to_let_in()) <= CROWD // 2
