"""The pepper under which client keys are hashed: who steals the store alone can test no key.

It is ``server.secret`` where that is set (nodes that share a store must share it), else a file beside the store,
generated once and readable by its owner only. Losing it makes every stored key a stranger: fails closed, and says so
when another is generated.
"""

import hashlib
import hmac
import logging
import os
import secrets
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from penstock.config.settings import Settings
from penstock.errors import StoreError
from penstock.stores.location import MEMORY, is_postgres, sqlite_path
from penstock.stores.queries import load_queries
from penstock.stores.sqlite import connect_reading, store_errors

log = logging.getLogger(__name__)

_BYTES: Final = 32
_SIGN_DIGITS: Final = 16


def open_pepper(settings: Settings) -> bytes:
    """The pepper of these settings' store, generated where there is none. Raises StoreError."""
    if settings.server.secret is not None:
        return settings.server.secret.reveal().encode()
    if is_postgres(settings.store):
        raise StoreError(
            "nodes that share a store share the secret of its keys: set `server.secret`, or PENSTOCK_SECRET"
        )
    if settings.store == MEMORY:
        return secrets.token_bytes(_BYTES)
    return _kept(secret_file(settings), sqlite_path(settings.store, settings.directory))


def secret_file(settings: Settings) -> Path:
    """Where the pepper of a store on disk is kept when the config has none."""
    path = sqlite_path(settings.store, settings.directory)
    return path.with_name(f"{path.name}.secret")


def find_pepper(settings: Settings) -> bytes | None:
    """The pepper there is; none is generated. Raises StoreError when it cannot be read."""
    if settings.server.secret is None and not is_postgres(settings.store) and not secret_file(settings).exists():
        return None
    return open_pepper(settings)


def sign_of(pepper: bytes) -> str:
    """By which to know a pepper again, and nothing else of it."""
    return hmac.digest(pepper, b"penstock: the secret of keys", hashlib.sha256).hex()[:_SIGN_DIGITS]


def _kept(path: Path, store: Path) -> bytes:
    """The content of the file, which appears whole or not at all: the first of several processes decides."""
    try:
        if not path.exists():
            _create(path)
            _mourn(path, store)
        pepper = path.read_bytes().strip()
    except OSError as error:
        raise StoreError(f"the secret {path} cannot be read or created: {error}", detail=repr(error)) from error
    if len(pepper) < _BYTES:
        raise StoreError(f"the secret {path} is too short: restore it, or delete it, which makes all keys invalid")
    return pepper


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(secrets.token_hex(_BYTES).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _mourn(path: Path, store: Path) -> None:
    """A store that has keys already had a secret, too."""
    if not store.exists():
        return
    with closing(connect_reading(store)) as connection, store_errors(store, "read"):
        (keys,) = connection.execute(load_queries("keys")["count"]).fetchone()
    if keys:
        log.error(
            "the secret %s was missing, so a new one was made: none of the %d keys in the store is valid any more. Put "
            "the old file back (or set server.secret) and start again, or revoke the keys and create others",
            path,
            keys,
        )
