"""The official SDKs read what we tell: whole answers as streams, errors and keep-alives inside them."""

from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import msgspec
import openai
import pytest

from penstock.wire.sse import Event, comment, error_event
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
            "message": {
                "role": "assistant",
                "content": "水" * PIECE_CHARS + ".",
                "reasoning_content": "Hm",
                "refusal": None,
                "tool_calls": [
                    {"id": f"t{slot}", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
                    for slot in range(2)
                ],
            },
            "logprobs": {
                "content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}],
                "refusal": None,
            },
            "finish_reason": "tool_calls",
        },
        {"index": 1, "message": {"role": "assistant", "content": "No."}, "logprobs": None, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_cache_hit_tokens": 1},
}
TEXT: dict[str, Any] = {
    "id": "x",
    "object": "text_completion",
    "created": 7,
    "model": "m",
    "choices": [{"index": 0, "text": "return 1", "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
MESSAGE: dict[str, Any] = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "Hm", "signature": "sig"},
        {"type": "text", "text": "水" * PIECE_CHARS + ".", "citations": None},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, {"b": None}]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "stop_details": {"type": "refusal", "category": None, "explanation": "x"},
    "usage": {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 20},
}
SAY: Any = [{"role": "user", "content": "hi"}]


def transport(events: Iterable[Event]) -> httpx2.Client:
    """A server that answers every request with these events."""
    body = b"".join(event.raw for event in events)
    head = {"content-type": "text/event-stream"}
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, headers=head, content=body)))


def openai_client(events: Iterable[Event]) -> openai.OpenAI:
    """The OpenAI SDK before such a server."""
    return openai.OpenAI(api_key="sk", base_url="http://127.0.0.1/v1", http_client=transport(events), max_retries=0)


def anthropic_client(events: Iterable[Event]) -> anthropic.Anthropic:
    """The Anthropic SDK before such a server."""
    return anthropic.Anthropic(api_key="sk", base_url="http://127.0.0.1", http_client=transport(events), max_retries=0)


def told(dialect: str, whole: dict[str, Any]) -> list[Event]:
    """A whole answer as events, keep-alives between them."""
    events = unfold(dialect, msgspec.json.encode(whole), include_usage=True)
    return [each for event in events for each in (comment("keep-alive"), event)]


def includes(value: Any, expected: Any) -> bool:
    """Whether a value holds all that is expected; SDKs add defaults."""
    if isinstance(expected, dict):
        return all(includes(value.get(name), inner) for name, inner in expected.items())
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(includes, value, expected))
    return bool(value == expected)


def test_openai_puts_a_chat_answer_together() -> None:
    """The SDK's own accumulation of our stream is the whole answer."""
    with openai_client(told("chat", CHAT)).chat.completions.stream(model="m", messages=SAY) as stream:
        assert includes(stream.get_final_completion().to_dict(), CHAT)


def test_openai_reads_completions() -> None:
    """Text completions stream as they always did; the last chunk is the usage."""
    chunks = list(openai_client(told("completions", TEXT)).completions.create(model="m", prompt="x", stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "return 1"
    assert (chunks[-1].choices, chunks[-1].usage and chunks[-1].usage.total_tokens) == ([], 5)


def test_anthropic_puts_a_message_together() -> None:
    """Thinking, text, tools, usage: the SDK's own accumulation is the whole message."""
    client = anthropic_client(told("messages", MESSAGE))
    with client.messages.stream(model="m", messages=SAY, max_tokens=10) as stream:
        assert includes(stream.get_final_message().to_dict(), MESSAGE)


def test_openai_raises_an_error_inside_a_stream() -> None:
    """After the first chunks an error event ends the stream with the SDK's own exception."""
    error = error_event("chat", b'{"error":{"message":"the provider broke off","type":"server_error"}}')
    chunks = openai_client([*told("chat", CHAT)[:6], error]).chat.completions.create(
        model="m", messages=SAY, stream=True
    )
    with pytest.raises(openai.APIError, match="broke off"):
        list(chunks)


def test_anthropic_raises_an_error_inside_a_stream() -> None:
    """Likewise, under its own event name."""
    error = error_event("messages", b'{"type":"error","error":{"type":"api_error","message":"the provider broke off"}}')
    client = anthropic_client([*told("messages", MESSAGE)[:6], error])
    events = client.messages.create(model="m", messages=SAY, max_tokens=10, stream=True)
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        list(events)
