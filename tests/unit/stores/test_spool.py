"""The spool: whole records in their order, from dead processes too, bounded, and never half of one."""

import os
from pathlib import Path

import pytest

from penstock.errors import StoreError
from penstock.stores.spool import Record, Spool
from tests.support.ledger_rows import AT, opened_rows, rows_of

RECORDS = [Record(lease, rows) for lease, rows in [(0, rows_of(1)), (7, opened_rows(2)), (7, rows_of(2))]]


async def drained(spool: Spool) -> list[Record]:
    """All that waits, forgotten as it is read."""
    found: list[Record] = []
    while chunk := await spool.read():
        found += chunk[0]
        await spool.forget(chunk[1])
    return found


def files(directory: Path) -> list[Path]:
    """What is there."""
    return list(directory.iterdir())


async def test_records_come_back_as_they_went_in(tmp_path: Path) -> None:
    """Every field of every row, the lease, the order; then nothing is left, and no file."""
    spool = Spool(tmp_path, "store")
    await spool.append(RECORDS[:1])
    await spool.append(RECORDS[1:])
    assert spool.waits > 0
    assert await drained(spool) == RECORDS
    assert spool.waits == 0
    assert files(tmp_path) == []
    await spool.append(RECORDS[:1])
    assert await drained(spool) == RECORDS[:1]


async def test_what_was_read_and_not_forgotten_is_read_again(tmp_path: Path) -> None:
    """Who dies in between leaves it to the next."""
    spool = Spool(tmp_path, "store")
    await spool.append(RECORDS)
    assert await spool.read() == await spool.read()


async def test_it_is_known_since_when_the_oldest_waits(tmp_path: Path) -> None:
    """Also by the process that inherits it, once it has read some; None when nothing waits."""
    spool = Spool(tmp_path, "store")
    assert spool.oldest_at is None
    await spool.append(RECORDS[:1])
    await spool.append(RECORDS[1:])
    assert spool.oldest_at == AT + 1.5
    await spool.close()
    heir = Spool(tmp_path, "store")
    await heir.adopt()
    await heir.read()
    assert heir.oldest_at == AT + 1.5
    await drained(heir)
    assert heir.oldest_at is None
    await heir.close()


def test_it_is_known_beforehand_whether_there_is_a_place_for_it(tmp_path: Path) -> None:
    """Directories may be missing, for they are made; what is no directory takes nothing."""
    assert Spool(tmp_path / "a" / "b", "store").is_writable
    (tmp_path / "file").write_bytes(b"")
    assert not Spool(tmp_path / "file" / "b", "store").is_writable


async def test_a_dead_process_is_inherited_and_a_living_one_is_not(tmp_path: Path) -> None:
    """By the lock of its file; another store's files are left alone."""
    first, second, other = Spool(tmp_path, "store"), Spool(tmp_path, "store"), Spool(tmp_path, "stores")
    await first.append(RECORDS)
    assert await second.adopt() == 0
    await first.close()
    assert await other.adopt() == 0
    assert await second.adopt() > 0
    assert await first.adopt() == 0
    assert await drained(second) == RECORDS


@pytest.mark.parametrize("left", [1, 7, 8, 9, 100])
async def test_half_a_record_ends_its_file(tmp_path: Path, left: int) -> None:
    """Nobody was told that it is durable; what came before is there."""
    spool = Spool(tmp_path, "store")
    await spool.append(RECORDS[:2])
    whole = spool.waits
    await spool.append(RECORDS[2:])
    await spool.close()
    (file,) = files(tmp_path)
    os.truncate(file, whole + left)
    assert await spool.adopt() == whole + left
    assert await drained(spool) == RECORDS[:2]
    assert files(tmp_path) == []


def damage(file: Path) -> None:
    """One bit near its end."""
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


async def test_damage_is_told_from_a_record(tmp_path: Path) -> None:
    """By its checksum."""
    spool = Spool(tmp_path, "store")
    await spool.append(RECORDS)
    await spool.close()
    (file,) = files(tmp_path)
    damage(file)
    await spool.adopt()
    assert await drained(spool) == RECORDS[:2]


async def test_it_is_bounded(tmp_path: Path) -> None:
    """What does not fit is not there, not even a part of it; room comes back with what is forgotten."""
    spool = Spool(tmp_path, "store", max_bytes=1500)
    await spool.append(RECORDS[:1])
    with pytest.raises(StoreError, match="is full"):
        await spool.append(RECORDS * 3)
    assert await drained(spool) == RECORDS[:1]
    await spool.append(RECORDS[:1])


async def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Said in words."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        await Spool(tmp_path / "file", "store").append(RECORDS)
