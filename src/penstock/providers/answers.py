"""What providers answer, as values, and the bodies and streams they put it in: for the stand-ins and their tests.

One ``Answer`` becomes a whole body or a list of events in any dialect. Usage is written in every spelling that is in
use at once (DeepSeek's hit and miss fields beside ``prompt_tokens_details``), as DeepSeek itself does.
Formats: api-docs.deepseek.com create-chat-completion; platform.openai.com and docs.anthropic.com references.
"""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from penstock.core.usage import Usage

_encode = msgspec.json.Encoder().encode

DONE: Final = b"data: [DONE]\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"

_PATHS: Final = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/messages/count_tokens": "count_tokens",
    "/messages": "messages",
}
_STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider says, before a dialect puts it into form."""

    pieces: Sequence[str] = ("hello",)
    """The text as it is streamed."""
    usage: Usage | None = None
    """None = the answer carries no usage."""
    model: str = "scripted"
    id: str = "up-1"
    created: int = 0
    """Seconds since the epoch."""
    finish: str = "stop"
    """``stop length tool_calls content_filter insufficient_system_resource``."""
    reasoning: Sequence[str] = ()
    tool_calls: Sequence[Mapping[str, Any]] = ()
    """In OpenAI's form; without ``index``."""
    n: int = 1
    """How many choices say the same."""
    vectors: Sequence[Sequence[float]] = ((0.0, 1.0),)
    base64: bool = False
    """Embeddings as base64 of little-endian floats, as ``encoding_format`` asks."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further top-level fields of every body and event (``system_fingerprint``, ...)."""

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


def dialect_of(url: str) -> str:
    """The dialect that an upstream URL speaks."""
    path = url.partition("?")[0]
    return next((dialect for end, dialect in _PATHS.items() if path.endswith(end)), "chat")


