"""Rows that wait on this machine's disk while their store is away: files of records, each whole or not there.

A process appends to a file of its own and holds its lock, which ends with the process however that ends. Files whose
lock is free are of dead processes: whoever finds them takes them over. A record counts when it is synced to the disk;
one that a death cut short was never acknowledged, and ends its file. Bounded: ``max_bytes`` over all files of the
directory that this process knows. Fails closed: what the disk does not take raises StoreError.
"""

import asyncio
import fcntl
import logging
import os
import secrets
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow, ShareRow, noted_at
from penstock.errors import StoreError

log = logging.getLogger(__name__)

MAX_BYTES: Final = 256 << 20
"""About half a million exchanges."""

_HEAD: Final = struct.Struct("<II")
"""Length and CRC-32 of what follows."""
_LARGEST: Final = 64 << 20
_CHUNK_BYTES: Final = 1 << 20
_KINDS: Final = (ExchangeRow, AttemptRow, ShareRow)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, list[tuple[int, msgspec.Raw]]]).decode
_DECODERS: Final[Sequence[Callable[[msgspec.Raw], LedgerRow]]] = [
    msgspec.msgpack.Decoder(ExchangeRow).decode,
    msgspec.msgpack.Decoder(AttemptRow).decode,
    msgspec.msgpack.Decoder(ShareRow).decode,
]


class Record(NamedTuple):
    """Rows that were appended together, and the lease under which they were let through."""

    lease: int
    rows: Sequence[LedgerRow]


class Place(NamedTuple):
    """How far a file was read."""

    path: Path
    offset: int


class Spool:
    """For one loop; the disk is touched by threads, one at a time."""

    def __init__(self, directory: Path, name: str, max_bytes: int = MAX_BYTES) -> None:
        """``name``: of the store whose rows these are; files of another name are not touched."""
        self._directory = directory
        self._name = name
        self._max_bytes = max_bytes
        self._own: _File | None = None
        self._left: deque[_File] = deque()
        """Of dead processes, and of this one's past, oldest first."""
        self._turn = asyncio.Lock()

    @property
    def waits(self) -> int:
        """Bytes that are not in the store yet."""
        return sum(file.unread for file in (*self._left, *([self._own] if self._own else [])))

    @property
    def oldest_at(self) -> float | None:
        """When the oldest of it was appended, as far as was read, epoch seconds; None = nothing waits."""
        files = (*self._left, *([self._own] if self._own else []))
        return min((file.oldest_at for file in files if file.unread and file.oldest_at is not None), default=None)

    @property
    def is_writable(self) -> bool:
        """Whether files could be made there, as far as permissions tell."""
        there = next(each for each in (self._directory, *self._directory.parents) if each.exists())
        return there.is_dir() and os.access(there, os.W_OK)

    async def append(self, records: Iterable[Record]) -> None:
        """Durable when it returns. Raises StoreError; then none of them counts."""
        kept = list(records)
        written, at = b"".join(map(_encoded, kept)), noted_at(kept[0].rows) if kept else None
        async with self._turn:
            await asyncio.to_thread(self._append, written, at)

    async def adopt(self) -> int:
        """Take over what dead processes left; how many bytes wait."""
        async with self._turn:
            await asyncio.to_thread(self._adopt)
        return self.waits

    async def read(self) -> tuple[Sequence[Record], Place] | None:
        """The next records, oldest first, and where they end; None = there are none."""
        async with self._turn:
            return await asyncio.to_thread(self._read)

    async def forget(self, place: Place) -> None:
        """They are in the store: a file that was read to its end goes."""
        async with self._turn:
            await asyncio.to_thread(self._forget, place)

    async def close(self) -> None:
        """Let go of the files; what waits is there for the next process."""
        async with self._turn:
            for file in (*self._left, *([self._own] if self._own else [])):
                file.close()
            self._own = None
            self._left.clear()

    # --- in threads

    def _append(self, written: bytes, at: float | None) -> None:
        if self.waits + len(written) > self._max_bytes:
            raise StoreError(f"the spool in {self._directory} is full ({self._max_bytes} bytes)")
        try:
            if self._own is None:
                self._own = _File.make(self._directory, self._name)
            self._own.append(written, at)
        except OSError as error:
            raise StoreError(
                f"the spool in {self._directory} cannot be written: {error}", detail=repr(error)
            ) from error

    def _adopt(self) -> None:
        known = {file.path for file in (*self._left, *([self._own] if self._own else []))}
        for path in sorted(self._directory.glob(f"{self._name}.*.spool")):
            if path not in known:
                found = _File.take(path)
                if found is not None:
                    self._left.append(found)

    def _read(self) -> tuple[Sequence[Record], Place] | None:
        while self._left or self._own:
            file = self._left[0] if self._left else self._own
            assert file is not None  # noqa: S101 - said by the line above
            records, end = file.read()
            if records:
                return records, Place(file.path, end)
            self._drop(file)
        return None

    def _forget(self, place: Place) -> None:
        for file in (*self._left, *([self._own] if self._own else [])):
            if file.path == place.path:
                file.begin = place.offset
                if not file.unread:
                    self._drop(file)

    def _drop(self, file: "_File") -> None:
        if file is self._own:
            self._own = None
        else:
            self._left.remove(file)
        file.remove()


