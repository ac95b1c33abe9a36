"""Upper bounds of what a call can use: a hold is a true bound, or the request is refused (DESIGN part 5, rule 3).

A token covers at least one byte, so a prompt has no more tokens than its request has bytes, plus what templates add
around messages and tools. An image counts the most any provider bills for one; a file, a sound or a film that is only
named by its address has no bound that we know.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

BASE_TOKENS: Final = 64
MESSAGE_TOKENS: Final = 16
TOOLS_TOKENS: Final = 1024
"""What a template says around a request, around each of its messages, and around its tools, at most."""
IMAGE_TOKENS: Final = 16_384
"""Qwen-VL's largest image; OpenAI's and Anthropic's are billed less."""

_IMAGES: Final = ("image_url", "image", "input_image")
_UNBOUNDED: Final = ("video_url", "video", "file", "input_file", "document")
_CAPS: Final = ("max_completion_tokens", "max_tokens")
_encode = msgspec.json.encode


def prompt_bound(raw: bytes, fields: Mapping[str, Any]) -> int | None:
    """The most tokens the prompt can be billed as; None = unknown, such as a file that is fetched by its URL."""
    messages = fields.get("messages")
    said = messages if isinstance(messages, list) else ()
    bound = len(raw) + BASE_TOKENS + MESSAGE_TOKENS * len(said)
    if fields.get("tools") or fields.get("functions"):
        bound += TOOLS_TOKENS
    for message in said:
        content = message.get("content")
        if content.__class__ is not str:  # parts, among which there may be media
            media = _media(content)
            if media is None:
                return None
            bound += media
    return bound


def asked_cap(fields: Mapping[str, Any]) -> int | None:
    """The most output tokens per choice that the client allows; None = it says nothing."""
    if "max_tokens" not in fields and "max_completion_tokens" not in fields:
        return None
    caps = [value for name in _CAPS if isinstance(value := fields.get(name), int) and not isinstance(value, bool)]
    return max(0, min(caps)) if caps else None


def cap_fields(dialect: str, fields: Mapping[str, Any], usual: str) -> tuple[str, ...]:
    """The fields to write a cap into: those the client sent, else ``usual``, a provider's own for chat."""
    sent = tuple(name for name in _CAPS if fields.get(name) is not None)
    return sent or (usual if dialect == "chat" else "max_tokens",)


def choices(fields: Mapping[str, Any]) -> int:
    """How many answers are generated, whether or not all are returned."""
    if "n" not in fields and "best_of" not in fields:
        return 1
    numbers = [value for name in ("n", "best_of") if isinstance(value := fields.get(name), int)]
    return max([1, *numbers])


def _media(value: Any) -> int | None:
    """What images add to the bytes of their parts; None where something in there has no bound."""
    if isinstance(value, list):
        return _sum(map(_media, value))
    if not isinstance(value, dict):
        return 0
    kind = value.get("type")
    if kind in _IMAGES:
        return IMAGE_TOKENS
    if kind in _UNBOUNDED and not _inline(value):
        return None
    return _sum(map(_media, value.values()))


def _sum(parts: Any) -> int | None:
    total = 0
    for part in parts:
        if part is None:
            return None
        total += part
    return total


def _inline(part: Mapping[str, Any]) -> bool:
    """Whether the content itself is in the request: then its bytes bound it."""
    text = _encode(part)
    return b'"http' not in text and b'"file_id"' not in text and b'"url"' not in text
