"""The scripted provider does what a test tells it, in the form the call asks for."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from penstock.clock import LoopClock
from penstock.config.settings import DeploymentSettings, ProviderSettings
from penstock.core.usage import Usage
from penstock.errors import BadAnswer, Unreachable
from penstock.ports.providers import UpstreamCall
from penstock.providers.play import Play
from penstock.providers.registry import KINDS, adapter
from penstock.providers.scripted import Scripted
from penstock.wire.fold import fold_for
from penstock.wire.sse import SseParser

DIALECTS = ("chat", "completions", "messages")


def call(dialect: str = "chat", provider: str = "p", **fields: Any) -> UpstreamCall:
    """A call as the adapter makes it."""
    row = ProviderSettings(
        provider, "scripted", KINDS["scripted"].base_urls, None, None, False, "stops", "completion", "", "CNY", None,
        None, {},
    )  # fmt: skip
    fields = {"model": "m", **fields}
    raw = msgspec.json.encode(fields)
    return adapter("scripted").encode(dialect, fields, raw, DeploymentSettings(row, "m", 1, ""), {})


async def whole(scripted: Scripted, asked: UpstreamCall) -> Any:
    """The decoded body of a whole answer."""
    response = await scripted.send(asked)
    return msgspec.json.decode(await response.read(1 << 20))


@pytest.fixture
def scripted() -> Scripted:
    """On the running loop's time."""
    return Scripted(LoopClock(0))


@pytest.mark.looptime
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_folds_to_what_was_said(scripted: Scripted, dialect: str) -> None:
    """In every dialect the events are well formed: text, finish reason, usage."""
    usage = Usage(3, 2, 0, 4, 0)
    scripted.stream(["he", "llo"], usage=usage)
    response = await scripted.send(call(dialect, stream=True))
    parser, fold = SseParser(), fold_for(dialect)
    for event in parser.feed(await response.read(1 << 20)) + parser.finish():
        fold.add(event)
    assert fold.finished
    assert adapter("scripted").usage(dialect, {"usage": fold.usage}, None) == usage
    assert b"hello" in fold.whole()


@pytest.mark.looptime
async def test_a_call_that_wants_it_whole_gets_it_whole(scripted: Scripted) -> None:
    """The same words, one body."""
    scripted.stream(["he", "llo"]).reply("x", finish="length", n=2)
    assert (await whole(scripted, call()))["choices"][0]["message"]["content"] == "hello"
    second = await whole(scripted, call())
    assert [choice["finish_reason"] for choice in second["choices"]] == ["length", "length"]


@pytest.mark.looptime
async def test_time_passes_on_the_clock(scripted: Scripted) -> None:
    """``after_s`` before the head, ``gap_s`` between events."""
    scripted.stream(["a", "b"], after_s=10, gap_s=2)
    loop = asyncio.get_running_loop()
    response = await scripted.send(call(stream=True))
    assert loop.time() == 10
    await response.next()
    await response.next()
    assert loop.time() == 12


@pytest.mark.looptime
async def test_failures(scripted: Scripted) -> None:
    """Statuses with their headers, refused connections, errors inside a 200."""
    scripted.fail(503, retry_after=1).refuse().error_inside(code="rate_limit_exceeded")
    response = await scripted.send(call())
    assert (response.status, response.headers["retry-after"]) == (503, "1")
    with pytest.raises(Unreachable):
        await scripted.send(call())
    assert "error" in await whole(scripted, call())


