"""The file and the environment -> Settings, or every mistake in them at once. Nothing else reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from penstock.config.assembly import assemble
from penstock.config.checked import Checked
from penstock.config.checks import check
from penstock.config.completion import SIMULATED, complete
from penstock.config.document import Document
from penstock.config.environment import Environment
from penstock.config.kinds import Kind
from penstock.config.reading import MAX_BYTES, read_document
from penstock.config.settings import Settings
from penstock.config.validation import read_file
from penstock.errors import ConfigError

BUILT_IN: Final = "built-in"
"""The source of settings that no file made."""
DEFAULT_FILE: Final = Path("penstock.yaml")


def load_here(path: Path | None, *, registry: Mapping[str, Kind]) -> Settings:
    """As ``load``, from this process's environment; without a path from ``./penstock.yaml``, when it exists."""
    return load(path or found_here(), os.environ, registry=registry)


def supervisor_here() -> str | None:
    """Where the supervisor of this process listens, if it has one that does (sd_notify(3))."""
    return os.environ.get("NOTIFY_SOCKET")


def activation_here() -> int:
    """How many listening sockets the supervisor has passed to this very process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):  # they were for the process before this one
        return 0
    count = os.environ.get("LISTEN_FDS", "")
    return int(count) if count.isdecimal() else 0


def found_here() -> Path | None:
    """``./penstock.yaml``, when it exists."""
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load(path: Path | None, environ: Mapping[str, str], *, registry: Mapping[str, Kind]) -> Settings:
    """The settings of a file, or built-in ones. ``registry``: the rows that providers start from, ``sim`` among them.

    Raises ConfigError with every mistake, each ``file:line: path: what is wrong; what to do``.
    """
    if path is None:
        return _settings(Document(BUILT_IN), environ, registry, Path())
    document = read_document(str(path), _bytes(path), environ)
    return _settings(document, environ, registry, path.parent)


def _settings(
    document: Document, environ: Mapping[str, str], registry: Mapping[str, Kind], directory: Path
) -> Settings:
    directory = directory.resolve()
    environment = Environment(environ, document)
    written = read_file(document)
    file = complete(written, document, environment, registry)
    check(Checked(document, file, registry, directory))
    if document.mistakes:
        raise document.error()
    settings = assemble(file, registry, source=document.source, directory=directory, takes_models=not written.models)
    if written.providers or SIMULATED not in file.providers:
        return settings
    ignored = [
        f"{kind.env_key} is set, but {document.source} names no provider: simulated answers are served; "
        f"add `providers: {{{kind.name}: {{kind: {kind.name}}}}}`"
        for kind in environment.keyed(registry)
    ]
    return replace(settings, simulated=True, warnings=(*settings.warnings, *ignored))


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise ConfigError([f"{path}: {reason}; name another file with -c, or none for the built-in settings"]) from None
