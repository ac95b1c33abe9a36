"""Rates, concurrency, the queue and the ledger's health: refused in time, told when to come back, nothing leaked."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from penstock.clock import LoopClock
from penstock.config.settings import LimitSettings
from penstock.core.loop_limit import FORGOTTEN_S
from penstock.core.usage import Usage
from penstock.pipeline.gate import LEAST, Gate
from tests.support.asgi_client import Asking
from tests.support.house import END_S, House, chat, open_house
from tests.support.metrics_text import samples

pytestmark = pytest.mark.looptime(end=END_S)

NO_SHARING = {"exact": {"ttl": "0s"}, "join": False}


def retry_after(asking: Asking) -> int:
    """The seconds that a refusal tells its client to wait."""
    assert asking.status == 429
    assert asking.error["code"] == "rate_limit_exceeded"
    return int(asking.headers["retry-after"])


def counted(house: House, **labels: str) -> float:
    """``penstock_requests_total`` of these labels."""
    text = house.gateway.metrics.render().decode()
    return samples(text)["penstock_requests_total", tuple(sorted(labels.items()))]


async def change_key(house: House, name: str, **fields: int | None) -> None:
    """Change a key's limits, as a reload of the key store would."""
    record = next(record for record in await house.gateway.stores.keys.list() if record.name == name)
    house.gateway.keyring.load([replace(record, **fields)], house.gateway.keyring.version)  # type: ignore[arg-type] # limits only


async def test_requests_per_minute() -> None:
    """The limit and not one more; what is told to wait is let in then, and not a second before."""
    async with open_house() as house:
        key = await house.add_key("k", rpm=3)
        assert [(await house.answer(chat(str(n)), key=key)).status for n in range(3)] == [200] * 3
        wait_s = retry_after(await house.answer(chat("3"), key=key))
        assert 0 < wait_s <= 120
        assert len(house.upstream.calls) == 3
        await asyncio.sleep(wait_s - 1.001)
        retry_after(await house.answer(chat("3"), key=key))
        await asyncio.sleep(1.001)
        assert (await house.answer(chat("3"), key=key)).status == 200


async def test_a_hit_counts_as_a_request() -> None:
    """It still costs us work."""
    async with open_house() as house:
        key = await house.add_key("k", rpm=2)
        assert [(await house.answer(chat(), key=key)).status for _ in range(3)] == [200, 200, 429]


async def test_other_keys_are_not_held() -> None:
    """A limit is a key's own."""
    async with open_house() as house:
        full, free = await house.add_key("full", rpm=1), await house.add_key("free")
        statuses = [
            (await house.answer(chat(str(n)), key=key)).status for n, key in enumerate([full, full, free, free])
        ]
        assert statuses == [200, 429, 200, 200]


async def test_tokens_per_minute_count_what_was_really_used() -> None:
    """An estimate on the way in, the provider's count on the way out; a hit gives its estimate back."""
    async with open_house() as house:
        key = await house.add_key("k", tpm=1000)
        house.upstream.reply(usage=Usage(input_miss=700, output=200)).reply(usage=Usage(input_miss=1, output=99))
        for _ in range(20):
            assert (await house.answer(chat("first"), key=key)).status == 200
        assert (await house.answer(chat("second"), key=key)).status == 200
        assert retry_after(await house.answer(chat("third"), key=key)) > 1
        assert len(house.upstream.calls) == 2


async def test_a_request_above_the_whole_limit_waits_for_an_empty_minute() -> None:
    """It is not refused for ever."""
    async with open_house() as house:
        key = await house.add_key("k", tpm=10)
        assert (await house.answer(chat("x" * 1000), key=key)).status == 200
        wait_s = retry_after(await house.answer(chat("y" * 1000), key=key))
        await asyncio.sleep(wait_s)
        assert (await house.answer(chat("y" * 1000), key=key)).status == 200


async def test_concurrency_per_key() -> None:
    """So many at once; a slot is free as soon as one is through, whatever ended it."""
    async with open_house(cache=NO_SHARING) as house:
        key = await house.add_key("k", concurrency=2)
        house.upstream.stream(["a"] * 9, after_s=5, gap_s=1).forever()
        held = [house.ask(chat(str(n), model="stopping", stream=True), key=key) for n in range(2)]
        await asyncio.sleep(1)
        assert retry_after(await house.answer(chat("2"), key=key)) == 1
        held[0].leave()
        await asyncio.sleep(0)
        third = house.ask(chat("3", model="stopping", stream=True), key=key)
        await asyncio.sleep(6)
        assert third.status == 200
        for asking in (held[1], third):
            asking.leave()


