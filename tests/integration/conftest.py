"""A place to run commands in, and a server beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Place, Server, listening_server, open_place


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    """A directory with a config; nobody listens on the admin port."""
    with open_place(tmp_path, capsys) as made:
        yield made


@pytest.fixture
def server(place: Place) -> Iterator[Server]:
    """Listens on the admin port that the config names."""
    with listening_server(place) as made:
        yield made
