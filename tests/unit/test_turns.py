"""Tests beside each other take turns: one that is alone is alone, and is not kept waiting by those that come later."""

import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.support.gateway_process import wait_for
from tests.support.turns import Turns


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Turns]]:
    """Three of one run."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = [Turns("run") for _ in range(3)]
    yield made
    for each in made:
        each.end()
    assert list(tmp_path.iterdir()) == []


def test_most_run_beside_each_other(workers: list[Turns]) -> None:
    """Nobody waits."""
    one, other, third = workers
    with one.turn(alone=False), other.turn(alone=False), third.turn(alone=False):
        pass
    with third.turn(alone=True):
        pass


def test_one_that_is_alone_waits_for_who_is_in_and_goes_before_who_is_not(workers: list[Turns], tmp_path: Path) -> None:
    """It comes while another runs; a third that comes after it is let in when it has ended."""
    one, other, third = workers
    order: list[str] = []

    def run(turns: Turns, name: str, *, alone: bool) -> None:
        with turns.turn(alone=alone):
            order.append(name)

    threads = [
        Thread(target=run, args=(other, "alone"), kwargs={"alone": True}),
        Thread(target=run, args=(third, "later"), kwargs={"alone": False}),
    ]
    with one.turn(alone=False):
        threads[0].start()
        wait_for(lambda: is_held(tmp_path / "penstock-run-door"), "who wants to be alone")
        threads[1].start()
        threads[1].join(0.05)
        order.append("first")
    for thread in threads:
        thread.join()
    assert order == ["first", "alone", "later"]


def is_held(path: Path) -> bool:
    """Whether somebody has the lock."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
