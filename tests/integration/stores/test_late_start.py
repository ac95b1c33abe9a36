"""A start over a real Redis that is late, not there yet, or lets nobody in."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from penstock.background.patience import patiently
from penstock.clock import SystemClock, SystemRng, TimeIds
from penstock.errors import SharedRefused
from penstock.ports.shared import Shared
from penstock.stores.open import open_shared
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.redis_server import LOOPBACK, RedisServer, redis_server

pytestmark = pytest.mark.alone

WAITS = "the start waits for what nodes share"
PASSWORD = "sesame"
LATE_S = 0.1
"""Each way; an answer has 50 ms."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """It lets in who knows its password."""
    with redis_server(password=PASSWORD) as started:
        yield started


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    """Before it."""
    with fault_proxy(server.port) as made:
        yield made


async def _start(port: int, password: str = PASSWORD, database: int = 0) -> Shared:
    """The part of a start that opens what nodes share."""
    clock = SystemClock()
    url = f"redis://:{password}@{LOOPBACK}:{port}/{database}"
    opening = partial(open_shared, url, clock=clock, rng=SystemRng(1), ids=TimeIds(clock.now), forget=print)
    return await patiently(opening, clock)


@pytest.mark.parametrize("fault", [{"latency_s": LATE_S}, {"refuse": True}, {"black_hole": True}])
async def test_it_is_waited_for(
    proxy: FaultProxy, fault: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """However it is away: when it is back the start goes on, and has said once why it took so long."""
    proxy.set(**fault)
    starting = asyncio.ensure_future(_start(proxy.port))
    await _until(lambda: WAITS in caplog.text)
    assert not starting.done()
    proxy.heal()
    shared = await starting
    await shared.rooms.server()
    await shared.close()
    await asyncio.sleep(0)  # a connection is closed in the next turn
    assert caplog.text.count(WAITS) == 1


@pytest.mark.parametrize(
    ("password", "database", "said"), [("open", 0, "WRONGPASS"), (PASSWORD, 1000, "DB index is out of range")]
)
async def test_who_is_not_let_in_ends_at_once(
    server: RedisServer, password: str, database: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password, or a database that is not there: nothing is waited for, and what the server says is said."""
    with pytest.raises(SharedRefused) as caught:
        await _start(server.port, password, database)
    assert said in caught.value.detail
    assert WAITS not in caplog.text


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a line of a log
            await asyncio.sleep(0.01)
