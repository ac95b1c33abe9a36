"""A request's body: decoded once, checked where a mistake would cost, rewritten without touching what stays.

Checked is what Penstock itself reads, and what every provider refuses anyway; every other field passes. A null is a
field left out.
"""

import re
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from penstock.errors import BadRequest

MAX_DEPTH: Final = 200
"""Levels of arrays and objects: far more than any schema needs, far fewer than would exhaust a stack further on."""
MAX_CHOICES: Final = 128
MAX_USER_CHARS: Final = 256
_USER_HEAD_CHARS: Final = MAX_USER_CHARS - 65

_BOXES: Final = (dict, list)
_CONTENT: Final = (str, list, type(None))
_Check = Callable[[str, Any], None]
_decode = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode
_POSITION: Final = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER: Final = re.compile(rb"NaN|-?Infinity")
_HALF_PAIR: Final = re.compile(rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|[c-fC-F])", re.DOTALL)
"""Half of a surrogate pair: what is left when a string is cut between UTF-16 units."""


def read_request(dialect: str, raw: bytes) -> dict[str, Any]:
    """The body's fields. Raises BadRequest that says what is wrong, where, and in which field."""
    fields = _read(raw)
    for name in _REQUIRED[dialect]:
        if fields.get(name) is None:
            raise BadRequest(f"The field '{name}' is missing.", param=name)
    checks = _CHECKS[dialect]
    for name, value in fields.items():
        check = checks.get(name)
        if check is not None and value is not None:
            check(name, value)
    return fields


def wants_stream(fields: Mapping[str, Any]) -> bool:
    """Whether the answer is to be streamed."""
    return fields.get("stream") is True


def wants_usage(fields: Mapping[str, Any]) -> bool:
    """Whether a stream is to end with a usage chunk."""
    options = fields.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def end_user(dialect: str, fields: Mapping[str, Any]) -> str:
    """The client's own name for the person it asks for, "" when it names none; of a long one the head and a digest."""
    if dialect in ("messages", "count_tokens"):
        metadata = fields.get("metadata")
        name = metadata.get("user_id") if isinstance(metadata, dict) else None
    else:
        name = fields.get("user")
    if not isinstance(name, str):
        return ""
    return name if len(name) <= MAX_USER_CHARS else name[:_USER_HEAD_CHARS] + "~" + sha256(name.encode()).hexdigest()