class _File:
    """One file, its lock, and from where on it counts."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file
        self.begin = 0
        self.oldest_at: float | None = None
        """When the record at ``begin`` was appended, where that is known."""
        self.end = os.fstat(file).st_size

    @classmethod
    def make(cls, directory: Path, name: str) -> "_File":
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{name}.{secrets.token_hex(8)}.spool"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync_directory(directory)
        return cls(path, file)

    @classmethod
    def take(cls, path: Path) -> "_File | None":
        """None: a process has it, or it is gone."""
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return None
        if not os.fstat(file).st_nlink:  # it was drained while we asked
            os.close(file)
            return None
        return cls(path, file)

    @property
    def unread(self) -> int:
        return self.end - self.begin

    def append(self, written: bytes, at: float | None) -> None:
        """``at``: when the first of it was noted."""
        if not self.unread:
            self.oldest_at = at
        try:
            done = 0
            while done < len(written):
                done += os.pwrite(self._file, written[done:], self.end + done)
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self.end)
            raise
        self.end += len(written)

    def read(self) -> tuple[list[Record], int]:
        """Some records from ``begin`` on, and where they end. A record that is not whole ends the file."""
        records: list[Record] = []
        place = self.begin
        while place < self.end and place - self.begin < _CHUNK_BYTES:
            record, after = self._record(place)
            if record is None:
                self.end = place
                break
            records.append(record)
            place = after
        self.oldest_at = noted_at(records[0].rows) if records else None
        return records, place

    def _record(self, place: int) -> tuple[Record | None, int]:
        head = os.pread(self._file, _HEAD.size, place)
        if len(head) < _HEAD.size:
            return None, place
        length, checksum = _HEAD.unpack(head)
        body = os.pread(self._file, length, place + _HEAD.size) if length <= _LARGEST else b""
        if len(body) != length or zlib.crc32(body) != checksum:
            log.warning(
                "a spool ends in half a record, which nobody was told is durable", extra={"file": str(self.path)}
            )
            return None, place
        return _decoded(body), place + _HEAD.size + length

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        os.close(self._file)


def _encoded(record: Record) -> bytes:
    body = _encode((record.lease, [(_KINDS.index(type(row)), row) for row in record.rows]))
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _decoded(body: bytes) -> Record:
    lease, rows = _decode(body)
    return Record(lease, [_DECODERS[kind](row) for kind, row in rows])


def _sync_directory(directory: Path) -> None:
    place = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
