"""A Dockerfile, read: stages of instructions, with comments and continued lines taken out."""

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

KNOWN = frozenset({
    "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER", "VOLUME",
    "WORKDIR",
})  # fmt: skip


class Instruction(NamedTuple):
    """One of them."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """Its arguments; of the exec form those of the array. Raises ValueError where a shell would be needed."""
        if self.name in {"RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK"}:
            words: list[str] = json.loads(self.rest[self.rest.index("[") :])
            return words
        return [word for word in self.rest.split() if not word.startswith("--")]


def stages(path: Path) -> list[list[Instruction]]:
    """From each FROM to the next."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
    found: list[list[Instruction]] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        assert name in KNOWN, name
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, rest.strip()))
    return found


def in_context(path: str, ignores: Path) -> bool:
    """Whether a file of the repository reaches the builder: the last line of ``ignores`` that speaks of it decides."""
    kept = True
    for line in ignores.read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        parts = path.split("/")
        heads = ["/".join(parts[: place + 1]) for place in range(len(parts))]
        names = parts if pattern.startswith("**/") else heads
        if any(fnmatch(name, pattern.removeprefix("**/")) for name in names):
            kept = line.startswith("!")
    return kept