def rewrite(raw: bytes, changes: Mapping[str, Any], remove: Collection[str] = ()) -> bytes:
    """The body with top-level fields set or removed; the bytes of every other value stay as they are.

    ``raw`` has been read before; a body that is no JSON object raises BadRequest.
    """
    try:
        fields: dict[str, Any] = _decode_raw(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise BadRequest("The body is not a JSON object.") from None
    fields.update(changes)
    for name in remove:
        fields.pop(name, None)
    return _encode(fields)


def _read(raw: bytes) -> dict[str, Any]:
    try:
        fields = _decode(raw)
    except msgspec.MsgspecError as error:
        raise BadRequest(_syntax(raw, str(error))) from None
    except UnicodeDecodeError:
        raise BadRequest(f"The body is not valid UTF-8{_where_not_utf8(raw)}.") from None
    except RecursionError:
        raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    if not isinstance(fields, dict):
        raise BadRequest("The body must be a JSON object.")
    if _may_be_deep(raw) and _is_deep(fields):
        raise BadRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
    return fields


def _syntax(raw: bytes, said: str) -> str:
    """What the decoder says, in words for whoever wrote the body."""
    if not raw.strip():
        return "The body is empty; a JSON object is expected."
    half = _HALF_PAIR.search(raw) if raw.rstrip().endswith(b"}") else None
    if half and ("truncated" in said or "surrogate" in said):
        return (
            f"The body is not valid JSON: a character was cut in two, its other \\u is missing (byte {half.start()})."
        )
    if "truncated" in said:
        return f"The body is not valid JSON: it ends in the middle, after {len(raw)} bytes."
    found = _POSITION.search(said)
    position = int(found[1]) if found else 0
    if found and _NO_NUMBER.match(raw, position):
        return f"The body is not valid JSON: NaN and Infinity are no JSON numbers (byte {position})."
    if "trailing characters" in said:
        return f"The body is not valid JSON: something follows its end (byte {position - 1})."
    return f"The body is not valid JSON: {said.removeprefix('JSON is malformed: ')}."


def _where_not_utf8(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f" (byte {error.start})"
    return ""


def _may_be_deep(raw: bytes) -> bool:
    """Whether there are brackets enough: each level has two, and too many levels more than half of one kind."""
    return len(raw) > 2 * MAX_DEPTH and (_holds(raw, b"{", MAX_DEPTH // 2) or _holds(raw, b"[", MAX_DEPTH // 2))


def _holds(raw: bytes, bracket: bytes, number: int) -> bool:
    """Whether ``raw`` has so many brackets; ``find`` passes over text many times faster than ``count``."""
    at = -1
    for _ in range(number):
        at = raw.find(bracket, at + 1)
        if at < 0:
            return False
    return True


def _is_deep(fields: dict[str, Any]) -> bool:
    level: list[Any] = [fields]
    for _ in range(MAX_DEPTH):
        inner = (value for box in level for value in (box.values() if isinstance(box, dict) else box))
        level = [value for value in inner if isinstance(value, _BOXES)]
    return bool(level)


def _refuse(path: str, wanted: str) -> None:
    raise BadRequest(f"'{path}' must be {wanted}.", param=path)


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        _refuse(name, "a string")


def _name(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        _refuse(name, "a string that is not empty")


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        _refuse(name, "true or false")


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(name, "a number")


def _count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        _refuse(name, "a positive integer")


def _choices(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_CHOICES:
        _refuse(name, f"an integer from 1 to {MAX_CHOICES}")


def _object(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        _refuse(name, "an object")


def _list(name: str, value: Any) -> None:
    if not isinstance(value, list):
        _refuse(name, "an array")


def _asked(name: str, value: Any) -> None:
    if not isinstance(value, str | list) or value == []:
        _refuse(name, "a string, or an array that is not empty")


def _messages(name: str, value: Any) -> None:
    if not isinstance(value, list) or not value:
        _refuse(name, "an array of at least one message")
    for position, message in enumerate(value):
        if not isinstance(message, dict):
            _refuse(f"{name}[{position}]", "an object")
        role = message.get("role")
        if not isinstance(role, str) or not role:
            _refuse(f"{name}[{position}].role", "a string that is not empty")
        content = message.get("content")
        if not isinstance(content, _CONTENT):
            _refuse(f"{name}[{position}].content", "a string, an array or null")


_COMMON: Final[Mapping[str, _Check]] = {"model": _name, "user": _text}
_SAMPLED: Final[Mapping[str, _Check]] = {
    **_COMMON,
    "stream": _flag,
    "stream_options": _object,
    "n": _choices,
    "temperature": _number,
    "top_p": _number,
    "max_tokens": _count,
    "max_completion_tokens": _count,
}
_SAID: Final[Mapping[str, _Check]] = {**_SAMPLED, "messages": _messages, "tools": _list}
_CHECKS: Final[Mapping[str, Mapping[str, _Check]]] = {
    "chat": _SAID,
    "completions": {**_SAMPLED, "prompt": _asked},
    "embeddings": {**_COMMON, "input": _asked},
    "messages": {**_SAID, "metadata": _object},
    "count_tokens": {**_SAID, "metadata": _object},
}
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "chat": ("model", "messages"),
    "completions": ("model", "prompt"),
    "embeddings": ("model", "input"),
    "messages": ("model", "messages", "max_tokens"),
    "count_tokens": ("model", "messages"),
}
