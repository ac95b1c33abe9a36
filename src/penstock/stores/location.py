"""Where a store URL points."""

from pathlib import Path
from typing import Final

from penstock.errors import StoreError

MEMORY: Final = "memory:"

_SQLITE: Final = "sqlite:"


def sqlite_path(url: str, directory: Path) -> Path:
    """The file that ``sqlite:PATH`` names; a relative one is relative to ``directory``. Raises StoreError."""
    if url == MEMORY:
        raise StoreError(
            "the store `memory:` lives and ends with its process: ask the running server, or use sqlite:PATH"
        )
    if not url.startswith(_SQLITE) or url == _SQLITE:
        raise StoreError(f"{url!r} names no store on disk: write sqlite:PATH")
    return directory / Path(url.removeprefix(_SQLITE)).expanduser()
