"""The Lua files, by name: every script that runs in Redis stands in ``lua/*.lua``.

A script that begins with ``-- after: NAME`` gets that file's text before its own: Redis has no modules.
"""

import hashlib
from importlib import resources
from typing import Final, NamedTuple

_AFTER: Final = "-- after:"


class Script(NamedTuple):
    """A script and the name by which Redis remembers it."""

    text: str
    sha: str


def load_script(name: str) -> Script:
    """``lua/<name>.lua``, complete."""
    text = _text(name)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _text(name: str) -> str:
    text = (resources.files("penstock.stores") / "lua" / f"{name}.lua").read_text("utf-8")
    first, _, rest = text.partition("\n")
    return f"{_text(first.removeprefix(_AFTER).strip())}\n{rest}" if first.startswith(_AFTER) else text
