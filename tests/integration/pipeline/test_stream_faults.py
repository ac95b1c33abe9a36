"""Everything a provider's answer can have wrong with it ends in a correct answer or a clear error."""

from typing import Any

import msgspec
import pytest

from penstock.core.usage import Usage
from penstock.providers.answers import DONE, KEEP_ALIVE, Answer, events, sse, whole
from penstock.providers.play import JSON, SSE, Play, Step
from penstock.providers.scripted import ANSWERED
from tests.support.asgi_client import Asking
from tests.support.house import END_S, House, chat, message, open_house

pytestmark = pytest.mark.looptime(end=END_S)

USAGE = Usage(input_miss=7, input_hit=3, output=4, reasoning=1)
SAID = Answer(("Gr", "üß", "e 你好"), USAGE, reasoning=("hm",))
ONE_CALL: dict[str, Any] = {"retry": {"attempts": 1}}


def told(dialect: str = "chat", *, usage: bool = True, done: bool = True, said: Answer = SAID) -> list[bytes]:
    """The events of an answer, with or without usage and ``[DONE]``."""
    all_events = events(said, dialect, usage=usage)
    return all_events if done else [event for event in all_events if event != DONE]


def request(dialect: str, **fields: Any) -> dict[str, Any]:
    """A streaming request of a dialect that asks for usage."""
    if dialect == "messages":
        return {**message(stream=True), **fields}
    asked = chat() if dialect == "chat" else {"model": "m", "prompt": "hi"}
    return {**asked, "stream": True, "stream_options": {"include_usage": True}, **fields}


async def streamed(house: House, *steps: Step, dialect: str = "chat") -> Asking:
    """What the client gets of these reads."""
    house.upstream.raw(*steps, headers=SSE)
    return await house.answer(request(dialect))


# --- what is a correct answer


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
async def test_a_split_at_any_byte_changes_nothing(dialect: str) -> None:
    """Two reads, cut anywhere: the same bytes to the client, the same usage in the ledger, the same answer stored."""
    raw = b"".join(told(dialect))
    async with open_house(cache={"exact": {"ttl": "1h"}}) as house:
        for at in range(len(raw) + 1):
            house.upstream.raw(raw[:at], raw[at:], headers=SSE)
            asking = await house.answer(request(dialect, seed=at))
            assert asking.body == raw
        assert {row.usage for row in house.exchanges} == {house.exchanges[0].usage}
        assert house.exchanges[0].usage.total == USAGE.total
        assert {row.estimated for row in house.exchanges} == {False}
        stored = {(await house.answer(request(dialect, seed=at, stream=False))).body for at in range(len(raw) + 1)}
        assert len(stored) == 1
        assert len(house.upstream.calls) == len(raw) + 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_every_line_end_in_reads_of_any_size(end: bytes, size: int) -> None:
    """LF, CRLF and CR: the bytes go through as they came, the meaning is the same."""
    raw = b"".join([KEEP_ALIVE, *told()]).replace(b"\n", end)
    async with open_house() as house:
        steps = [raw[at : at + size] for at in range(0, len(raw), size)]
        asking = await streamed(house, *steps)
        assert asking.body == raw
        assert house.exchanges[0].usage == USAGE
        again = await house.answer(request("chat"))
        assert again.headers["x-penstock-cache"] == "exact"
        assert again.text == SAID.text


async def test_a_missing_done_is_added() -> None:
    """The answer said that it ended: that is an end."""
    async with open_house() as house:
        asking = await streamed(house, *told(done=False))
        assert asking.data[-1] == b"[DONE]"
        assert house.exchanges[0].outcome == "ok"
        assert (await house.answer(chat())).headers["x-penstock-cache"] == "exact"


@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_a_last_event_that_nobody_ended_counts(dialect: str) -> None:
    """Without its blank line it is complete JSON all the same; the client gets the line."""
    async with open_house() as house:
        raw = b"".join(told(dialect, done=False))
        asking = await streamed(house, raw[:-2], dialect=dialect)
        assert asking.text == SAID.text
        assert house.exchanges[0].outcome == "ok"
        assert house.exchanges[0].usage.total == USAGE.total


async def test_an_event_cut_inside_is_an_error() -> None:
    """Half a chunk is no answer, and nothing of it is stored."""
    async with open_house() as house:
        raw = b"".join(told(done=False))
        asking = await streamed(house, raw[:-20])
        assert asking.error["type"] == "server_error"
        assert house.exchanges[0].outcome == "provider_bad_answer"
        assert (await house.answer(chat())).headers["x-penstock-cache"] == "miss"


async def test_usage_twice_counts_once() -> None:
    """The last one is the bill."""
    async with open_house() as house:
        said = told()
        first = said[-2].replace(b'"completion_tokens":4', b'"completion_tokens":1')
        await streamed(house, *said[:-2], first, said[-2], DONE)
        assert house.exchanges[0].usage == USAGE


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
async def test_usage_never_is_estimated(dialect: str) -> None:
    """Our own count, marked as such, in the exchange and in the attempt."""
    async with open_house() as house:
        await streamed(house, *told(dialect, usage=False, said=Answer(("hello",), None)), dialect=dialect)
        row, attempt = house.exchanges[0], house.attempts[0]
        assert (row.estimated, attempt.estimated) == (True, True)
        assert row.usage.prompt > 0
        assert row.usage.output > 0
        assert row.cost_nano == attempt.charged_nano
        assert row.cost_nano


