"""What an edge remembers of its centre: small files beside the store, each replaced whole. Fails open: see the port."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Final

from penstock.config.settings import Settings
from penstock.ports.notes import CentreNotes
from penstock.stores.location import MEMORY, is_postgres, sqlite_path

MOST_BYTES: Final = 32 * 1024 * 1024

log = logging.getLogger(__name__)


def open_notes(settings: Settings) -> CentreNotes:
    """The notes beside these settings' store."""
    if settings.store == MEMORY:
        return MemoryNotes()
    if is_postgres(settings.store):
        return FileNotes(settings.directory / "penstock")
    return FileNotes(sqlite_path(settings.store, settings.directory))


class MemoryNotes:
    """Gone with the process."""

    def __init__(self) -> None:
        self._notes: dict[str, bytes] = {}

    async def read(self, name: str) -> bytes | None:
        """The note of that name."""
        return self._notes.get(name)

    async def write(self, name: str, note: bytes) -> None:
        """Keep it."""
        self._notes[name] = note


class FileNotes:
    """``STORE.centre.NAME`` for each, for its owner only: the models and prices of a centre are nobody else's."""

    def __init__(self, store: Path) -> None:
        """``store``: the file beside which they stand."""
        self._store = store

    async def read(self, name: str) -> bytes | None:
        """The note of that name."""
        return await asyncio.to_thread(self._read, self._path(name))

    async def write(self, name: str, note: bytes) -> None:
        """Keep it."""
        await asyncio.to_thread(self._write, self._path(name), note)

    def _path(self, name: str) -> Path:
        return self._store.with_name(f"{self._store.name}.centre.{name}")

    def _read(self, path: Path) -> bytes | None:
        try:
            with path.open("rb") as file:
                return file.read(MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("a note on the centre cannot be read", extra={"file": str(path), "why": str(error)})
            return None

    def _write(self, path: Path, note: bytes) -> None:
        draft = path.with_name(f"{path.name}.draft")
        try:
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            log.warning("a note on the centre cannot be written", extra={"file": str(path), "why": str(error)})
