"""Where a store URL points."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from penstock.errors import StoreError

MEMORY: Final = "memory:"

_SQLITE: Final = "sqlite:"


def is_postgres(url: str) -> bool:
    """Whether it is a server's."""
    return url.startswith(("postgresql:", "postgres:"))


def describe(url: str) -> str:
    """The URL without what is secret in it."""
    if not is_postgres(url):
        return url
    parts = urlsplit(url)
    if "@" not in parts.netloc and "@" in url:  # something in the password ended it: nobody knows where that begins
        return "postgresql://***"
    user, at, host = parts.netloc.rpartition("@")
    return f"postgresql://{user.partition(':')[0]}{at}{host}{parts.path}"


def each_host(url: str) -> Sequence[str]:
    """The URLs of a PostgreSQL that has several hosts (``h1:5432,h2``), a host each; of any other the URL itself."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]


def sqlite_path(url: str, directory: Path) -> Path:
    """The file that ``sqlite:PATH`` names; a relative one is relative to ``directory``. Raises StoreError."""
    if url == MEMORY:
        raise StoreError(
            "the store `memory:` lives and ends with its process: ask the running server, or use sqlite:PATH"
        )
    if is_postgres(url):
        raise StoreError("this needs a store on this machine's disk, and PostgreSQL is none")
    if not url.startswith(_SQLITE) or url == _SQLITE:
        raise StoreError(f"{url!r} names no store on disk: write sqlite:PATH")
    return directory / Path(url.removeprefix(_SQLITE)).expanduser()
