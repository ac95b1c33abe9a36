"""Every wait for a provider ends at its own deadline, with the right error, and leaves nothing behind."""

import asyncio
from typing import Any

import pytest

from penstock.providers.answers import KEEP_ALIVE, Answer, events
from penstock.providers.play import SILENCE, SSE, Pause, Play, Step
from penstock.providers.scripted import Asked, Scripted
from tests.support.house import END_S, chat, message, open_house

pytestmark = pytest.mark.looptime(end=END_S)

TIMEOUTS = {"connect": "2s", "first_byte": "10s", "between": "7s", "total": "40s"}
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def keep_alives(gap_s: float, mark: bytes) -> list[Step]:
    """Signs of life and nothing else, longer than any deadline."""
    return [step for _ in range(int(100 / gap_s)) for step in (mark, Pause(gap_s))]


def begin(dialect: str = "chat", pieces: int = 2) -> bytes:
    """The first events of a stream, in one read."""
    return b"".join(events(Answer(("a",) * pieces), dialect, usage=True)[: pieces + 1 + (dialect == "messages")])


def stuck(upstream: Scripted, where: str, dialect: str) -> None:
    """The next stream stops there, with or without signs of life."""
    mark = PING if dialect == "messages" else KEEP_ALIVE
    if where == "headers":
        upstream.hang("headers")
    elif where == "first byte":
        upstream.raw(SILENCE, headers=SSE)
    elif where == "first byte, kept alive":
        upstream.raw(*keep_alives(1, mark), headers=SSE)
    elif where == "first byte, blank lines":
        upstream.raw(*keep_alives(1, b"\n"), headers=SSE)
    elif where == "between":
        upstream.raw(begin(dialect), SILENCE, headers=SSE)
    elif where == "between, kept alive":
        upstream.raw(begin(dialect), *keep_alives(1, mark), headers=SSE)


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("where", ["headers", "first byte", "first byte, kept alive", "first byte, blank lines"])
async def test_the_first_byte_has_its_deadline(where: str, dialect: str) -> None:
    """Whatever signs of life come: at 10 s the stream has not begun, and the client gets a plain 504."""
    async with open_house(timeouts=TIMEOUTS) as house:
        stuck(house.upstream, where, dialect)
        body = chat(stream=True) if dialect == "chat" else message(stream=True)
        asking = await house.answer(body)
        assert asking.status == 504
        assert house.now == pytest.approx(10, abs=1e-3)
        assert "first_byte deadline of 10 s" in asking.error["message"]
        assert house.upstream.calls[0].ended_at == house.now
        assert house.attempts[0].outcome == "provider_timeout"
        assert house.attempts[0].estimated, "it may have been billed"


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("where", ["between", "between, kept alive"])
async def test_the_middle_of_a_stream_has_its_deadline(where: str, dialect: str) -> None:
    """7 s after the last data the stream ends with an error event; keep-alives count as waiting."""
    async with open_house(timeouts=TIMEOUTS) as house:
        stuck(house.upstream, where, dialect)
        body = chat(stream=True) if dialect == "chat" else message(stream=True)
        asking = await house.answer(body)
        assert (asking.status, asking.complete) == (200, True)
        assert house.now == pytest.approx(7, abs=1e-3)
        assert "between deadline of 7 s" in asking.error["message"]
        assert house.upstream.calls[0].ended_at == house.now
        assert asking.text == "aa"


@pytest.mark.parametrize("where", ["headers", "first_byte", "chunk"])
async def test_a_whole_answer_has_the_first_byte_deadline(where: str) -> None:
    """Also in the middle of its body."""
    async with open_house(timeouts=TIMEOUTS) as house:
        house.upstream.hang(where)
        asking = await house.answer(chat())
        assert asking.status == 504
        assert house.now == pytest.approx(10, abs=1e-3)


async def test_the_body_of_an_error_has_a_deadline() -> None:
    """A 500 whose body never ends is a timeout."""
    async with open_house(timeouts=TIMEOUTS) as house:
        house.upstream.raw(b"{", SILENCE, status=500)
        assert (await house.answer(chat())).status == 504
        assert house.now == pytest.approx(10, abs=1e-3)