async def test_usage_in_the_last_content_chunk_counts_and_stays() -> None:
    """Some providers send no chunk of its own: what carries content is never dropped."""
    async with open_house() as house:
        said = told(usage=False)
        body = msgspec.json.decode(said[-2].removeprefix(b"data: "))
        usage = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
        last = sse({**body, "usage": usage})
        house.upstream.raw(*said[:-2], last, DONE, headers=SSE)
        asking = await house.answer(chat(stream=True))
        assert last in asking.body
        assert house.exchanges[0].usage == Usage(input_miss=7, output=4)


async def test_empty_choices_anywhere_are_harmless() -> None:
    """Azure sends a chunk with no choices first; it goes through."""
    async with open_house() as house:
        empty = sse({"id": "x", "choices": [], "prompt_filter_results": []})
        asking = await streamed(house, empty, *told())
        assert asking.text == SAID.text
        assert empty in asking.body
        assert house.exchanges[0].usage == USAGE


async def test_the_usage_chunk_is_shown_only_to_who_asked() -> None:
    """It is always asked for upstream, and always counted."""
    async with open_house(cache={"exact": {"ttl": "0s"}}) as house:
        for wanted in (True, False):
            options = {"stream_options": {"include_usage": True}} if wanted else {}
            asking = await house.answer({**chat(stream=True), **options})
            assert bool([chunk for chunk in asking.chunks if not chunk["choices"]]) is wanted
        assert [call.wants_usage for call in house.upstream.calls] == [True, True]
        assert [row.usage for row in house.exchanges] == [ANSWERED, ANSWERED]


async def test_comments_reach_the_client() -> None:
    """A provider's keep-alives are the client's."""
    async with open_house() as house:
        said = told()
        asking = await streamed(house, KEEP_ALIVE, said[0], KEEP_ALIVE, b"".join(said[1:]))
        assert asking.body.count(KEEP_ALIVE) == 2


async def test_a_line_of_10_mb_goes_through() -> None:
    """An image in base64 is one event."""
    async with open_house() as house:
        long = Answer(("x" * 10_000_000,), USAGE)
        raw = b"".join(told(said=long))
        steps = [raw[at : at + 65_536] for at in range(0, len(raw), 65_536)]
        asking = await streamed(house, *steps)
        assert asking.body == raw
        again = await house.answer(chat())
        assert len(again.text) == 10_000_000


async def test_a_line_without_end_is_an_error() -> None:
    """Nothing is held back beyond 16 MB."""
    async with open_house(**ONE_CALL) as house:
        steps = [b"data: ", *[b"x" * 1_000_000] * 20]
        house.upstream.raw(*steps, headers=SSE)
        asking = await house.answer(request("chat"))
        assert asking.status == 502
        assert house.upstream.calls[0].ended == "closed"


async def test_json_where_a_stream_was_asked_is_told_as_one() -> None:
    """The client asked for events and gets them."""
    async with open_house() as house:
        house.upstream.raw(whole(SAID, "chat"), headers=JSON)
        asking = await house.answer(request("chat"))
        assert asking.headers["content-type"].startswith("text/event-stream")
        assert asking.text == SAID.text
        assert asking.data[-1] == b"[DONE]"
        assert house.exchanges[0].usage == USAGE


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
async def test_a_stream_where_json_was_asked_is_folded(dialect: str) -> None:
    """The client asked for one answer and gets it; it was billed once."""
    async with open_house() as house:
        house.upstream.raw(*told(dialect), headers=SSE)
        asking = await house.answer(request(dialect, stream=False))
        assert (asking.status, asking.headers["content-type"]) == (200, "application/json")
        assert asking.text == SAID.text
        assert len(house.upstream.calls) == 1
        assert house.exchanges[0].usage.total == USAGE.total


async def test_blank_lines_before_a_whole_answer_are_skipped() -> None:
    """DeepSeek sends them while a call waits."""
    async with open_house() as house:
        house.upstream.raw(b"\n\n\n", b"\r\n", whole(SAID, "chat"))
        asking = await house.answer(chat())
        assert asking.body == whole(SAID, "chat")


# --- what is no answer


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_inside_a_200_is_an_error(dialect: str, stream: bool) -> None:  # noqa: FBT001 - a parameter
    """Whole, or as the first event: the status is the error's own, for nothing was sent yet."""
    async with open_house(**ONE_CALL) as house:
        house.upstream.error_inside("try later", kind="overloaded_error")
        body = {**(chat() if dialect == "chat" else message()), "stream": stream}
        asking = await house.answer(body)
        assert asking.status == 503
        assert house.exchanges[0].outcome == "provider_busy"
        assert house.exchanges[0].cost_nano == 0


