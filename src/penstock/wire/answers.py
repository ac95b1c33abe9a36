"""What a whole answer, or one event of a stream, says: whether it may be kept, whether it was cut, what it used.

The functions take any decoded JSON, since providers send any.
"""

from collections.abc import Iterable, Mapping
from itertools import starmap
from typing import Any, Final

COMPLETE: Final = "complete"
UNFINISHED: Final = "unfinished"
FILTERED: Final = "filtered"
EMPTY: Final = "empty"

CAPACITY: Final = "insufficient_system_resource"
"""DeepSeek's finish reason for an answer cut off by lack of capacity: asking again may cure it."""

_CHOICE_ENDS: Final = frozenset({"stop", "length", "tool_calls", "function_call", "eos", "eos_token", "model_length"})
_MESSAGE_ENDS: Final = frozenset({"end_turn", "max_tokens", "stop_sequence", "tool_use"})
_ENDS: Final = _CHOICE_ENDS | _MESSAGE_ENDS
"""Any other reason is ``unfinished``: not to keep an answer costs less than to repeat a bad one."""
_HOLDERS: Final = {"chat": "choices", "completions": "choices", "embeddings": "data"}
"""Where the answers of a dialect stand."""
_FILTERED: Final = frozenset(("content_filter", "refusal", "sensitive", "safety", "recitation"))
_SAID: Final = ("tool_calls", "function_call", "audio", "images")


def verdict(dialect: str, whole: Any) -> str:
    """``complete``, ``unfinished``, ``filtered`` or ``empty``: only a complete answer is ever stored.

    ``length`` counts as complete: the same request would be cut at the same place.
    """
    if not isinstance(whole, dict) or whole.get("error"):
        return UNFINISHED
    if dialect == "messages":
        return _judge([(whole.get("stop_reason"), _has_blocks(whole.get("content")))])
    if dialect in ("chat", "completions"):
        return _judge(map(_choice, _objects(whole.get("choices"))))
    if dialect == "embeddings":
        return _embedded(whole.get("data"))
    return COMPLETE if whole else EMPTY


def capacity_cut(dialect: str, body: Any) -> bool:
    """Whether the provider says, in a whole answer or an event, that it ran out of capacity."""
    said = _object(body)
    if dialect == "messages":
        return bool({**said, **_object(said.get("delta"))}.get("stop_reason") == CAPACITY)
    return CAPACITY in [choice.get("finish_reason") for choice in _objects(said.get("choices"))]


def is_void(dialect: str, whole: Mapping[str, Any]) -> bool:
    """Whether a whole answer has nothing where its choices or vectors stand; an empty text is one all the same."""
    if dialect == "messages":
        return not isinstance(whole.get("content"), list)
    return dialect in _HOLDERS and not whole.get(_HOLDERS[dialect])


def said(body: Any) -> str:
    """All text that one event of a stream adds to an answer of any dialect, thoughts and tools' arguments included."""
    event = _object(body)
    delta = _object(event.get("delta"))
    texts = [value for name, value in delta.items() if name not in ("type", "stop_reason") and isinstance(value, str)]
    for choice in _objects(event.get("choices")):
        pieces = _object(choice.get("delta"))
        texts += [value for name, value in pieces.items() if name != "role" and isinstance(value, str)]
        if isinstance(choice.get("text"), str):
            texts.append(choice["text"])
        for call in _objects(pieces.get("tool_calls")):
            function = _object(call.get("function"))
            texts += [value for value in function.values() if isinstance(value, str)]
    return "".join(texts)


def upstream_id(body: Any) -> str:
    """The provider's own id of the answer, "" where the body has none."""
    said = _object(body)
    name = _object(said.get("message", said)).get("id")
    return name if isinstance(name, str) else ""


def model_of(body: Any) -> str:
    """The model as an answer names it, "" where it does not."""
    name = _object(body).get("model")
    return name if isinstance(name, str) else ""


def reasons(dialect: str, whole: Any) -> tuple[str, ...]:
    """Why a whole answer ended: of each choice that says so."""
    said = _object(whole)
    ends = [choice.get("finish_reason") for choice in _objects(said.get("choices"))]
    found = [said.get("stop_reason")] if dialect == "messages" else ends
    return tuple(reason for reason in found if isinstance(reason, str))


def carries_usage(dialect: str, body: Any) -> bool:
    """Whether a whole answer or an event reports usage; Moonshot's does so inside the choice."""
    said = _object(body)
    places = [said, _object(said.get("message"))] if dialect == "messages" else [said, *_objects(said.get("choices"))]
    return any(isinstance(place.get("usage"), dict) for place in places)


def is_usage_only(dialect: str, body: Any) -> bool:
    """Whether a chunk exists only to report usage: hidden from a client that did not ask for it."""
    said = _object(body)
    return dialect in {"chat", "completions"} and isinstance(said.get("usage"), dict) and not said.get("choices")


def _judge(parts: Iterable[tuple[Any, bool]]) -> str:
    """The verdict on (reason it ended, whether it says anything) of every choice: the worst one."""
    verdicts = set(starmap(_judge_one, parts))
    for worst in (FILTERED, UNFINISHED, EMPTY):
        if worst in verdicts:
            return worst
    return COMPLETE if verdicts else EMPTY


def _judge_one(reason: Any, says: Any) -> str:
    if not isinstance(reason, str):
        return UNFINISHED
    if reason in _ENDS:
        return COMPLETE if says else EMPTY
    return FILTERED if reason in _FILTERED else UNFINISHED


def _choice(choice: Mapping[str, Any]) -> tuple[Any, bool]:
    reason = choice.get("finish_reason")
    message = choice.get("message")
    if not isinstance(message, dict):
        return reason, _has_text(choice.get("text"))
    if message.get("refusal"):
        return "refusal", True
    return reason, _has_text(message.get("content")) or any(map(message.get, _SAID))


def _has_blocks(content: Any) -> bool:
    """Whether a message says anything besides what it thought."""
    blocks = [block for block in _objects(content) if block.get("type") not in ("thinking", "redacted_thinking")]
    return any(block.get("type") != "text" or _has_text(block.get("text")) for block in blocks)


def _embedded(data: Any) -> str:
    rows = data if isinstance(data, list) else []
    full = all(isinstance(row, dict) and row.get("embedding") for row in rows)
    return COMPLETE if rows and full else EMPTY


def _has_text(value: Any) -> bool:
    return bool(value.strip() if isinstance(value, str) else value)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
