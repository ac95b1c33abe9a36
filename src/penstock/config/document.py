"""The file as a tree in which every value knows its path, and every path its line; and what is wrong with it.

Mistakes are collected, not raised: one reading of the file names them all.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from penstock.errors import ConfigError

Path = tuple[str | int, ...]
"""The steps from the root: names of settings, and places in lists."""


_EMPTY: Final = '""'


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as written. ``plain``: without quotes. ``from_environment``: never to be shown in a message."""

    text: str
    path: Path
    plain: bool
    from_environment: bool = False


class Map(dict[str, "Tree"]):
    """A mapping and where it stands."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path


class Seq(list["Tree"]):
    """A list and where it stands; ``positions`` are its items' places in the file's list."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.positions: list[int] = []


Tree = Map | Seq | Scalar | None
"""None is YAML's null: as if the setting were absent."""


@dataclass(slots=True)
class Document:
    """What was read, and what is wrong with it so far."""

    source: str
    root: Map = field(default_factory=lambda: Map(()))
    lines: dict[Path, int] = field(default_factory=dict)
    cut: set[Path] = field(default_factory=set)
    """Paths left out of ``root`` because a mistake about them is already noted."""
    mistakes: dict[tuple[int, str], None] = field(default_factory=dict)
    """(line, sentence with its path): a set that keeps its order."""

    def wrong(self, path: Path, what: str) -> None:
        """Note a mistake about ``path``."""
        self.wrong_at(self.line(path), path, what)

    def wrong_at(self, line: int, path: Path, what: str) -> None:
        """Note a mistake on ``line``; the same sentence is noted once."""
        self.mistakes[line, f"{show(path)}: {what}" if path else what] = None

    def line(self, path: Path) -> int:
        """The line ``path`` stands on, or the nearest thing around it; 0 = there is no file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def damaged(self, path: Path) -> bool:
        """Whether something at or under ``path`` was left out."""
        return any(cut[: len(path)] == path for cut in self.cut)

    def error(self) -> ConfigError:
        """Every mistake so far, in the order of the file."""
        places = {line: f"{self.source}:{line}" if line else self.source for line, _ in self.mistakes}
        ordered = sorted(self.mistakes, key=lambda mistake: mistake[0])
        return ConfigError([f"{places[line]}: {what}" for line, what in ordered])


def tree_of(value: Any, path: Path) -> Tree:
    """A JSON value as the tree of what a file would say. Raises RecursionError when it nests too deep."""
    if isinstance(value, dict):
        tree = Map(path)
        tree.update({name: tree_of(item, (*path, name)) for name, item in value.items()})
        return tree
    if isinstance(value, list | tuple):
        items = Seq(path)
        items.extend(tree_of(item, (*path, place)) for place, item in enumerate(value))
        items.positions = list(range(len(items)))
        return items
    return None if value is None else Scalar(_written(value), path, plain=not isinstance(value, str))


def _written(value: str | float | bool) -> str:  # noqa: FBT001 - one of JSON's values
    """How a file would spell it: never with an exponent."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value)


def show(path: Path) -> str:
    """``models.m.deployments[0].weight``; an empty name is ``""``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step or _EMPTY}" for step in path)
    return "".join(steps).removeprefix(".")
