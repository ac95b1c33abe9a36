"""The pepper: configured, or made once beside the store."""

import stat
from pathlib import Path

import pytest

from penstock.config.load import load
from penstock.config.settings import Settings
from penstock.errors import StoreError
from penstock.ports.keys import KeyRecord
from penstock.providers.registry import KINDS
from penstock.stores.open import open_keys
from penstock.stores.pepper import open_pepper


def settings(directory: Path, text: str) -> Settings:
    """The settings of a file with this text."""
    path = directory / "penstock.yaml"
    path.write_text(text)
    return load(path, {}, registry=KINDS)


def test_a_generated_pepper_is_private_and_stays(tmp_path: Path) -> None:
    """0600 beside the store, the same at the next start, another for another store, no draft left."""
    first, second = settings(tmp_path, "store: sqlite:data/a.db\n"), settings(tmp_path, "store: sqlite:data/b.db\n")
    pepper = open_pepper(first)
    assert len(pepper) >= 32
    assert open_pepper(first) == pepper != open_pepper(second)
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "data").iterdir()}
    assert files == {"a.db.secret": 0o600, "b.db.secret": 0o600}


def test_a_configured_secret_goes_first(tmp_path: Path) -> None:
    """Nodes that share a store share ``server.secret``; no file is made."""
    secret = "s" * 40
    assert open_pepper(settings(tmp_path, f"server: {{secret: {secret}}}\n")) == secret.encode()
    assert not list(tmp_path.glob("*.secret"))


def test_a_store_in_memory_has_a_pepper_of_its_process(tmp_path: Path) -> None:
    """Random, and nothing on disk."""
    made = settings(tmp_path, "store: 'memory:'\n")
    assert open_pepper(made) != open_pepper(made)
    assert not list(tmp_path.glob("*.secret"))


def test_a_damaged_pepper_is_refused(tmp_path: Path) -> None:
    """An empty file must not become an empty pepper."""
    made = settings(tmp_path, "store: sqlite:a.db\n")
    (tmp_path / "a.db.secret").write_text("\n")
    with pytest.raises(StoreError, match="too short"):
        open_pepper(made)


async def test_a_lost_pepper_is_mourned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Keys were made under it: the log says that none is valid any more, and what to do. Without keys, nothing."""
    made = settings(tmp_path, "store: sqlite:a.db\n")
    secret = tmp_path / "a.db.secret"
    async with open_keys(made.store, made.directory, write=True) as keys:
        open_pepper(made)
        secret.unlink()
        open_pepper(made)
        assert not caplog.records
        await keys.add(KeyRecord(id="key_1", name="ci", digest="d", prefix="psk-", created_at=0.0))
        secret.unlink()
        open_pepper(made)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f"{secret} was missing" in record.getMessage()
    assert "none of the 1 keys" in record.getMessage()
