"""What a successor need not learn again: what keys took of their rates, who is out, and which firsts still run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from penstock.core.usage import Usage
from penstock.pipeline.known import Known
from penstock.providers.play import Pause
from tests.support.house import END_S, PRICES, House, chat, open_house

pytestmark = pytest.mark.looptime(end=END_S)

UNCACHED: dict[str, Any] = {"cache": {"exact": {"ttl": "0s"}, "join": False}}
ONE_TRY: dict[str, Any] = {"retry": {"attempts": 1}}


@asynccontextmanager
async def successor(house: House, **config: Any) -> AsyncIterator[House]:
    """A house that goes on where ``house`` is, with its keys."""
    async with open_house(**config) as new:
        for record in await house.gateway.stores.keys.list():
            await new.gateway.stores.keys.add(record)
        await new.gateway.refresh_keys(always=True)
        wire = msgspec.msgpack.encode(house.gateway.known())
        new.gateway.inherit(msgspec.msgpack.decode(wire, type=Known))
        yield new


async def test_a_restart_doubles_no_rate() -> None:
    """What a key took in the last minute counts at the successor too, and no longer than that."""
    async with open_house(**UNCACHED) as house:
        key = await house.add_key("a", rpm=3)
        for _ in range(2):
            assert (await house.answer(chat(), key=key)).status == 200
        await asyncio.sleep(20)
        async with successor(house, **UNCACHED) as new:
            assert [(await new.answer(chat(), key=key)).status for _ in range(2)] == [200, 429]
            await asyncio.sleep(41)
            assert [(await new.answer(chat(), key=key)).status for _ in range(3)] == [200, 200, 429]


async def test_tokens_per_minute_go_over_too() -> None:
    """As they were corrected by what was really used."""
    async with open_house(**UNCACHED) as house:
        key = await house.add_key("a", tpm=1000)
        house.upstream.reply("x", usage=Usage(input_miss=900, output=100))
        await house.answer(chat(), key=key)
        async with successor(house, **UNCACHED) as new:
            assert (await new.answer(chat(), key=key)).status == 429


async def test_who_is_out_stays_out() -> None:
    """A dead deployment is not asked again before its time, and then by one request."""
    async with open_house(**UNCACHED, **ONE_TRY) as house:
        house.upstream.at("one").fail(503).forever()
        for _ in range(4):
            await house.answer(chat(model="duo"))
        async with successor(house, **UNCACHED, **ONE_TRY) as new:
            new.upstream.at("one").fail(503).forever()
            assert [(await new.answer(chat(model="duo"))).status for _ in range(5)] == [200] * 5
            assert {row.deployment for row in new.attempts} == {"two/m-2"}
            await asyncio.sleep(1)
            assert [(await new.answer(chat(model="duo"))).status for _ in range(5)] == [503, *[200] * 4]


async def test_an_account_that_was_refused_is_asked_again_with_other_credentials_only() -> None:
    """A restart is how a new key may come."""
    provider = {"kind": "scripted", "prices": PRICES, "after_disconnect": "completes"}
    models = {"m": {"deployments": [{"provider": "one", "model": "m-1"}]}}
    config = {**UNCACHED, **ONE_TRY, "models": models}
    async with open_house(**config, providers={"one": {**provider, "api_key": "sk-old"}}) as house:
        house.upstream.fail(401)
        await house.answer(chat())
        async with successor(house, **config, providers={"one": {**provider, "api_key": "sk-old"}}) as new:
            assert (await new.answer(chat())).status == 503
            assert new.upstream.calls == []
        async with successor(house, **config, providers={"one": {**provider, "api_key": "sk-new"}}) as new:
            assert (await new.answer(chat())).status == 200


async def test_an_account_at_its_calls_at_once_is_not_asked_for_as_many_again() -> None:
    """What its 429s have taught binds the successor."""
    async with open_house(**UNCACHED, **ONE_TRY) as house:
        house.upstream.reply("late", after_s=5).times(9).fail(429)
        askings = [house.ask(chat()) for _ in range(10)]
        await asyncio.sleep(1)
        async with successor(house, **UNCACHED, **ONE_TRY) as new:
            new.upstream.reply("late", after_s=1).forever()
            mine = [new.ask(chat()) for _ in range(12)]
            await asyncio.sleep(0.5)
            assert new.upstream.open == 9
            assert {(await asking.done()).status for asking in mine} == {200}
        assert [(await asking.done()).status for asking in askings].count(200) == 9


@pytest.mark.parametrize("fails", [False, True])
async def test_a_repeat_of_what_the_predecessor_still_answers(fails: bool) -> None:  # noqa: FBT001 - a parameter
    """It waits for the first; only when that comes to nothing it makes a call of its own."""
    once = {"idempotency-key": "order-7"}
    async with open_house(**UNCACHED, **ONE_TRY) as house:
        house.upstream.raw(Pause(5), b"") if fails else house.upstream.reply("first", after_s=5)
        first = house.ask(chat(), headers=once)
        await asyncio.sleep(1)
        ((name, running),) = house.gateway.standing.firsts.items()
        async with successor(house, **UNCACHED) as new:
            running.result.add_done_callback(lambda done: new.gateway.end_first(name, done.result()))
            repeat, other = new.ask(chat(), headers=once), new.ask(chat("other"), headers=once)
            assert (await other.done()).status == 422
            await asyncio.sleep(1)
            assert not repeat.task.done()
            await repeat.done()
            await first.done()
            assert len(new.upstream.calls) == (1 if fails else 0)
            assert fails or repeat.body == first.body
            assert repeat.status == 200
