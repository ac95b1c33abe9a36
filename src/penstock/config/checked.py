"""A file that is being checked: what one check may ask, and where mistakes are noted."""

import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from penstock.config.document import Document, Path
from penstock.config.kinds import Kind
from penstock.config.schema import File, ProviderSection


@dataclass(frozen=True, slots=True)
class Checked:
    """What is checked, and where mistakes are noted."""

    document: Document
    file: File
    kinds: Mapping[str, Kind]
    directory: pathlib.Path

    def wrong(self, path: Path, what: str) -> None:
        """Note a mistake."""
        self.document.wrong(path, what)

    def intact(self, *path: str | int) -> bool:
        """Whether nothing at or under ``path`` was cut out as wrong."""
        return not self.document.damaged(path)

    def named(self, section: str, found: Mapping[str, object]) -> tuple[str, ...]:
        """The entries of a top-level mapping, those cut out as wrong too."""
        written = (str(path[1]) for path in self.document.cut if len(path) > 1 and path[0] == section)
        return tuple(dict.fromkeys((*found, *written)))

    def names_all_models(self) -> bool:
        """Whether no alias may stand in what was cut out."""
        paths = (path for path in self.document.cut if path[0] == "models")
        return not any(len(path) <= len(("models", "m")) or path[2:] == ("aliases",) for path in paths)

    def served_names(self) -> tuple[str, ...]:
        """Every name a client may ask for."""
        names = dict.fromkeys(self.named("models", self.file.models))
        for model in self.file.models.values():
            names |= dict.fromkeys(model.aliases)
        return tuple(names)

    def may_step_down(self) -> bool:
        """Whether some model has a cheaper one, or what was cut out may have had it."""
        written = any(model.cheaper for model in self.file.models.values())
        return written or not self.names_all_models() or any(path[-1] == "cheaper" for path in self.document.cut)

    def providers(self) -> Iterator[tuple[Path, ProviderSection, Kind]]:
        """Every provider of a known kind, and where it stands."""
        for name, section in self.file.providers.items():
            if kind := self.kinds.get(section.kind):
                yield ("providers", name), section, kind
