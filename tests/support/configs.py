"""Loading configs in tests: from text, with the rows of ``kinds.py`` and an environment given in full."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from penstock.config.load import load
from penstock.config.settings import Settings
from penstock.errors import ConfigError
from tests.support.kinds import KINDS

EMPTY: Mapping[str, str] = MappingProxyType({})


def built_in(environ: Mapping[str, str] = EMPTY) -> Settings:
    """The settings without a file."""
    return load(None, environ, registry=KINDS)


def loaded(text: str | bytes, directory: Path, environ: Mapping[str, str] = EMPTY) -> Settings:
    """The settings of a file of this text."""
    path = directory / "c.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path, environ, registry=KINDS)


def mistakes(text: str | bytes, directory: Path, environ: Mapping[str, str] = EMPTY) -> list[str]:
    """What Penstock says about a file, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, directory, environ)
    prefix = f"{directory / 'c.yaml'}:"
    assert all(line.startswith(prefix) for line in caught.value.mistakes)
    return [line.removeprefix(prefix) for line in caught.value.mistakes]
