"""A disk that fails for one process: strace answers in the kernel's place (its option ``-e inject``).

with sick_disk(pid, "ENOSPC", when="3+"):   # from the third write or sync of each thread on
    ...
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

CALLS: Final = "pwrite64,fsync,fdatasync"
"""What SQLite writes with."""
PATIENCE_S: Final = 20.0


@contextmanager
def sick_disk(pid: int, error: str, when: str) -> Iterator[None]:
    """``error``: EIO or ENOSPC; ``when``: ``3`` = the third call of a thread, ``3+`` = from it on."""
    injected = f"inject={CALLS}:error={error}:when={when}"
    command = ["strace", "-f", "-e", f"trace={CALLS}", "-e", injected, "-p", str(pid)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    said = strace.stderr.readline()
    assert re.search("attached", said), f"strace could not attach: {said}"
    drain = subprocess.Popen(["cat"], stdin=strace.stderr, stdout=subprocess.DEVNULL)  # noqa: S607 - it is everywhere
    strace.stderr.close()
    try:
        yield
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(PATIENCE_S)
        drain.wait(PATIENCE_S)