@pytest.mark.parametrize("model", ["m", "folded"])
async def test_the_total_ends_what_never_pauses(model: str) -> None:
    """A stream that goes on for ever is ended at 40 s, folded ones with a 504."""
    async with open_house(timeouts=TIMEOUTS) as house:
        chunk = events(Answer(("x",)), "chat", usage=False)[1]
        steps: list[Step] = [step for _ in range(100) for step in (chunk, Pause(1))]
        house.upstream.raw(*steps, headers=SSE)
        asking = await house.answer(chat(model=model, stream=model == "m"))
        assert house.now == pytest.approx(40, abs=1e-3)
        assert "total deadline of 40 s" in asking.error["message"]
        assert asking.status == (200 if model == "m" else 504)


async def test_the_total_covers_every_attempt() -> None:
    """Time spent on the first deployment is not there for the second."""
    async with open_house(timeouts={**TIMEOUTS, "first_byte": "30s"}) as house:
        house.upstream.hang("headers").times(2)
        asking = await house.answer(chat(model="duo"))
        assert asking.status == 504
        assert house.now == pytest.approx(40, abs=1e-3)
        assert [call.ended_at for call in house.upstream.calls] == [pytest.approx(30), pytest.approx(40)]


async def test_a_model_has_deadlines_of_its_own() -> None:
    """What it sets it sets; the rest is as for all."""
    models = {"m": {"deployments": [{"provider": "one"}], "timeouts": {"first_byte": "3s"}}}
    async with open_house(timeouts=TIMEOUTS, models=models) as house:
        house.upstream.hang("headers")
        assert (await house.answer(chat())).status == 504
        assert house.now == pytest.approx(3, abs=1e-3)


