"""stale_on_error: an answer past its time in the place of an outage, marked; never for what the client could change."""

from typing import Any

import pytest

from tests.support.asgi_client import Asking
from tests.support.house import END_S, House, chat, open_house

pytestmark = pytest.mark.looptime(end=END_S)

STALE: dict[str, Any] = {
    "cache": {"exact": {"ttl": "10s", "stale": "1h", "stale_on_error": True}},
    "retry": {"attempts": 1},
}


async def stored_and_past_its_time(house: House) -> None:
    """One answer, 60 s old."""
    house.upstream.reply("fresh")
    await house.answer(chat("q"))
    await house.gateway.clock.sleep(60)


def marks(asking: Asking) -> tuple[int, str | None, str | None]:
    """Status and what marks a stale answer."""
    return asking.status, asking.headers.get("x-penstock-cache"), asking.headers.get("x-penstock-degraded")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["fail", "reset", "hang"])
async def test_an_outage_is_bridged(fault: str, *, stream: bool) -> None:
    """By what was stored, whole or streamed, and it says so; the ledger too."""
    async with open_house(timeouts={"first_byte": "2s"}, **STALE) as house:
        await stored_and_past_its_time(house)
        getattr(house.upstream, fault)(*[503] * (fault == "fail"))
        asking = await house.answer(chat("q", stream=stream))
        assert marks(asking) == (200, "exact", "stale")
        assert b"fresh" in asking.body
        last = house.exchanges[-1]
        assert (last.outcome, last.cache, last.degraded) == ("ok", "exact", "stale")


async def test_the_ledger_says_whose_answer_it_was_and_what_the_failed_call_cost() -> None:
    """Both shares stand there: the failed attempt's, with its charge, and the stored attempt's, for nothing."""
    async with open_house(timeouts={"first_byte": "2s"}, **STALE) as house:
        await stored_and_past_its_time(house)
        (stored,) = house.attempts
        house.upstream.hang()
        assert marks(await house.answer(chat("q"))) == (200, "exact", "stale")
        failed, last = house.attempts[-1], house.exchanges[-1]
        shares = {share.attempt_id: share for share in house.shares if share.exchange_id == last.id}
        assert set(shares) == {failed.id, stored.id}
        assert (shares[stored.id].amount_nano, shares[stored.id].lever) == (0, "exact")
        assert last.cost_nano == failed.charged_book_nano == shares[failed.id].amount_nano > 0


async def test_when_all_deployments_are_out_too() -> None:
    """The plan is empty; the answer is the stored one."""
    async with open_house(**STALE) as house:
        await stored_and_past_its_time(house)
        house.upstream.fail(503).forever()
        for number in range(60):
            await house.answer(chat(f"other {number}"))
        calls = len(house.upstream.calls)
        assert marks(await house.answer(chat("q"))) == (200, "exact", "stale")
        assert (await house.answer(chat("unknown"))).status == 503
        assert len(house.upstream.calls) == calls


async def test_it_is_off_by_default() -> None:
    """A wrong answer is worse than none, unless the operator says otherwise."""
    async with open_house(cache={"exact": {"ttl": "10s", "stale": "1h"}}, retry={"attempts": 1}) as house:
        await stored_and_past_its_time(house)
        house.upstream.fail(503)
        assert (await house.answer(chat("q"))).status == 503


async def test_what_the_client_can_change_is_told() -> None:
    """A refused request, one that wants no stored answer, or only a younger one."""
    async with open_house(**STALE) as house:
        await stored_and_past_its_time(house)
        house.upstream.fail(400).fail(503).fail(503)
        assert (await house.answer(chat("q"))).status == 400
        for wanted in ("no-cache", "max-age=30"):
            assert (await house.answer(chat("q"), headers={"cache-control": wanted})).status == 503


async def test_nothing_older_than_allowed() -> None:
    """An hour past its time it is gone."""
    async with open_house(**STALE) as house:
        await stored_and_past_its_time(house)
        await house.gateway.clock.sleep(3700)
        house.upstream.fail(503)
        assert (await house.answer(chat("q"))).status == 503


async def test_those_who_joined_are_bridged_too() -> None:
    """Each by itself, and marked."""
    async with open_house(**STALE) as house:
        await stored_and_past_its_time(house)
        house.upstream.fail(503).forever()
        askings = [house.ask(chat("q")) for _ in range(5)]
        await house.rest()
        assert {marks(asking) for asking in askings} == {(200, "exact", "stale")}