async def test_a_change_of_limits_keeps_what_is_in_flight() -> None:
    """A slot taken under the old limits is given back under the new ones."""
    async with open_house(cache=NO_SHARING) as house:
        key = await house.add_key("k", concurrency=1, rpm=50)
        house.upstream.reply(after_s=5).forever()
        house.ask(chat("0"), key=key)
        await asyncio.sleep(1)
        await change_key(house, "k", rpm=60)
        assert (await house.answer(chat("1"), key=key)).status == 429
        await house.rest()
        assert (await house.answer(chat("2"), key=key)).status == 200
        assert (await house.answer(chat("3"), key=key)).status == 200


async def test_a_request_that_found_no_room_takes_nothing_from_its_key() -> None:
    """Neither tokens nor a place: shed load must not use up a key."""
    limits = {"max_concurrency": 1, "max_queue": 0}
    async with open_house(cache=NO_SHARING, limits=limits) as house:
        key = await house.add_key("k", tpm=100, concurrency=2)
        house.upstream.reply(after_s=5, usage=Usage(input_miss=1)).forever()
        house.ask(chat("hold"), key=await house.add_key("other"))
        await asyncio.sleep(1)
        shed = [await house.answer(chat("x" * 200), key=key) for _ in range(5)]
        assert {asking.status for asking in shed} == {503}
        await house.rest()
        assert (await house.answer(chat("x" * 200), key=key)).status == 200


async def test_a_reload_forgets_nothing_of_a_key() -> None:
    """Neither what it took in the last minute nor what it has in flight."""
    async with open_house(cache=NO_SHARING) as house:
        quick, busy = await house.add_key("quick", rpm=1), await house.add_key("busy", concurrency=1)
        house.upstream.reply(after_s=5)
        house.ask(chat("0"), key=busy)
        assert (await house.answer(chat("1"), key=quick)).status == 200
        await house.gateway.adopt(house.gateway.settings)
        assert (await house.answer(chat("2"), key=quick)).status == 429
        assert (await house.answer(chat("3"), key=busy)).status == 429


# --- the gateway's own slots


async def test_the_queue_is_first_come_first_served() -> None:
    """One at a time, in the order in which they came."""
    async with open_house(cache=NO_SHARING, limits={"max_concurrency": 1, "max_queue": 10}) as house:
        house.upstream.reply(after_s=1).forever()
        for number in range(5):
            house.ask(chat(str(number)))
        await house.rest()
        assert [call.json["messages"][0]["content"] for call in house.upstream.calls] == list("01234")
        assert [call.at for call in house.upstream.calls] == [0, 1, 2, 3, 4]


async def test_beyond_the_queue_load_is_shed() -> None:
    """At once, with 503 and when to come back; those who wait are served."""
    async with open_house(cache=NO_SHARING, limits={"max_concurrency": 2, "max_queue": 3}) as house:
        house.upstream.reply(after_s=1).forever()
        askings = [house.ask(chat(str(number))) for number in range(8)]
        await house.rest()
        assert [asking.status for asking in askings] == [200] * 5 + [503] * 3
        assert [asking.error["code"] for asking in askings[5:]] == ["saturated"] * 3
        assert askings[5].headers["retry-after"] == "1"
        assert house.gateway.standing.gate.shed == {"queue_full": 3}


async def test_who_leaves_the_queue_makes_room() -> None:
    """In the middle, at its head, and in the very moment when its turn comes."""
    async with open_house(cache=NO_SHARING, limits={"max_concurrency": 1, "max_queue": 5}) as house:
        house.upstream.reply(after_s=1).forever()
        askings = [house.ask(chat(str(number))) for number in range(6)]
        await asyncio.sleep(0.5)
        askings[3].leave()
        askings[1].leave()
        await asyncio.sleep(0.5)
        askings[2].leave()
        await house.rest()
        assert [asking.status for asking in askings] == [200, 0, 0, 0, 200, 200]
        assert house.now <= 4


@pytest.mark.parametrize("first", ["leave", "cancel"])
async def test_a_turn_that_comes_while_its_waiter_leaves_is_passed_on(first: str) -> None:
    """Both in one turn of the loop, in either order: the slot is neither lost nor given twice."""
    gate = Gate(LoopClock(0.0), LimitSettings(max_body=1, max_concurrency=1, max_queue=5))
    await gate.enter("k", batch=False)
    waiting = [asyncio.ensure_future(gate.enter("k", batch=False)) for _ in range(3)]
    await asyncio.sleep(0)
    steps: list[Callable[[], object]] = [gate.leave, waiting[0].cancel]
    for step in steps if first == "leave" else reversed(steps):
        step()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]
    assert waiting[0].cancelled()
    await waiting[1]
    assert (gate.active, gate.waiting) == (1, 1)
    gate.leave()
    await waiting[2]
    gate.leave()
    assert (gate.active, gate.waiting) == (0, 0)


