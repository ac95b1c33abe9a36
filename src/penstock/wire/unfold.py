"""A whole answer told as the stream that the provider would have sent: what ``fold`` undoes.

Long strings go out in pieces, because readers of lines in some languages give up at 64 KiB.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from penstock.errors import BadAnswer
from penstock.wire.sse import DONE, Event, sse

PIECE_CHARS: Final = 8192

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder().decode
_IN_EVERY_CHUNK: Final = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_IN_PIECES: Final = ("reasoning_content", "content", "refusal")
_AT_THE_END: Final = ("stop_reason", "stop_sequence", "stop_details", "container")
"""Fields of a message that are known when it stops: the SDK takes them from ``message_delta`` alone."""
_Body = dict[str, Any]


def unfold(dialect: str, whole: bytes, *, include_usage: bool) -> list[Event]:
    """The events of ``whole``. ``include_usage``: whether a chat or completions stream ends with a usage chunk.

    Raises BadAnswer when ``whole`` is no answer of a dialect that is streamed.
    """
    teller = _TELLERS.get(dialect)
    try:
        answer = _decode(whole)
        if teller is not None and isinstance(answer, dict):
            return list(teller(answer if include_usage or dialect == "messages" else {**answer, "usage": None}))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    raise BadAnswer("The answer cannot be streamed.", detail=f"{dialect}: {whole[:200]!r}")


def _tell_chat(answer: _Body) -> Iterator[Event]:
    return _tell_choices(answer, "chat.completion.chunk", _chat_steps)


def _tell_completions(answer: _Body) -> Iterator[Event]:
    return _tell_choices(answer, "text_completion", _completion_steps)


def _tell_choices(answer: _Body, kind: str, steps: Callable[[_Body], Iterator[_Body]]) -> Iterator[Event]:
    """Chunks of every choice in turn, the usage if there is any, the end. The first chunk tells the unknown fields."""
    head = {name: answer[name] for name in _IN_EVERY_CHUNK if name in answer} | {"object": kind}
    usage = answer.get("usage")
    rest = {name: value for name, value in answer.items() if name not in head and name not in ("choices", "usage")}
    for choice in _objects(answer.get("choices")):
        for step in steps(choice):
            yield sse(_encode({**head, **rest, "choices": [step]}))
            rest = {}
    if usage:
        yield sse(_encode({**head, **rest, "choices": [], "usage": usage}))
    yield sse(DONE)


def _chat_steps(choice: _Body) -> Iterator[_Body]:
    """The deltas of one choice: role and odd fields, the strings, the tool calls; then what stands beside them."""
    index = choice.get("index", 0)
    message = _object(choice.get("message"))
    tools = list(_objects(message.get("tool_calls")))
    spoken = {name: text for name in _IN_PIECES if isinstance(text := message.get(name), str) and text}
    told = {*spoken, "tool_calls"} if tools else {*spoken}
    yield _step(index, {"role": "assistant", **{name: message[name] for name in message if name not in told}})
    for name, text in spoken.items():
        for piece in _pieces(text):
            yield _step(index, {name: piece})
    for slot, tool in enumerate(tools):
        for part in _tool_pieces(tool):
            yield _step(index, {"tool_calls": [{**part, "index": slot}]})
    beside = {name: value for name, value in choice.items() if name != "message"}
    yield {**beside, "index": index, "delta": {}, "finish_reason": choice.get("finish_reason")}


def _step(index: int, delta: _Body) -> _Body:
    return {"index": index, "delta": delta, "finish_reason": None}


def _tool_pieces(tool: _Body) -> Iterator[_Body]:
    """A tool call; arguments too long for one chunk follow in further ones."""
    function = _object(tool.get("function"))
    arguments = function.get("arguments")
    if not isinstance(arguments, str) or len(arguments) <= PIECE_CHARS:
        yield tool
        return
    first, *others = _pieces(arguments)
    yield {**tool, "function": {**function, "arguments": first}}
    for piece in others:
        yield {"function": {"arguments": piece}}


def _completion_steps(choice: _Body) -> Iterator[_Body]:
    text = choice.get("text")
    for piece in _pieces(text) if isinstance(text, str) else ():
        yield {"index": choice.get("index", 0), "text": piece, "finish_reason": None}
    yield {"index": 0, **choice, "text": "", "finish_reason": choice.get("finish_reason")}


def _tell_message(answer: _Body) -> Iterator[Event]:
    """One message; its usage is told at the start, and complete at the end, as some clients read one or the other."""
    usage = _object(answer.get("usage"))
    ending = {"stop_reason": None, "stop_sequence": None}
    ending |= {name: answer[name] for name in _AT_THE_END if name in answer}
    start = {**answer, **dict.fromkeys(ending), "content": [], "usage": {**usage, "output_tokens": 0}}
    yield _named({"type": "message_start", "message": start})
    for index, block in enumerate(_objects(answer.get("content"))):
        yield from _tell_block(index, block)
    yield _named({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 0, **usage}})
    yield _named({"type": "message_stop"})


def _tell_block(index: int, block: _Body) -> Iterator[Event]:
    deltas = list(_block_deltas(block))
    begun = {**block, **{name: empty for name, empty, _ in deltas}}
    yield _named({"type": "content_block_start", "index": index, "content_block": begun})
    for _, _, delta in deltas:
        yield _named({"type": "content_block_delta", "index": index, "delta": delta})
    yield _named({"type": "content_block_stop", "index": index})


def _block_deltas(block: _Body) -> Iterator[tuple[str, Any, _Body]]:
    """(the field of the block, what it is at the start, a delta that adds to it)."""
    for name in ("text", "thinking"):
        text = block.get(name)
        for piece in _pieces(text) if block.get("type") == name and isinstance(text, str) else ():
            yield name, "", {"type": f"{name}_delta", name: piece}
    for citation in _objects(block.get("citations")):
        yield "citations", [], {"type": "citations_delta", "citation": citation}
    if block.get("type") == "thinking" and block.get("signature"):
        yield "signature", "", {"type": "signature_delta", "signature": block["signature"]}
    if "input" in block:
        for piece in _pieces(_encode(block["input"]).decode()):
            yield "input", {}, {"type": "input_json_delta", "partial_json": piece}


def _named(body: Mapping[str, Any]) -> Event:
    return sse(_encode(body), body["type"])


def _pieces(text: str) -> list[str]:
    return [text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS)]


def _object(value: Any) -> _Body:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> Iterator[_Body]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


_TELLERS: Final[Mapping[str, Callable[[_Body], Iterator[Event]]]] = {
    "chat": _tell_chat,
    "completions": _tell_completions,
    "messages": _tell_message,
}
