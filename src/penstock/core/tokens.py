"""How many tokens a text is likely to be, without a tokenizer.

DeepSeek's own rule of thumb (https://api-docs.deepseek.com/quick_start/token_usage): 0.3 token per English character,
0.6 per Chinese one. Against its tokenizer that is 3 to 28 % too many for prose, code and JSON, so a limit that counts
with it errs on the safe side. An image counts 1024, the most it is ever billed.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

IMAGE_TOKENS: Final = 1024
MESSAGE_TOKENS: Final = 4
"""What a chat template puts around one message."""
LEAST_SHARE: Final = 10
"""An estimate is at most 0.6 token a character; no tokenizer makes fewer than one of 16 of prose, code or JSON."""

_encode = msgspec.json.encode
_OPAQUE: Final = frozenset(("image_url", "image", "input_image", "input_audio", "file", "document", "video_url"))
_PLAIN: Final = {"role", "content"}
_SAID: Final = ("content", "reasoning_content", "refusal")
_CALLED: Final = ("tool_calls", "function_call")


def estimate_tokens(text: str) -> int:
    """About how many tokens ``text`` is, rounded up."""
    chars = len(text)
    ascii_chars = chars if text.isascii() else len(text.encode("ascii", "ignore"))
    return (3 * ascii_chars + 6 * (chars - ascii_chars) + 9) // 10


def estimate_request(dialect: str, fields: Mapping[str, Any]) -> int:
    """About how many prompt tokens the request is: what it says, its tools, its images."""
    if dialect == "completions":
        return _value(fields.get("prompt")) + _value(fields.get("suffix"))
    if dialect == "embeddings":
        return _value(fields.get("input"))
    messages = fields.get("messages")
    said = sum(map(_message, messages)) if isinstance(messages, list) else 0
    return said + _value(fields.get("system")) + _json(fields.get("tools")) + _json(fields.get("functions"))


def estimate_answer(whole: Mapping[str, Any]) -> int:
    """About how many output tokens a whole answer of any dialect is; 0 for embeddings."""
    choices = whole.get("choices")
    try:
        return sum(map(_choice, choices)) if isinstance(choices, list) else _value(whole.get("content"))
    except RecursionError:  # only a provider gone mad nests that deep
        return 0


def surely_said(whole: Mapping[str, Any]) -> int:
    """Tokens that a whole answer has at least: one for every 16 characters or more."""
    return estimate_answer(whole) // LEAST_SHARE


def _message(message: Any) -> int:
    return MESSAGE_TOKENS + _spoken(message) if isinstance(message, dict) else 0


def _choice(choice: Any) -> int:
    if not isinstance(choice, dict):
        return 0
    message = choice.get("message")
    return _spoken(message) if isinstance(message, dict) else _value(choice.get("text"))


def _spoken(message: dict[str, Any]) -> int:
    content = message.get("content")
    if isinstance(content, str) and message.keys() == _PLAIN:
        return estimate_tokens(content)
    return sum(_value(message.get(name)) for name in _SAID) + sum(_json(message.get(name)) for name in _CALLED)


def _value(value: Any) -> int:
    """A string, a list of strings, token numbers or parts, or one part."""
    if isinstance(value, str):
        return estimate_tokens(value)
    if isinstance(value, list):
        return sum(map(_value, value))
    if isinstance(value, dict):
        return _part(value)
    return 1 if isinstance(value, int) else 0


def _part(part: dict[str, Any]) -> int:
    """One content part: an image by its cap, a tool's result by what is in it, anything else by its JSON."""
    if part.get("type") in _OPAQUE:
        return IMAGE_TOKENS
    if part.get("type") == "tool_result":
        return _value(part.get("content"))
    text = part.get("text", part.get("thinking"))
    return estimate_tokens(text) if isinstance(text, str) else _json(part)


def _json(value: Any) -> int:
    return estimate_tokens(_encode(value).decode()) if value else 0
