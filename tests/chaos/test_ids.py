"""B07: the ledger's keys are ours: whatever providers and clients call things, every request has a row of its own."""

from typing import Any

import msgspec
import pytest

from penstock.providers.answers import Answer, usage_fields
from penstock.providers.play import Play
from penstock.providers.scripted import ANSWERED, Asked
from tests.support.house import END_S, chat, open_house

pytestmark = pytest.mark.looptime(end=END_S)

REQUESTS = 10_000
AT_ONCE = 500
_encode = msgspec.json.encode
NAMES: tuple[Any, ...] = (None, "", "constant", 0, "missing")


def _named(asked: Asked) -> Play:
    """An answer whose id is the next of ``NAMES``."""
    number = int(asked.json["messages"][0]["content"])
    name = NAMES[number % len(NAMES)]
    body = {
        "object": "chat.completion",
        "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": usage_fields(ANSWERED),
    }
    return Play((_encode(body if name == "missing" else {"id": name, **body}),))


async def test_ten_thousand_nameless_answers_leave_ten_thousand_rows() -> None:
    """Ids null, empty, constant, not even text, and missing; the client's own always the same."""
    async with open_house(limits={"max_concurrency": AT_ONCE, "max_queue": AT_ONCE}) as house:
        house.upstream.call(_named).forever()
        for first in range(0, REQUESTS, AT_ONCE):
            for number in range(first, first + AT_ONCE):
                house.ask(chat(str(number)), headers={"x-request-id": "constant", "x-client-request-id": "constant"})
            await house.rest()
            assert all(asking.status == 200 for asking in house.asked)
            house.asked.clear()
        assert len(house.exchanges) == len({row.id for row in house.exchanges}) == REQUESTS
        assert len(house.attempts) == len({row.id for row in house.attempts}) == REQUESTS
        assert sum(row.charged_nano or 0 for row in house.attempts) == REQUESTS * (10 * 2000 + 5 * 8000)


async def test_streams_too() -> None:
    """The same for streams, whose every chunk carries the id."""
    async with open_house() as house:
        for name in ("", "constant", "constant"):
            house.upstream.stream(Answer().pieces, id=name)
            await house.answer(chat(f"{name}{len(house.asked)}", stream=True))
        assert len({row.id for row in house.attempts}) == 3
