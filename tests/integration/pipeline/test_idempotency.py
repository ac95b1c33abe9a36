"""The same Idempotency-Key twice: one charge, the first result, whoever waits and however it is told."""

import asyncio
from typing import Any

import pytest

from penstock.providers.play import Pause
from tests.support.asgi_client import Asking
from tests.support.house import END_S, House, chat, message, open_house

pytestmark = pytest.mark.looptime(end=END_S)

UNCACHED: dict[str, Any] = {"cache": {"exact": {"ttl": "0s"}, "join": False}}
ONCE = {"idempotency-key": "order-7"}


def begun(house: House, text: str = "hi", *, key: str = "", **fields: Any) -> Asking:
    """A request under the key of ``ONCE``."""
    return house.ask(chat(text, **fields), headers=ONCE, key=key)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_gets_the_first_result(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """Byte for byte, in the same form, for 24 h; it is charged once."""
    async with open_house(**UNCACHED) as house:
        house.upstream.stream(["a", "b"], gap_s=1).reply("another")
        first = await begun(house, stream=stream).done()
        await asyncio.sleep(24 * 3600 - 10)
        again = await begun(house, stream=stream).done()
        assert again.body == first.body
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert len(house.upstream.calls) == 1
        assert [row.cost_nano for row in house.exchanges] == [60_000, 0]
        await asyncio.sleep(20)
        assert (await begun(house, stream=stream).done()).text == "another"


@pytest.mark.parametrize("stream", [False, True])
async def test_repeats_at_the_same_time_wait_for_the_first(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """One call for all."""
    async with open_house(**UNCACHED) as house:
        house.upstream.stream(["a"], after_s=3)
        askings = [begun(house, stream=stream) for _ in range(5)]
        await house.rest()
        assert {asking.body for asking in askings} == {askings[0].body}
        assert len(house.upstream.calls) == 1
        assert sum(row.cost_nano or 0 for row in house.exchanges) == 60_000


@pytest.mark.parametrize("wait_s", [0.5, 10])
async def test_another_body_is_refused(wait_s: float) -> None:
    """While the first runs, and afterwards: 422, and the first is not disturbed."""
    async with open_house(**UNCACHED) as house:
        house.upstream.reply(after_s=3)
        first = begun(house)
        await asyncio.sleep(wait_s)
        for asking in (begun(house, "other"), begun(house, temperature=1), begun(house, stream=True)):
            await asking.done()
            assert (asking.status, asking.error["code"]) == (422, "idempotency_mismatch")
        other = await house.answer(message(), headers=ONCE)
        assert other.status == 422
        assert (await first.done()).status == 200
        assert len(house.upstream.calls) == 1


@pytest.mark.parametrize("how", ["error", "break", "cancelled"])
async def test_a_failure_frees_the_key(how: str) -> None:
    """The next request under it is a new one; what waited for the first calls itself."""
    async with open_house(**UNCACHED, retry={"attempts": 1}) as house:
        if how == "error":
            house.upstream.raw(Pause(2), status=500)
        elif how == "break":
            house.upstream.reset(["a", "b"], gap_s=1)
        else:
            house.upstream.stream(["a", "b"], gap_s=1)
        house.upstream.reply("well", after_s=1)
        body: dict[str, Any] = {"stream": True, "model": "stopping"}
        first, waiting = begun(house, **body), begun(house, **body)
        await asyncio.sleep(1.5)
        if how == "cancelled":
            first.task.cancel()
            await asyncio.wait([first.task])
            house.asked.remove(first)
        await house.rest()
        assert waiting.text == "well"
        again = await begun(house, **body).done()
        assert again.headers["idempotent-replayed"] == "true"
        assert len(house.upstream.calls) == 2


async def test_a_waiting_repeat_may_leave() -> None:
    """The first and the other repeats go on."""
    async with open_house(**UNCACHED) as house:
        house.upstream.reply(after_s=3)
        askings = [begun(house) for _ in range(3)]
        await asyncio.sleep(1)
        askings[1].leave()
        await house.rest()
        assert [asking.status for asking in askings] == [200, 0, 200]


async def test_the_first_may_leave_a_completing_call() -> None:
    """It is drained, kept, and there for the repeat: that is what the key is for."""
    async with open_house(**UNCACHED) as house:
        house.upstream.stream(["a", "b"], after_s=1, gap_s=1)
        first = begun(house, stream=True)
        await asyncio.sleep(1.5)
        first.leave()
        await first.done()
        again = await begun(house, stream=True).done()
        assert again.text == "ab"
        assert len(house.upstream.calls) == 1


async def test_the_first_may_leave_a_call_that_would_stop_while_a_repeat_waits() -> None:
    """What was paid for so far is worth keeping as long as anyone wants it; when the last one leaves, it stops."""
    async with open_house(**UNCACHED) as house:
        house.upstream.stream(["a", "b"], gap_s=1).times(2)
        body: dict[str, Any] = {"stream": True, "model": "stopping"}
        first, waiting = begun(house, **body), begun(house, **body)
        await asyncio.sleep(0.5)
        first.leave()
        assert (await waiting.done()).text == "ab"
        assert len(house.upstream.calls) == 1
        others = [house.ask(chat("other", **body), headers={"idempotency-key": "another"}) for _ in range(2)]
        await asyncio.sleep(0.5)
        for asking in others:
            asking.leave()
        await house.rest()
        assert house.upstream.calls[1].ended_at == house.now


async def test_a_beta_is_part_of_what_is_asked() -> None:
    """The same key and body under another ``anthropic-beta`` is another request."""
    async with open_house(**UNCACHED) as house:
        for beta, status in (("one", 200), ("two", 422), ("one", 200)):
            headers = {**ONCE, "anthropic-beta": beta}
            assert (await house.answer(message(), headers=headers)).status == status


async def test_other_tenants_have_keys_of_their_own() -> None:
    """The same word from two of them is two words."""
    async with open_house(**UNCACHED) as house:
        keys = [await house.add_key(name) for name in "ab"]
        house.upstream.reply("for a").reply("for b")
        texts = [(await begun(house, text, key=key).done()).text for text, key in zip("xy", keys, strict=True)]
        assert texts == ["for a", "for b"]


async def test_a_replayed_stream_shows_usage_as_its_asker_wants() -> None:
    """The repeat is the same body, so the same wish: the chunk stays hidden."""
    async with open_house(**UNCACHED) as house:
        for _ in range(2):
            asking = await begun(house, stream=True).done()
            assert all(chunk["choices"] for chunk in asking.chunks)
            assert asking.data[-1] == b"[DONE]"


async def test_a_key_that_is_too_long_is_refused() -> None:
    """255 characters are enough."""
    async with open_house() as house:
        assert (await house.answer(chat(), headers={"idempotency-key": "x" * 256})).status == 400
        assert (await house.answer(chat(), headers={"idempotency-key": "x" * 255})).status == 200