class Late:
    """What providers sent, as late as a test says."""

    late_s = 0.0
    short = False

    def shorten(self, *, short: bool) -> None:
        """Note it."""
        self.short = short


async def test_what_waits_to_be_handed_on_counts_as_late() -> None:
    """A loop that hands on in pieces what providers send is given less all the same, and smaller pieces meanwhile."""
    incoming = Late()
    gate = Gate(LoopClock(0.0), LimitSettings(max_body=1, max_concurrency=100, max_queue=5), incoming)
    for _ in range(50):
        await gate.enter("k", batch=False)
    await asyncio.sleep(1.0)
    assert (gate.limit, incoming.short) == (100, False)
    incoming.late_s = 0.1
    await asyncio.sleep(1.0)
    assert (gate.limit, incoming.short) == (LEAST, True)
    incoming.late_s = 0.0
    await asyncio.sleep(FORGOTTEN_S + 0.5)
    assert (gate.limit, incoming.short) == (100, False)
    for _ in range(50):
        gate.leave()


async def test_no_limit_of_its_own_is_no_reason_for_small_pieces() -> None:
    """Where a reload says so while nothing is under way."""
    incoming, limits = Late(), LimitSettings(max_body=1, max_concurrency=100, max_queue=5)
    gate = Gate(LoopClock(0.0), limits, incoming)
    incoming.late_s = 0.1
    for _ in range(50):
        await gate.enter("k", batch=False)
    await asyncio.sleep(1.0)
    for _ in range(50):
        gate.leave()
    await asyncio.sleep(1.0)
    assert incoming.short
    gate.adopt(replace(limits, adaptive=False))
    assert not incoming.short


async def test_a_slot_comes_back_whatever_ends_the_exchange() -> None:
    """A hundred of every kind through two slots."""
    async with open_house(limits={"max_concurrency": 2, "max_queue": 1000}, retry={"attempts": 1}) as house:
        for number in range(25):
            house.upstream.fail(500).reset(["a"]).hang("headers").error_inside()
            for model in ("m", "stopping", "folded", "none"):
                asking = house.ask(chat(str(number), model=model, stream=bool(number % 2)))
                asyncio.get_running_loop().call_later(number * 1.0, asking.leave)
        await house.rest()


# --- the ledger


async def test_an_unwell_ledger_refuses_before_anything_is_spent() -> None:
    """503, when to come back, no call; and no row, which would only wait for the ledger: the metrics count it."""
    async with open_house() as house:
        await house.answer(chat())
        house.ledger.healthy = False
        for body in (chat(), chat("new")):
            asking = await house.answer(body)
            assert (asking.status, asking.error["code"]) == (503, "ledger_unavailable")
            assert asking.headers["retry-after"] == "5"
        assert len(house.upstream.calls) == 1
        assert (await house.answer(b"{")).status == 400
        assert [row.outcome for row in house.exchanges] == ["ok"]
        refused = {"outcome": "ledger_unavailable", "model": "m", "cache": "off"}
        assert counted(house, **refused) == 2
        house.ledger.healthy = True
        assert (await house.answer(chat("new"))).status == 200


async def test_strangers_leave_a_few_rows_a_minute() -> None:
    """However often they knock; all are counted, and no key's own request goes unrecorded for them."""
    async with open_house() as house:
        key = await house.add_key("k")
        for _ in range(50):
            assert (await house.answer(chat(), key="psk-guessed")).status == 401
        assert (await house.answer(b"{", key=key)).status == 400
        assert {row.key_id for row in house.exchanges if row.outcome == "invalid_api_key"} == {""}
        assert Counter(row.outcome for row in house.exchanges) == {"invalid_api_key": 10, "invalid_request": 1}
        refused = {"outcome": "invalid_api_key", "model": "other", "cache": "off"}
        assert counted(house, **refused) == 50
        await asyncio.sleep(120)
        await house.answer(chat(), key="psk-guessed")
        assert len(house.exchanges) == 12


async def test_an_unwell_ledger_may_be_told_to_answer_on() -> None:
    """``on_failure: answer``; every row is still handed over."""
    async with open_house(ledger={"on_failure": "answer"}) as house:
        house.ledger.healthy = False
        assert (await house.answer(chat())).status == 200
        assert len(house.exchanges) == len(house.attempts) == 1