@pytest.mark.parametrize("name", ["timeout", "x-penstock-timeout"])
@pytest.mark.parametrize("model", ["m", "folded", "duo"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_may_allow_itself_less(name: str, model: str, stream: bool) -> None:  # noqa: FBT001 - a parameter
    """Its own timeout ends it, whatever it waits for, and no other deployment is asked after that."""
    async with open_house(timeouts=TIMEOUTS) as house:
        house.upstream.hang("headers").forever()
        asking = await house.answer(chat(model=model, stream=stream), headers={name: "2.5"})
        assert asking.status == 504
        assert house.now == pytest.approx(2.5, abs=1e-3)
        assert [call.ended_at for call in house.upstream.calls] == [pytest.approx(2.5)]
        assert "total deadline of 2.5 s" in asking.error["message"]


async def test_a_stream_may_allow_itself_less() -> None:
    """Also when it goes on without a pause: its last event is the error."""
    async with open_house(timeouts=TIMEOUTS) as house:
        house.upstream.stream(["a"] * 100, gap_s=1)
        asking = await house.answer(chat(stream=True), headers={"timeout": "4.5"})
        assert (asking.status, asking.error["code"]) == (200, "provider_timeout")
        assert house.now == pytest.approx(4.5, abs=1e-3)
        assert house.upstream.open == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_who_follows_may_allow_itself_less(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """It ends for itself, before its first byte or within the stream; whom it followed goes on."""
    async with open_house(timeouts=TIMEOUTS) as house:
        house.upstream.stream(["a", "b", "c"], after_s=3, gap_s=3)
        leader = house.ask(chat(stream=True))
        await asyncio.sleep(0.5)
        follower = house.ask(chat(stream=stream), headers={"timeout": "5"})
        await follower.done()
        assert house.now == pytest.approx(5.5, abs=1e-3)
        assert follower.status == (200 if stream else 504)
        assert "total deadline of 5 s" in follower.error["message"]
        await leader.done()
        assert leader.text == "abc"
        assert len(house.upstream.calls) == 1


async def test_a_request_cannot_allow_itself_more() -> None:
    """The model's deadlines hold."""
    async with open_house(timeouts=TIMEOUTS) as house:
        house.upstream.hang("headers")
        assert (await house.answer(chat(), headers={"timeout": "600"})).status == 504
        assert house.now == pytest.approx(10, abs=1e-3)


async def test_a_timeout_is_cured_elsewhere_only() -> None:
    """The first may still work, and bill; another account is asked at once."""
    async with open_house(timeouts=TIMEOUTS) as house:
        house.upstream.at("one").hang("headers")
        house.upstream.at("two").reply("well")
        assert (await house.answer(chat(model="duo"))).text == "well"
        assert house.now == pytest.approx(10, abs=1e-3)
        assert house.exchanges[0].cost_nano == sum(attempt.charged_book_nano or 0 for attempt in house.attempts)


# --- waiting clients


async def test_a_waiting_stream_is_kept_alive_from_15_s_on() -> None:
    """Headers and a comment at 15 s and 30 s, without a word of the deployment; then the answer."""
    async with open_house() as house:
        house.upstream.stream(["a", "b"], after_s=40)
        asking = await house.answer(chat(stream=True))
        assert asking.begun_at == 15
        assert asking.parts[:2] == [(15, b": keep-alive\n\n"), (30, b": keep-alive\n\n")]
        assert asking.parts[2][0] == 40
        assert asking.text == "ab"
        assert "x-penstock-deployment" not in asking.headers
        assert "x-request-id" in asking.headers
        assert asking.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(("dialect", "name"), [("chat", b"data: "), ("messages", b"event: error\ndata: ")])
async def test_a_waiting_stream_learns_of_a_failure_by_an_event(dialect: str, name: bytes) -> None:
    """Its 200 is out: the error is the last event, in the dialect's own shape."""
    async with open_house(timeouts={**TIMEOUTS, "first_byte": "20s"}) as house:
        house.upstream.hang("headers")
        body = chat(stream=True) if dialect == "chat" else message(stream=True)
        asking = await house.answer(body)
        assert (asking.status, asking.complete) == (200, True)
        assert asking.parts[-1][0] == pytest.approx(20, abs=1e-3)
        assert asking.parts[-1][1].startswith(name)
        assert asking.body.endswith(b"\n\n")


async def test_a_whole_asker_waits_in_silence() -> None:
    """Nothing can be said to it before its status."""
    async with open_house() as house:
        house.upstream.reply("late", after_s=40)
        asking = await house.answer(chat())
        assert asking.begun_at == 40
        assert asking.text == "late"


async def test_a_slow_upload_is_kept_alive_too() -> None:
    """The body took longer than 15 s: the wait for the answer is still told."""
    async with open_house() as house:
        house.upstream.stream(["a"], after_s=40)
        raw = [b'{"model":"m","stream":true,', b'"messages":[{"role":"user","content":"hi"}]}']
        asking = house.ask(raw)
        asking.hold(20)
        await asking.done()
        assert asking.text == "a"
        assert asking.begun_at < 60


@pytest.mark.parametrize("model", ["m", "stopping"])
@pytest.mark.parametrize("at", [14.9, 15.0, 15.1, 30.0, 39.999, 40.0, 40.001])
async def test_leaving_at_any_moment_of_the_wait_leaves_nothing(model: str, at: float) -> None:
    """Also in the instants when the headers go out and when the answer comes."""
    async with open_house() as house:
        house.upstream.stream(["a", "b"], after_s=40, gap_s=1)
        asking = house.ask(chat(model=model, stream=True))
        await asyncio.sleep(at)
        asking.leave()
        await asking.done()
        if model == "stopping":
            assert house.now == pytest.approx(at, abs=1e-3)


@pytest.mark.parametrize("model", ["m", "stopping"])
@pytest.mark.parametrize("how", ["leave", "cancel"])
@pytest.mark.parametrize("steps", range(8))
async def test_leaving_between_an_answer_and_its_first_byte_leaves_nothing(steps: int, how: str, model: str) -> None:
    """Every turn of the loop around the instant when the answer comes."""
    async with open_house() as house:
        house.upstream.stream(["a", "b"], after_s=40, gap_s=1)
        asking = house.ask(chat(model=model, stream=True))
        await asyncio.sleep(40)
        for _ in range(steps):
            await asyncio.sleep(0)
        if how == "leave":
            asking.leave()
        else:
            asking.task.cancel()
            await asyncio.wait([asking.task])
            house.asked.clear()


@pytest.mark.parametrize("at", [5.0, 15.0, 20.0, 40.0, 40.5, 42.0])
@pytest.mark.parametrize("stream", [False, True])
async def test_cancelled_at_any_moment_it_leaves_nothing(at: float, stream: bool) -> None:  # noqa: FBT001 - a parameter
    """Shutdown cancels what still runs: the call is closed, settled, recorded."""
    async with open_house() as house:
        house.upstream.stream(["a", "b"], after_s=40, gap_s=1)
        asking = house.ask(chat(stream=stream))
        await asyncio.sleep(at)
        asking.task.cancel()
        await asyncio.wait([asking.task])
        house.asked.clear()
        assert house.upstream.open == 0
        assert len(house.exchanges) == 1


# --- slow readers


async def test_a_slow_reader_is_not_the_providers_fault() -> None:
    """It pauses for longer than ``between``: the provider had its answer ready all the time."""
    async with open_house(timeouts=TIMEOUTS) as house:
        house.upstream.stream(["a", "b", "c"], gap_s=1)
        asking = await house.ask(chat(stream=True)).begun(1)
        asking.pause()
        await asyncio.sleep(20)
        asking.resume()
        await asking.done()
        assert asking.text == "abc"
        assert house.attempts[0].outcome == "ok"


async def test_a_reader_that_never_comes_back_is_ended_by_the_total() -> None:
    """What it is owed is bounded too."""
    async with open_house(timeouts=TIMEOUTS) as house:
        house.upstream.stream(["a"] * 100, gap_s=1)
        asking = await house.ask(chat(stream=True)).begun(1)
        asking.pause()
        await asyncio.sleep(50)
        asking.resume()
        await asking.done()
        assert "total deadline" in asking.error["message"]


async def test_the_end_of_an_answer_waits_a_second_for_the_end_of_its_response() -> None:
    """So that the connection can serve again; not longer, and the wait is not our overhead."""

    def lingers(asked: Asked) -> Play:
        return Play((b"".join(events(Answer(("a",)), asked.dialect, usage=True)), Pause(9), b"\n"), headers=SSE)

    async with open_house() as house:
        house.upstream.call(lingers)
        asking = await house.answer(chat(stream=True))
        assert asking.parts[0][0] == 0
        assert house.now == pytest.approx(1, abs=1e-3)
        assert house.exchanges[0].overhead_s == pytest.approx(0, abs=1e-3)


async def test_who_leaves_when_all_is_said_was_answered() -> None:
    """SDKs close the connection at [DONE], before the provider ended its response: that is no lost answer."""

    def lingers(asked: Asked) -> Play:
        return Play((b"".join(events(Answer(("a",)), asked.dialect, usage=True)), Pause(0.5), b"\n"), headers=SSE)

    async with open_house() as house:
        house.upstream.call(lingers)
        asking = await house.ask(chat(model="stopping", stream=True)).begun(1)
        asking.leave()
        await asking.done()
        assert house.exchanges[0].outcome == "ok"
        assert (await house.answer(chat(model="stopping"))).headers["x-penstock-cache"] == "exact"


async def test_waiting_for_a_provider_is_not_overhead() -> None:
    """Neither its answer nor the pause before it is asked again."""
    async with open_house() as house:
        house.upstream.fail(503).stream(["a", "b"], after_s=3, gap_s=2)
        asking: Any = await house.answer(chat(stream=True))
        assert asking.text == "ab"
        assert house.exchanges[0].duration_s > 7
        assert house.exchanges[0].overhead_s == pytest.approx(0, abs=1e-3)
