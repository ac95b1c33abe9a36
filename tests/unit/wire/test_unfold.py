"""Whole answers told as streams."""

from typing import Any

import msgspec
import pytest

from penstock.errors import BadAnswer
from penstock.wire.sse import DONE, Event
from penstock.wire.unfold import PIECE_CHARS, unfold

CHAT: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 7,
    "model": "m",
    "system_fingerprint": "fp",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "reasoning_content": "Hm", "refusal": None},
            "logprobs": {"content": [{"token": "Hello"}]},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3},
    "timings": {"n": 1},
}
CALL: dict[str, Any] = {"id": "t0", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def told(dialect: str, whole: dict[str, Any], *, include_usage: bool = True) -> list[Event]:
    """The events of a whole answer."""
    return unfold(dialect, msgspec.json.encode(whole), include_usage=include_usage)


def deltas(whole: dict[str, Any]) -> list[Any]:
    """The deltas of the only choice of a chat answer."""
    return [event.json["choices"][0]["delta"] for event in told("chat", whole, include_usage=False)[:-1]]


def test_a_chat_answer() -> None:
    """Role, reasoning, content, the finish with what stands beside it, usage alone, the end."""
    *chunks, done = told("chat", CHAT)
    assert done.data == DONE
    assert [chunk.json["choices"] for chunk in chunks] == [
        [{"index": 0, "delta": {"role": "assistant", "refusal": None}, "finish_reason": None}],
        [{"index": 0, "delta": {"reasoning_content": "Hm"}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": {"content": [{"token": "Hello"}]}}],
        [],
    ]
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "system_fingerprint": "fp"}
    assert all(head.items() <= chunk.json.items() for chunk in chunks)
    assert [chunk.json.get("usage") for chunk in chunks] == [None, None, None, None, {"prompt_tokens": 3}]
    assert ["timings" in chunk.json for chunk in chunks] == [True, False, False, False, False]


def test_usage_only_when_asked() -> None:
    """A client that did not ask sees no trace of usage."""
    assert all(b"usage" not in event.raw for event in told("chat", CHAT, include_usage=False))


@pytest.mark.parametrize("content", ["", None])
def test_content_that_says_nothing(content: str | None) -> None:
    """Empty and null content are different answers, told with the role."""
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}
    assert deltas(whole) == [{"role": "assistant", "content": content}, {}]


def test_tool_calls_get_an_index() -> None:
    """SDKs put tool calls together by index."""
    message = {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "t1", "index": 7}]}
    assert deltas({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}) == [
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, **CALL}]},
        {"tool_calls": [{**CALL, "id": "t1", "index": 1}]},
        {},
    ]


def test_long_strings_go_out_in_pieces() -> None:
    """No line grows with the answer: content and arguments are cut, between characters."""
    text = "水" * (PIECE_CHARS * 2 + 1)
    call = {**CALL, "function": {"name": "f", "arguments": text}}
    message = {"role": "assistant", "content": text, "tool_calls": [call]}
    parts = deltas({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    content = [part["content"] for part in parts if "content" in part]
    functions = [part["tool_calls"][0]["function"] for part in parts if "tool_calls" in part]
    assert [len(piece) for piece in content] == [PIECE_CHARS, PIECE_CHARS, 1]
    assert [function.get("name") for function in functions] == ["f", None, None]
    assert "".join(function["arguments"] for function in functions) == "".join(content) == text


def test_a_completions_answer() -> None:
    """Text, then the finish with its logprobs."""
    choice = {"index": 0, "text": "ab", "logprobs": {"tokens": ["ab"]}, "finish_reason": "stop"}
    whole = {"id": "x", "object": "text_completion", "choices": [choice], "usage": {"total_tokens": 2}}
    *chunks, done = told("completions", whole)
    assert done.data == DONE
    assert [chunk.json["choices"] for chunk in chunks] == [
        [{"index": 0, "text": "ab", "finish_reason": None}],
        [{**choice, "text": ""}],
        [],
    ]


def test_a_message() -> None:
    """The events that the Anthropic SDK walks through, each under its name; usage at both ends."""
    usage = {"input_tokens": 9, "output_tokens": 20}
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "sig"},
        {"type": "text", "text": "Hi", "citations": [{"cited_text": "x"}]},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "redacted_thinking", "data": "zzz"},
    ]
    ending = {"stop_reason": "tool_use", "stop_sequence": None}
    whole = {"id": "m1", "type": "message", "role": "assistant", "content": content, **ending, "usage": usage}
    events = told("messages", whole)
    assert all(event.name == event.json["type"] for event in events)
    start, *blocks, delta, stop = [event.json for event in events]
    assert start["message"] == {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 0}}
    assert [block["content_block"] for block in blocks if "content_block" in block] == [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "text", "text": "", "citations": []},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        {"type": "redacted_thinking", "data": "zzz"},
    ]
    assert [(block["index"], block["delta"]["type"]) for block in blocks if "delta" in block] == [
        (0, "thinking_delta"),
        (0, "signature_delta"),
        (1, "text_delta"),
        (1, "citations_delta"),
        (2, "input_json_delta"),
    ]
    assert [block["index"] for block in blocks if block["type"] == "content_block_stop"] == [0, 1, 2, 3]
    assert (delta["delta"], delta["usage"], stop) == (ending, usage, {"type": "message_stop"})


@pytest.mark.parametrize("whole", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
def test_what_is_no_answer(dialect: str, whole: bytes) -> None:
    """What is no JSON object cannot be told."""
    with pytest.raises(BadAnswer):
        unfold(dialect, whole, include_usage=True)


def test_what_is_never_streamed() -> None:
    """Embeddings have no stream."""
    with pytest.raises(BadAnswer):
        unfold("embeddings", b"{}", include_usage=True)