def usage_fields(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage object, with DeepSeek's fields beside it."""
    details: dict[str, Any] = {"cached_tokens": usage.input_hit}
    if usage.cache_write:
        details["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        "prompt_cache_hit_tokens": usage.input_hit,
        "prompt_cache_miss_tokens": usage.prompt - usage.input_hit,
    }


def messages_usage(usage: Usage) -> dict[str, Any]:
    """Anthropic's usage object: ``input_tokens`` without what was read from or written to the cache."""
    return {
        "input_tokens": usage.input_miss,
        "cache_read_input_tokens": usage.input_hit,
        "cache_creation_input_tokens": usage.cache_write,
        "output_tokens": usage.output,
    }


def sse(value: Mapping[str, Any], name: str = "") -> bytes:
    """One event of a stream."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    return head + b"data: " + _encode(value) + b"\n\n"


def error_body(message: str, *, kind: str = "server_error", code: str | None = None, dialect: str = "chat") -> bytes:
    """An error as providers put it."""
    error = {"type": kind, "message": message}
    if dialect in {"messages", "count_tokens"}:
        return _encode({"type": "error", "error": error})
    return _encode({"error": {**error, "param": None, "code": code}})


def whole(answer: Answer, dialect: str) -> bytes:
    """The body of a whole answer."""
    return _encode(_WHOLE[dialect](answer) | dict(answer.extra))


def events(answer: Answer, dialect: str, *, usage: bool) -> list[bytes]:
    """The events of a streamed answer. ``usage``: the request asked for the usage chunk (messages always has it)."""
    if dialect == "messages":
        return _messages_events(answer)
    return _chunks(answer, chat=dialect == "chat", usage=usage)


# --- whole bodies ----------------------------------------------------------------------------------------------


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.reasoning:
        message["reasoning_content"] = "".join(answer.reasoning)
    if answer.tool_calls:
        message["tool_calls"] = [dict(call) for call in answer.tool_calls]
    return message


def _chat(answer: Answer) -> dict[str, Any]:
    message = _message(answer)
    choices = [
        {"index": i, "message": message, "logprobs": None, "finish_reason": answer.finish} for i in range(answer.n)
    ]
    return _head(answer, "chat.completion") | {"choices": choices} | _usage_of(answer)


def _completions(answer: Answer) -> dict[str, Any]:
    choices = [
        {"index": i, "text": answer.text, "logprobs": None, "finish_reason": answer.finish} for i in range(answer.n)
    ]
    return _head(answer, "text_completion") | {"choices": choices} | _usage_of(answer)


def _embeddings(answer: Answer) -> dict[str, Any]:
    data = [
        {"object": "embedding", "index": i, "embedding": _packed(vector) if answer.base64 else list(vector)}
        for i, vector in enumerate(answer.vectors)
    ]
    body: dict[str, Any] = {"object": "list", "data": data, "model": answer.model}
    if answer.usage is not None:
        body["usage"] = {"prompt_tokens": answer.usage.prompt, "total_tokens": answer.usage.prompt}
    return body


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _messages(answer: Answer) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "".join(answer.reasoning), "signature": ""}]
    if not answer.reasoning:
        content.clear()
    content.append({"type": "text", "text": answer.text})
    stop = _STOP_REASONS.get(answer.finish, answer.finish)
    return _messages_head(answer) | {"content": content, "stop_reason": stop}


def _count_tokens(answer: Answer) -> dict[str, Any]:
    return {"input_tokens": answer.usage.prompt if answer.usage else 0}


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {"id": answer.id, "object": kind, "created": answer.created, "model": answer.model}


def _usage_of(answer: Answer) -> dict[str, Any]:
    return {} if answer.usage is None else {"usage": usage_fields(answer.usage)}


def _messages_head(answer: Answer) -> dict[str, Any]:
    head: dict[str, Any] = {"id": answer.id, "type": "message", "role": "assistant", "model": answer.model}
    head |= {"content": [], "stop_reason": None, "stop_sequence": None}
    return head if answer.usage is None else head | {"usage": messages_usage(answer.usage)}


_WHOLE: Final = {
    "chat": _chat,
    "completions": _completions,
    "embeddings": _embeddings,
    "messages": _messages,
    "count_tokens": _count_tokens,
}


# --- streams ---------------------------------------------------------------------------------------------------


def _chunks(answer: Answer, *, chat: bool, usage: bool) -> list[bytes]:
    head = _head(answer, "chat.completion.chunk" if chat else "text_completion") | dict(answer.extra)
    tail = {"usage": None} if usage else {}
    out = [
        sse(head | {"choices": _choices(answer.n, delta, None, chat=chat)} | tail) for delta in _deltas(answer, chat)
    ]
    last: Any = {} if chat else ""
    out.append(sse(head | {"choices": _choices(answer.n, last, answer.finish, chat=chat)} | tail))
    if usage and answer.usage is not None:
        out.append(sse(head | {"choices": [], "usage": usage_fields(answer.usage)}))
    return [*out, DONE]


def _choices(n: int, delta: Any, finish: str | None, *, chat: bool) -> list[dict[str, Any]]:
    name = "delta" if chat else "text"
    return [{"index": i, name: delta, "logprobs": None, "finish_reason": finish} for i in range(n)]


def _deltas(answer: Answer, chat: bool) -> list[Any]:  # noqa: FBT001 - one caller, above
    if not chat:
        return list(answer.pieces)
    out: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    out.extend({"reasoning_content": piece} for piece in answer.reasoning)
    out.extend({"content": piece} for piece in answer.pieces)
    out.extend({"tool_calls": [{"index": i, **call}]} for i, call in enumerate(answer.tool_calls))
    return out


def _messages_events(answer: Answer) -> list[bytes]:
    head = _messages_head(answer)
    if answer.usage is not None:
        head["usage"] = messages_usage(answer.usage._replace(output=0))
    out = [sse({"type": "message_start", "message": head}, "message_start")]
    if answer.reasoning:
        out += _block(0, {"type": "thinking", "thinking": ""}, "thinking_delta", "thinking", answer.reasoning)
    index = 1 if answer.reasoning else 0
    out += _block(index, {"type": "text", "text": ""}, "text_delta", "text", answer.pieces)
    delta: dict[str, Any] = {"stop_reason": _STOP_REASONS.get(answer.finish, answer.finish), "stop_sequence": None}
    end: dict[str, Any] = {"type": "message_delta", "delta": delta}
    if answer.usage is not None:
        end["usage"] = {"output_tokens": answer.usage.output}
    return [*out, sse(end, "message_delta"), sse({"type": "message_stop"}, "message_stop")]


def _block(index: int, start: dict[str, Any], kind: str, name: str, pieces: Sequence[str]) -> list[bytes]:
    opening = {"type": "content_block_start", "index": index, "content_block": start}
    out = [sse(opening, "content_block_start")]
    for piece in pieces:
        delta = {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: piece}}
        out.append(sse(delta, "content_block_delta"))
    out.append(sse({"type": "content_block_stop", "index": index}, "content_block_stop"))
    return out
