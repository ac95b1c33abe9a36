"""A JSON object that arrives in pieces: how two pieces become one.

    the piece says      what becomes of it
    null                kept only where nothing is known yet
    a string            appended, except names and identities (``ONCE``), where the first one that says something stays
    a list              appended, its items untouched
    an object           merged by these same rules
    anything else       the last one stays

Pieces are never changed: a stage further on may look at them too.
"""

from collections.abc import Mapping
from typing import Any, Final

Draft = dict[str, Any]
"""An object in the making; its strings are ``Text``."""

ONCE: Final = frozenset(("id", "type", "name", "role", "signature"))
_DEEPEST: Final = 16
"""Levels that are merged; an object further down is one value, so that no provider chooses our recursion."""


class Text(list[str]):
    """A string in the making."""


def add_field(draft: Draft, name: str, value: Any, depth: int = 0) -> None:
    """Add what a piece says about one field."""
    before = draft.get(name)
    if value is None:
        draft.setdefault(name, None)
    elif isinstance(value, str) and name not in ONCE:
        if isinstance(before, Text):
            before.append(value)
        else:
            draft[name] = Text((value,))
    elif isinstance(value, list):
        if type(before) is list:
            before.extend(value)
        else:
            draft[name] = list(value)
    elif isinstance(value, dict) and depth < _DEEPEST:
        if not isinstance(before, dict):
            before = draft[name] = {}
        add_fields(before, value, depth + 1)
    elif not (before and name in ONCE):
        draft[name] = value


def add_fields(draft: Draft, piece: Mapping[str, Any], depth: int = 0) -> None:
    """Add every field of a piece."""
    for name, value in piece.items():
        add_field(draft, name, value, depth)


def written(draft: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """The object as far as it has come, its strings joined."""
    return {name: _written(value, depth) for name, value in draft.items()}


def _written(value: Any, depth: int) -> Any:
    if isinstance(value, Text):
        return "".join(value)
    if isinstance(value, dict) and depth < _DEEPEST:
        return written(value, depth + 1)
    return value
