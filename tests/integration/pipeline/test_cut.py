"""The end of the drain's window: what is still under way ends at once, its client is told why, and it is settled."""

import asyncio
from typing import Any

import pytest

from penstock.errors import Draining
from penstock.providers.answers import Answer, events
from penstock.providers.play import SSE, Pause
from tests.support.asgi_client import Asking
from tests.support.house import END_S, House, chat, message, open_house

pytestmark = pytest.mark.looptime(end=END_S)

DRAINING = Draining("the gateway is shutting down")


async def cut(house: House) -> None:
    """What ``server/listener.py`` does to every request that is left."""
    for asking in house.asked:
        asking.scope["penstock.cut"](DRAINING)
    await house.rest()


def last_event(asking: Asking) -> Any:
    """What the last event of a stream says."""
    return asking.chunks[-1]["error"]


@pytest.mark.parametrize("model", ["m", "stopping"])
@pytest.mark.parametrize("body", [chat(stream=True), message(stream=True)])
async def test_a_stream_ends_with_an_error_of_its_dialect(body: dict[str, Any], model: str) -> None:
    """Whatever its provider does behind our back; what came is charged, and the rows say what ended it."""
    async with open_house() as house:
        house.upstream.stream(["a", "b", "c"], gap_s=1)
        asking = house.ask({**body, "model": model})
        await asking.begun(2)
        await cut(house)
        assert last_event(asking)["message"] == DRAINING.public
        assert asking.complete
        (exchange,), (attempt,) = house.exchanges, house.attempts
        assert (exchange.outcome, exchange.status) == ("draining", 503)
        assert attempt.estimated
        assert attempt.charged_nano
        assert house.upstream.calls[0].ended == "left"


async def test_a_request_that_still_waits_gets_a_503() -> None:
    """With when to come back."""
    async with open_house() as house:
        house.upstream.hang()
        asking = house.ask(chat())
        await asyncio.sleep(1)
        await cut(house)
        assert (asking.status, asking.error["code"], asking.headers["retry-after"]) == (503, "draining", "1")
        assert house.exchanges[0].outcome == "draining"


async def test_a_stream_of_keep_alives_gets_the_error_too() -> None:
    """Its headers are sent, its answer has not begun."""
    async with open_house() as house:
        house.upstream.hang()
        asking = house.ask(chat(stream=True))
        await asyncio.sleep(20)
        await cut(house)
        assert asking.body.startswith(b": keep-alive")
        assert last_event(asking)["code"] == "draining"


async def test_a_body_that_still_arrives_is_not_waited_for() -> None:
    """The connection closes behind the 503."""
    async with open_house() as house:
        asking = house.ask([b'{"model": ', b'"m"}'])
        asking.hold(100)
        await asyncio.sleep(1)
        await cut(house)
        assert (asking.status, asking.headers["connection"]) == (503, "close")


async def test_all_who_share_a_call_are_told() -> None:
    """None of them takes it over."""
    async with open_house() as house:
        house.upstream.stream(["a", "b", "c"], gap_s=1)
        asked = [house.ask(chat(stream=True)) for _ in range(3)]
        for asking in asked:
            await asking.begun()
        await cut(house)
        assert [last_event(asking)["code"] for asking in asked] == ["draining"] * 3
        assert {row.outcome for row in house.exchanges} == {"draining"}
        assert len(house.upstream.calls) == 1


async def test_nothing_follows_the_end_of_a_stream() -> None:
    """Though we still wait for its provider to end the response, so that the connection can serve again."""
    async with open_house() as house:
        house.upstream.raw(*events(Answer(("a",)), "chat", usage=True), Pause(0.5), headers=SSE)
        asking = house.ask(chat(stream=True))
        await asyncio.sleep(0.1)
        await cut(house)
        assert asking.data[-1] == b"[DONE]"
        assert house.exchanges[0].outcome == "ok"
