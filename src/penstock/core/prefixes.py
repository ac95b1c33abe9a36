"""The growing beginnings of a prompt as digests: what two requests have in common of theirs is warm for both.

A chain: each digest is of everything up to its boundary, so two requests share one only when all before it is the same.
Boundaries are where a prompt is continued: behind instructions and tools, behind each message; of a plain prompt every
``CHUNK`` characters. A long prompt keeps its first boundaries (what many prompts share) and its last ones (where the
turn before ended).
"""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec

FIRST: Final = 2
"""Boundaries that are kept from the beginning, and"""
LAST: Final = 30
"""from the end."""
MAX_BYTES: Final = 262_144
"""A longer prompt is read to the boundary before so many bytes; its first piece is always read."""
CHUNK: Final = 1_024
"""Characters between two boundaries of a plain prompt."""
DIGEST_BYTES: Final = 16

_MARKER: Final = "cache_control"
"""Says how to keep the prompt and moves on from turn to turn: no part of what is kept."""
_AHEAD: Final = ("system", "tools", "functions", "response_format")
"""What providers put in front of the messages."""

_encode = msgspec.json.encode


def prompt_prefixes(dialect: str, fields: Mapping[str, Any]) -> list[bytes]:
    """The digests of this request's prefixes, the longest last; none for a dialect that has no prompt to continue.

    ``fields``: the decoded body. At most ``FIRST + LAST`` digests of ``DIGEST_BYTES`` bytes.
    """
    pieces = _plain(fields) if dialect == "completions" else _spoken(fields)
    digests: list[bytes] = []
    chain, left = blake2b(digest_size=DIGEST_BYTES), MAX_BYTES
    for piece in pieces:
        left -= len(piece)
        if left < 0 and digests:
            break
        chain.update(b"%d:" % len(piece))
        chain.update(piece)
        digests.append(chain.digest())
    return digests if len(digests) <= FIRST + LAST else digests[:FIRST] + digests[-LAST:]


def _spoken(fields: Mapping[str, Any]) -> Iterator[bytes]:
    """Instructions and tools as one piece, then message by message; nothing where there are no messages."""
    messages = fields.get("messages")
    if not isinstance(messages, list):
        return
    ahead = [_unmarked(fields[name]) for name in _AHEAD if name in fields]
    if ahead:
        yield _encode(ahead)
    for message in messages:
        yield _encode(_message(message))


def _message(message: Any) -> Any:
    """The message without markers."""
    if isinstance(message, dict) and isinstance(message.get("content"), list):
        return {**message, "content": _unmarked(message["content"])}
    return message


def _unmarked(value: Any) -> Any:
    """The value, its parts without markers where it has any."""
    if not isinstance(value, list):
        return value
    return [
        {name: each for name, each in part.items() if name != _MARKER} if isinstance(part, dict) else part
        for part in value
    ]


def _plain(fields: Mapping[str, Any]) -> Iterator[bytes]:
    """A plain prompt in chunks; a list of prompts or of token numbers as one piece."""
    prompt = fields.get("prompt")
    if not isinstance(prompt, str):
        if prompt:
            yield _encode(prompt)
        return
    whole = len(prompt) // CHUNK * CHUNK
    for start in range(0, whole, CHUNK):
        yield prompt[start : start + CHUNK].encode()
    if not whole:
        yield prompt.encode()
