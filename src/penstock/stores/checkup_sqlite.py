"""Whether a SQLite store is well."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from penstock.core.findings import Finding, fail, ok, warn
from penstock.errors import StoreError
from penstock.stores.lock import holder
from penstock.stores.sqlite import connect, store_errors, transaction, versions

_OTHERS = 0o077


def examine_sqlite(path: Path) -> Iterator[Finding]:
    """What a start on the file at ``path`` would find."""
    if not path.exists():
        yield _place(path)
        return
    try:
        found, newest = versions(path)
    except StoreError as error:
        yield fail("store", error.public, "name another file in `store`, or restore this one")
        return
    if found > newest:
        cure = "use that Penstock, or go back to a copy of before"
        yield fail("store", f"{path} has schema {found}, of a newer Penstock: this one knows {newest}", cure)
    elif found < newest:
        cure = "start `penstock serve` once, which brings it up to date"
        yield warn("store", f"{path} has schema {found}, and lacks those up to {newest}", cure)
    else:
        pid = holder(path)
        yield ok("store", f"{path}: schema {found}{f', in use by process {pid}' if pid else ''}")
    yield from _writable(path)
    if path.stat().st_mode & _OTHERS:
        yield warn("store file", f"others on this machine may read {path}", f"chmod 600 {path}")


def _place(path: Path) -> Finding:
    place = next((each for each in path.parents if each.exists()), path.parent)
    if os.access(place, os.W_OK | os.X_OK):
        return ok("store", f"{path} is not there yet: `penstock serve` creates it")
    return fail("store", f"{path} cannot be created: {place} may not be written to", "give this user the right to")


def _writable(path: Path) -> Iterator[Finding]:
    """Takes the lock of a write, and gives it back. A server that writes just now holds it for milliseconds."""
    cure = "give this user the right to write it and its directory"
    if not all(os.access(each, os.W_OK) for each in (path, path.parent)):
        yield fail("store", f"{path} may not be written to", cure)
        return
    try:
        with store_errors(path, "written"), closing(connect(path)) as connection, transaction(connection):
            pass
    except StoreError as error:
        yield fail("store", error.public, cure)