async def test_an_error_in_the_middle_is_one_event_and_the_end() -> None:
    """The provider's own words stay with the operator; what was said is charged."""
    async with open_house() as house:
        said = told()
        broken = sse({"error": {"message": "CUDA out of memory on host-17", "code": 500}})
        asking = await streamed(house, *said[:3], broken, *said[3:])
        assert asking.error["type"] == "server_error"
        assert b"host-17" not in asking.body
        assert asking.complete
        assert house.attempts[0].outcome == "provider_busy"
        assert house.attempts[0].estimated
        assert house.attempts[0].charged_nano


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"<html><body>502 Bad Gateway</body></html>", {"content-type": "text/html"}, 200),
        (b"<html><body>502 Bad Gateway</body></html>", {"content-type": "text/html"}, 502),
        (b"", JSON, 200),
        (b"", JSON, 500),
        (b"", SSE, 200),
        (b"   \n", JSON, 200),
        (b'{"choices": [', JSON, 200),
        (b"[]", JSON, 200),
        (b'"hello"', JSON, 200),
        (b"\xff\xfe", JSON, 200),
        (b"[" * 100_000, JSON, 200),
        (b"data: <html>\n\n", SSE, 200),
        (b"<html></html>", SSE, 200),
        (b": only\n\n: comments\n\n", SSE, 200),
        (DONE, SSE, 200),
        (b"", {"location": "http://elsewhere.example/"}, 301),
        (b"", {"location": "/v2"}, 307),
        (b"{}", JSON, 204),
        (b"moved", {}, 100),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_answer_is_a_clear_error(
    body: bytes,
    headers: dict[str, str],
    status: int,
    stream: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Pages, nothing, half of it, redirects: a 502 or 503 that shows nothing of it, and no charge."""
    async with open_house(**ONE_CALL) as house:
        house.upstream.raw(*([body] if body else []), status=status, headers=headers)
        asking = await house.answer(chat(stream=stream))
        assert asking.status in {502, 503}
        assert asking.error["type"] == "server_error"
        assert b"html" not in asking.body
        assert len(house.upstream.calls) == 1
        assert house.exchanges[0].usage.total == 0
        again = await house.answer(chat(stream=stream))
        assert again.headers["x-penstock-cache"] == "miss"


@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_a_reset_in_the_middle_is_told_in_the_stream(dialect: str) -> None:
    """In the dialect's own shape; what came is charged, nothing is stored."""
    async with open_house() as house:
        house.upstream.reset(["a", "b"])
        asking = await house.answer(request(dialect))
        last = asking.chunks[-1]
        assert last["error"]["type"] == ("server_error" if dialect == "chat" else "api_error")
        assert asking.text == "ab"
        assert house.attempts[0].estimated
        assert house.exchanges[0].cost_nano == house.attempts[0].charged_nano
        again = await house.answer(request(dialect))
        assert again.headers["x-penstock-cache"] == "miss"


async def test_garbage_in_the_middle_goes_through_and_is_never_stored() -> None:
    """The client may understand it; whole askers and the cache get nothing made up."""
    async with open_house() as house:
        said = told()
        asking = await streamed(house, *said[:3], b"data: {oops\n\n", *said[3:])
        assert b"{oops" in asking.body
        assert house.exchanges[0].usage == USAGE
        assert (await house.answer(chat())).headers["x-penstock-cache"] == "miss"


async def test_garbage_in_a_folded_answer_is_an_error() -> None:
    """An answer with a hole in it is not given out as a whole one."""
    async with open_house(**ONE_CALL) as house:
        said = told()
        house.upstream.raw(*said[:3], b"data: {oops\n\n", *said[3:], headers=SSE)
        asking = await house.answer(chat(model="folded"))
        assert asking.status == 502
        assert house.attempts[0].outcome == "provider_bad_answer"
        assert house.attempts[0].usage == USAGE


async def test_an_answer_nested_too_deep_is_still_recorded() -> None:
    """No usage came, and what came cannot be written down again: the prompt is charged."""
    async with open_house() as house:
        deep = b"[" * 900 + b"]" * 900
        chunk = b'data: {"choices":[{"index":0,"delta":{"content":"a","x":%b}}]}\n\n' % deep
        asking = await streamed(house, chunk, chunk, b"data: {oops\n\n")
        assert asking.complete
        assert len(house.attempts) == 1
        assert house.attempts[0].estimated


async def test_a_provider_that_reports_what_cannot_be_is_not_believed() -> None:
    """Counts that no call can have are a mistake, not a bill: our own count stands in."""
    async with open_house() as house:
        body = msgspec.json.decode(whole(SAID, "chat"))
        body["usage"] = {"prompt_tokens": -5, "completion_tokens": 10**30}
        house.upstream.call(lambda _: Play((msgspec.json.encode(body, enc_hook=str),)))
        asking = await house.answer(chat())
        assert asking.status == 200
        assert house.attempts[0].estimated
        assert 0 < house.attempts[0].usage.total < 100
