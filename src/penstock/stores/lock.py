"""One serving process per store: a lock on a file beside it, which ends with its process however that ends.

A second server would not see what the first one purges, and would go on answering from it. Commands that read, or write
keys, need no lock: they work beside a server. A process that hands over to its successor shares its lock with it: the
lock belongs to the open file, which the successor inherits, and is free when both have closed it. Fails open where the
file system has no locks, with a warning.
"""

import fcntl
import logging
import os
from pathlib import Path
from typing import Final

from penstock.errors import StoreError
from penstock.stores.sqlite import store_errors

log = logging.getLogger(__name__)

_LONGEST_PID: Final = 20


def holder(store: Path) -> int | None:
    """The process that serves from ``store``; None when there is none, or it does not say."""
    path = store.with_name(f"{store.name}.lock")
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = os.read(file, _LONGEST_PID).strip()
        return int(told) if told.isdigit() else None
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(file)


class StoreLock:
    """Held from its making to ``release``."""

    def __init__(self, store: Path, inherited: int | None = None) -> None:
        """Take the lock of ``store``, whose directory is made. Raises StoreError when another process has it.

        ``inherited``: the file of a lock that the process before this one shares. It is used if it is this store's,
        and closed if not.
        """
        path = store.with_name(f"{store.name}.lock")
        with store_errors(store, "opened"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        if inherited is not None and os.path.sameopenfile(inherited, self.file):
            os.close(self.file)
            self.file = inherited
            return
        if inherited is not None:
            os.close(inherited)
        self._take(store)

    def sign(self) -> None:
        """Write into the file whose it is, for messages and for ``penstock restart``."""
        os.truncate(self.file, 0)
        os.pwrite(self.file, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let others have it."""
        os.close(self.file)

    def _take(self, store: Path) -> None:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self.file, _LONGEST_PID).decode("ascii", "replace").strip()
            self.release()
            raise StoreError(
                f"the store {store} is in use by another server (process {holder or 'unknown'}): stop that one first, "
                "or give this one a `store` of its own"
            ) from None
        except OSError as error:
            log.warning(
                "the store cannot be locked on its file system: see to it that no second server uses it",
                extra={"store": str(store), "why": str(error)},
            )
        else:
            self.sign()
