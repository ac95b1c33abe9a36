"""The lock of a store: one server, or one and its successor."""

import os
from pathlib import Path

import pytest

from penstock.errors import StoreError
from penstock.stores.lock import StoreLock, holder


def test_a_successor_shares_the_lock(tmp_path: Path) -> None:
    """It needs the open file for that; nobody else gets in until both have let go."""
    store = tmp_path / "a.db"
    old = StoreLock(store)
    new = StoreLock(store, inherited=os.dup(old.file))
    old.release()
    with pytest.raises(StoreError, match="in use"):
        StoreLock(store)
    new.release()
    StoreLock(store).release()


def test_a_lock_of_another_store_is_not_used(tmp_path: Path) -> None:
    """A successor whose config names another store takes that one's lock."""
    old = StoreLock(tmp_path / "a.db")
    new = StoreLock(tmp_path / "b.db", inherited=os.dup(old.file))
    for name in ("a.db", "b.db"):
        with pytest.raises(StoreError, match="in use"):
            StoreLock(tmp_path / name)
    old.release()
    StoreLock(tmp_path / "a.db").release()
    new.release()


def test_the_lock_says_whose_it_is(tmp_path: Path) -> None:
    """Who inherits it says so when it serves, not before."""
    lock = StoreLock(tmp_path / "a.db")
    file = tmp_path / "a.db.lock"
    assert file.read_text() == f"{os.getpid()}\n"
    file.write_text("123456789\n")
    heir = StoreLock(tmp_path / "a.db", inherited=os.dup(lock.file))
    assert file.read_text() == "123456789\n"
    heir.sign()
    assert file.read_text() == f"{os.getpid()}\n"
    heir.release()
    lock.release()


def test_who_holds_a_store(tmp_path: Path) -> None:
    """The process that serves; nobody once it has let go, whatever the file says."""
    store = tmp_path / "a.db"
    assert holder(store) is None
    lock = StoreLock(store)
    assert holder(store) == os.getpid()
    (tmp_path / "a.db.lock").write_text("")
    assert holder(store) is None
    lock.release()
    lock = StoreLock(store)
    lock.release()
    assert holder(store) is None