@pytest.mark.looptime
@pytest.mark.parametrize("stream", [True, False])
async def test_a_reset_after_some_of_it(scripted: Scripted, stream: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The pieces come, then BadAnswer; the last piece told is the last that came."""
    scripted.reset(["one", "two"])
    response = await scripted.send(call(stream=stream))
    count = 3 if stream else 1
    got = b"".join([await response.next() for _ in range(count)])
    with pytest.raises(BadAnswer):
        await response.next()
    assert got
    assert (b"two" in got) is stream
    assert scripted.calls[0].ended == "broken"


@pytest.mark.looptime
async def test_a_cut_stream_ends_cleanly_and_too_early(scripted: Scripted) -> None:
    """No finish reason, no usage, no ``[DONE]``."""
    scripted.cut(["one", "two"])
    body = await (await scripted.send(call(stream=True))).read(1 << 20)
    assert b"two" in body
    assert b"[DONE]" not in body
    assert b'"stop"' not in body


@pytest.mark.looptime
@pytest.mark.parametrize("before", ["headers", "first_byte", "chunk"])
async def test_silence_until_the_caller_leaves(scripted: Scripted, before: str) -> None:
    """The call stays open, is seen to be left when cancelled, and holds nothing then."""
    scripted.hang(before)

    async def everything() -> None:
        response = await scripted.send(call(stream=True))
        await response.read(1 << 20)

    task = asyncio.create_task(everything())
    await asyncio.sleep(1000)
    assert scripted.open == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (scripted.open, scripted.calls[0].ended, scripted.calls[0].ended_at) == (0, "left", 1000)


@pytest.mark.looptime
async def test_the_order_of_replies(scripted: Scripted) -> None:
    """In turn, a number of times, the last one for ever; other providers have scripts of their own."""
    scripted.fail(500).times(2).reply("ok").forever()
    scripted.at("own").reply("mine")
    statuses = [(await scripted.send(call())).status for _ in range(5)]
    assert statuses == [500, 500, 200, 200, 200]
    assert (await whole(scripted, call(provider="own")))["choices"][0]["message"]["content"] == "mine"
    assert scripted.left == 0


@pytest.mark.looptime
async def test_an_exhausted_script_still_answers(scripted: Scripted) -> None:
    """Every dialect has a default."""
    for dialect in (*DIALECTS, "embeddings", "count_tokens"):
        assert await whole(scripted, call(dialect))


@pytest.mark.looptime
async def test_embeddings_in_the_encoding_asked_for(scripted: Scripted) -> None:
    """Floats, or base64 of them."""
    scripted.embed([0.5, -1.0]).times(2)
    floats, packed = (
        await whole(scripted, call("embeddings")),
        await whole(scripted, call("embeddings", encoding_format="base64")),
    )
    assert floats["data"][0]["embedding"] == [0.5, -1.0]
    assert packed["data"][0]["embedding"] == "AAAAPwAAgL8="


@pytest.mark.looptime
async def test_what_was_asked_is_kept(scripted: Scripted) -> None:
    """Body, dialect, instant and end of every call."""
    await asyncio.sleep(5)
    response = await scripted.send(call("messages", stream=True, max_tokens=3))
    await response.close()
    asked = scripted.calls[0]
    assert (asked.dialect, asked.streamed, asked.json["max_tokens"]) == ("messages", True, 3)
    assert (asked.at, asked.ended, asked.ended_at) == (5, "closed", 5)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("script", "body"),
    [
        (lambda scripted: scripted.json({"a": 1}), b'{"a":1}'),
        (lambda scripted: scripted.events({"a": 1}, b": hm\n\n"), b'data: {"a":1}\n\n: hm\n\ndata: [DONE]\n\n'),
        (lambda scripted: scripted.events({"a": 1}, done=False), b'data: {"a":1}\n\n'),
        (lambda scripted: scripted.raw(b"a", b"b", status=201), b"ab"),
        (lambda scripted: scripted.call(lambda asked: Play((asked.call.method.encode(),))), b"POST"),
    ],
)
async def test_exact_bytes(scripted: Scripted, script: Callable[[Scripted], object], body: bytes) -> None:
    """What no word says is said in bytes."""
    script(scripted)
    assert await (await scripted.send(call())).read(100) == body


@pytest.mark.looptime
async def test_a_body_above_the_limit(scripted: Scripted) -> None:
    """As the live sender: BadAnswer."""
    scripted.raw(b"x" * 11)
    with pytest.raises(BadAnswer):
        await (await scripted.send(call())).read(10)


@pytest.mark.looptime
async def test_keep_alives(scripted: Scripted) -> None:
    """Comments before a stream, blank lines before a whole answer."""
    scripted.stream(["a"], keep_alives=2).times(2)
    assert (await (await scripted.send(call(stream=True))).next()).startswith(b": keep-alive")
    assert (await (await scripted.send(call())).read(1 << 20)).startswith(b"\n\n{")
