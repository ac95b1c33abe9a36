"""``docs/reference/config.md``, made of the schema: ``python -m penstock.config.reference > docs/reference/config.md``.

A setting's meaning is the text under it in ``schema.py``; a test fails while the page differs from what stands there.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from penstock.config import schema
from penstock.config.fields import Field
from penstock.config.schema import File, Section
from penstock.config.shape import fields_in, is_mapping, items_of, section_in

_HEAD: Final = """\
# Config reference

Generated from `src/penstock/config/schema.py`: `python -m penstock.config.reference > docs/reference/config.md`.

The file is YAML: `-c FILE`, else `./penstock.yaml` when it exists. Absent settings have the default shown, each by
itself; null is the same as absent. `penstock check` names every mistake at once, each with file, line and path.

- `${NAME}` and `${NAME:-default}` anywhere in a value are filled in from the environment; a literal `$` before `{` is
  `$$`. An unset variable without a default is a mistake.
- Durations: `15ms`, `30s`, `5m`, `1h`, `1d`. Sizes: `512B`, `64KiB`, `8MiB`, `1GiB`, `10MB`. Amounts are decimals.
- YAML anchors, aliases and `<<` merges work. The file is at most 1 MiB.
- Without a file every kind of provider whose environment variable is set (`DEEPSEEK_API_KEY`, ...) is a provider with
  its default models; with none set, or a file that names no provider, a simulated provider serves.
"""


def page() -> str:
    """The whole page."""
    meanings = _meanings()
    tables = [_table(prefix, section, meanings) for prefix, section in sections()]
    return "\n".join([_HEAD, *tables])


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Every section and where it stands, outer before inner, in the order of the file."""
    yield from _sections("", File)


def _sections(prefix: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    yield prefix, section
    for name, field in section.model_fields.items():
        place, inner = _inner(f"{prefix}{name}", field.annotation)
        if inner is not None:
            yield from _sections(f"{place}.", inner)


def _inner(place: str, annotation: Any) -> tuple[str, type[Section] | None]:
    """The section in a setting, its own or that of its entries, and where it stands."""
    items = items_of(annotation)
    if items is None:
        return place, section_in(annotation)
    step = ".NAME" if is_mapping(annotation) else "[]"
    return f"{place}{step}", section_in(items)


def _table(prefix: str, section: type[Section], meanings: dict[tuple[str, str], str]) -> str:
    title = f"## `{prefix.removesuffix('.')}`" if prefix else "## The file"
    lines = [
        title,
        "",
        inspect.cleandoc(section.__doc__ or ""),
        "",
        "| setting | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in section.model_fields.items():
        cells = (f"`{name}`", _type(field), _default(field), _meaning(section, name, meanings))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _meaning(section: type[Section], name: str, meanings: dict[tuple[str, str], str]) -> str:
    return next(meanings[owner.__name__, name] for owner in section.__mro__ if (owner.__name__, name) in meanings)


def _type(field: FieldInfo) -> str:
    """In words; a section's settings follow in a table of their own."""
    types = _fields(field)
    items = items_of(field.annotation)
    if items is None:
        return types[-1].type if section_in(field.annotation) is None else "section"
    inner = "sections" if section_in(items) else types[-1].type
    return f"mapping of {inner}" if is_mapping(field.annotation) else f"list of {inner}"


def _fields(field: FieldInfo) -> list[Field]:
    return [*fields_in(field.annotation), *(each for each in field.metadata if isinstance(each, Field))]


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None or isinstance(value, Section) or value in ((), {}, ""):
        return ""
    print_one = _fields(field)[-1].print
    return f"`[{', '.join(map(print_one, value))}]`" if isinstance(value, tuple) else f"`{print_one(value)}`"


def _meanings() -> dict[tuple[str, str], str]:
    """(section, setting) -> the text under it."""
    found: dict[tuple[str, str], str] = {}
    for section in ast.parse(inspect.getsource(schema)).body:
        if isinstance(section, ast.ClassDef):
            for setting, text in zip(section.body, section.body[1:], strict=False):
                if isinstance(setting, ast.AnnAssign) and isinstance(text, ast.Expr):
                    found[section.name, ast.unparse(setting.target)] = str(ast.literal_eval(text.value))
    return found


if __name__ == "__main__":
    sys.stdout.write(page())
