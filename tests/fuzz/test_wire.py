"""Any bytes give a value or one named error, whole and byte by byte."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.core.cachekey import cache_key, parse_directive
from penstock.core.tokens import estimate_answer, estimate_request
from penstock.errors import BadAnswer, BadRequest
from penstock.wire.answers import capacity_cut, carries_usage, is_usage_only, upstream_id, verdict
from penstock.wire.fold import fold_for
from penstock.wire.requests import end_user, read_request, rewrite, wants_stream, wants_usage
from penstock.wire.sse import Event, SseParser, sse
from penstock.wire.unfold import unfold
from tests.support.json_values import VALUES

STREAMED = st.sampled_from(["chat", "completions", "messages"])
DIALECTS = STREAMED | st.sampled_from(["embeddings", "count_tokens"])
WORDS = st.sampled_from(
    re.findall(
        r"\w+",
        """id type object model choices index delta message content text role tool_calls function function_call name
        arguments logprobs finish_reason usage error input partial_json citation citations thinking signature stop
        content_block stop_reason message_start message_delta message_stop content_block_start content_block_delta
        content_block_stop text_delta input_json_delta signature_delta citations_delta ping messages prompt max_tokens
        stream stream_options n user include_usage metadata user_id tools tool_use tool_result image_url data embedding
        insufficient_system_resource""",
    )
)
NEAR_VALUES: st.SearchStrategy[Any] = st.recursive(
    VALUES | WORDS | st.integers(-1, 3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=16,
)
NEAR_OBJECTS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(WORDS, NEAR_VALUES, max_size=8)
"""Values shaped almost like what is expected: the names are right, the kinds are not."""


@st.composite
def damaged(draw: st.DrawFn, objects: st.SearchStrategy[dict[str, Any]] = NEAR_OBJECTS) -> bytes:
    """The JSON of something like a body, cut, doubled or with a few bytes changed."""
    raw = bytearray(msgspec.json.encode(draw(objects)))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(raw)))
        raw[start : draw(st.integers(start, min(start + 4, len(raw))))] = draw(st.binary(max_size=4))
    return bytes(raw)


BODIES = st.binary(max_size=200) | damaged()


def outcome(parser: SseParser, pieces: list[bytes]) -> tuple[list[tuple[str, bytes | None, bytes]], bool]:
    """What came out of a stream, and whether it failed."""
    events: list[Event] = []
    try:
        for piece in pieces:
            events += parser.feed(piece)
        events += parser.finish()
    except BadAnswer:
        return [(event.name, event.data, event.raw) for event in events], True
    return [(event.name, event.data, event.raw) for event in events], False


@given(
    st.sampled_from([8, 64, 1 << 20]),
    st.lists(BODIES | st.sampled_from([b"\n", b"\r", b"\n\n", b"data: ", b"event: "]), max_size=12).map(b"".join),
)
def test_any_stream(bound: int, stream: bytes) -> None:
    """Events, or one BadAnswer after them: the same whole and byte by byte; none above the bound."""
    whole = outcome(SseParser(bound), [stream])
    assert outcome(SseParser(bound), [bytes((byte,)) for byte in stream]) == whole
    assert all(len(raw.rstrip(b"\n")) <= bound for _, _, raw in whole[0])


@given(DIALECTS, BODIES)
def test_any_body_is_a_request_or_one_error(dialect: str, raw: bytes) -> None:
    """What was read can be keyed, counted and rewritten."""
    try:
        fields = read_request(dialect, raw)
    except BadRequest:
        return
    follow(dialect, raw, fields)


REQUESTS = st.fixed_dictionaries({"model": WORDS, "messages": st.just([{"role": "user", "content": [{}]}])})


@given(st.builds(lambda odd, least: {**odd, **least}, NEAR_OBJECTS, REQUESTS))
@example({"model": "m", "messages": [{"role": "user", "content": [[[[1]]], {"type": "tool_result", "content": {}}]}]})
def test_what_is_read_can_be_used(body: dict[str, Any]) -> None:
    """Nothing further on trips over a request that was accepted."""
    raw = msgspec.json.encode(body)
    try:
        fields = read_request("chat", raw)
    except BadRequest:
        return
    follow("chat", raw, fields)


def follow(dialect: str, raw: bytes, fields: dict[str, Any]) -> None:
    """Everything that is done with a request's fields."""
    assert len(cache_key("t", fields["model"], dialect, "p", fields)) == 32
    assert estimate_request(dialect, fields) >= 0
    assert isinstance(end_user(dialect, fields), str)
    assert isinstance(wants_stream(fields) or wants_usage(fields), bool)
    assert msgspec.json.decode(rewrite(raw, {"stream": True}, remove=["n"]))["stream"] is True


@given(DIALECTS, st.lists(NEAR_OBJECTS | BODIES, max_size=6))
def test_any_events_fold(dialect: str, bodies: list[Any]) -> None:
    """A fold takes anything, and what it makes is JSON that can be judged, counted and told again."""
    fold = fold_for(dialect)
    for body in bodies:
        fold.add(sse(body if isinstance(body, bytes) else msgspec.json.encode(body)))
    whole = fold.whole()
    answer = msgspec.json.decode(whole)
    judge(dialect, answer)
    assert fold.usage is None or isinstance(fold.usage, dict)
    assert isinstance(fold.upstream_id, str)
    if fold.broken:
        assert not fold.finished
        assert verdict(dialect, answer) != "complete" or dialect in ("embeddings", "count_tokens")
    if dialect not in ("embeddings", "count_tokens"):
        unfold(dialect, whole, include_usage=True)


@given(DIALECTS, BODIES)
def test_any_whole_answer(dialect: str, whole: bytes) -> None:
    """Events that fold again, or one BadAnswer."""
    try:
        events = unfold(dialect, whole, include_usage=True)
    except BadAnswer:
        return
    fold = fold_for(dialect)
    for event in events:
        fold.add(event)
    judge(dialect, msgspec.json.decode(fold.whole()))


@given(DIALECTS, NEAR_VALUES)
def test_any_json_is_judged(dialect: str, body: Any) -> None:
    """Providers send anything."""
    judge(dialect, body)


def judge(dialect: str, body: Any) -> None:
    """Everything that is asked of an answer or an event."""
    assert verdict(dialect, body) in ("complete", "unfinished", "filtered", "empty")
    assert isinstance(capacity_cut(dialect, body) or carries_usage(dialect, body), bool)
    assert isinstance(is_usage_only(dialect, body), bool)
    assert isinstance(upstream_id(body), str)
    if isinstance(body, dict):
        assert estimate_answer(body) >= 0


@pytest.mark.parametrize("levels", range(300, 1100, 20))
@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
def test_depth_never_exhausts_the_stack(dialect: str, levels: int) -> None:
    """However deep a provider nests, and wherever it does, its answer can be told again, or it is a BadAnswer."""
    deep = b'{"a":' * levels + b"1" + b"}" * levels
    for template in (
        b'{"type":"message_delta","x":%b}',
        b'{"choices":[{"delta":{"x":%b}}]}',
        b'{"choices":[{"x":%b}]}',
    ):
        fold = fold_for(dialect)
        fold.add(sse(template % deep))
        try:
            told = unfold(dialect, fold.whole(), include_usage=True)
        except BadAnswer:
            continue
        assert told


@given(st.text(max_size=60) | st.lists(st.sampled_from(["no-store", "max-age", "=", ",", '"', "5", " "])).map("".join))
def test_any_cache_control(header: str) -> None:
    """A header asks for something, or for nothing."""
    directive = parse_directive(header)
    assert directive.max_age_s is None or directive.max_age_s >= 0
