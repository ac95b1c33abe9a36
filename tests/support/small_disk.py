"""A disk with little room, for one server's data: a tmpfs of its own, which may be filled and emptied.

with small_disk(server.directory / "data" / "base", size="64m") as disk:
    disk.fill()
    disk.free()
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

_BLOCK: Final = 1 << 16


class SmallDisk:
    """Mounted."""

    def __init__(self, place: Path) -> None:
        self._ballast = place / "ballast"

    def fill(self) -> None:
        """To the last block."""
        with self._ballast.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"\0" * _BLOCK)
                except OSError:
                    return

    def free(self) -> None:
        """There is room again."""
        self._ballast.unlink()


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[SmallDisk]:
    """What is in the directory is copied to it; its server must not run meanwhile. Skips who may not mount."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    with TemporaryDirectory() as elsewhere:
        copy = Path(elsewhere) / "copy"
        subprocess.run(["cp", "-a", str(place), str(copy)], check=True)  # noqa: S607 - it is everywhere
        owner = place.stat()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place)]
        if subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
            pytest.skip("this machine lets nobody mount")
        subprocess.run(["cp", "-a", f"{copy}/.", str(place)], check=True)  # noqa: S607 - likewise
        shutil.chown(place, owner.st_uid, owner.st_gid)
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S607 - likewise
