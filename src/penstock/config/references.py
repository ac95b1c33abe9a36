"""``${NAME}`` and ``${NAME:-default}`` anywhere in a value; ``$$`` is a literal ``$``.

References are set aside before the YAML is read, because ``{api_key: ${KEY}}`` is no YAML: each becomes a mark of two
private-use characters around its number. The environment's words are filled in after the YAML is read, so they are
never taken for YAML themselves.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

OPEN: Final = "\ue000"
CLOSE: Final = "\ue001"
_REFERENCE: Final = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}\r\n\x85\u2028\u2029]*))?\}")
_MARK: Final = re.compile(f"{OPEN}([0-9]{{1,7}}){CLOSE}")


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference as written. ``name`` None = just the text ``default``; ``default`` None = it has none."""

    written: str
    name: str | None
    default: str | None


@dataclass(frozen=True, slots=True)
class Filled:
    """A value with the environment's words in it, in pieces: joined they may be long."""

    pieces: tuple[str, ...]
    from_environment: bool
    unset: tuple[str, ...]
    """The variables it needs and the environment lacks."""


def set_aside(text: str) -> tuple[str, list[Reference]]:
    """The text with marks in place of its references, and these."""
    references: list[Reference] = []

    def mark(match: re.Match[str]) -> str:
        references.append(Reference(match[0], match[1], match[2] if match[1] else "$"))
        return f"{OPEN}{len(references) - 1}{CLOSE}"

    return _REFERENCE.sub(mark, text), references


def fill(text: str, references: list[Reference], environ: Mapping[str, str]) -> Filled:
    """The text with its marks replaced by what the environment says. An empty variable takes the default too."""
    found = [_found(match, references) for match in _MARK.finditer(text)]
    values = [_value(reference, environ) for reference in found]
    pieces = list(_MARK.split(text))
    pieces[1::2] = [value or "" for value in values]
    unset = tuple(reference.name or "" for reference, value in zip(found, values, strict=True) if value is None)
    return Filled(tuple(pieces), any(reference.name for reference in found), unset)


def restore(text: str, references: list[Reference]) -> str:
    """The text as it was written."""
    return _MARK.sub(lambda match: _found(match, references).written, text)


def _found(match: re.Match[str], references: list[Reference]) -> Reference:
    """The reference behind a mark; a mark that escapes in the file made up stands for itself."""
    index = int(match[1])
    return references[index] if index < len(references) else Reference(match[0], None, match[0])


def _value(reference: Reference, environ: Mapping[str, str]) -> str | None:
    value = environ.get(reference.name) if reference.name else None
    return value if reference.default is None else value or reference.default
