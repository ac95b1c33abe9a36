"""These tests run real sockets on the loop that serves in production."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def both_loops(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """The factory of either loop."""
    factory: Callable[[], asyncio.AbstractEventLoop] = request.param
    return factory
