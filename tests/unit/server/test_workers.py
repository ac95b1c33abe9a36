"""What workers are told, how soon they are replaced, and when they may be had at all."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config.load import load
from penstock.config.refusals import refusals_of_workers
from penstock.config.settings import SharedSettings
from penstock.server.worker import Descriptors, Post
from penstock.server.workers import PAUSE_MOST_S, PAUSE_S, pause_after
from tests.support.kinds import KINDS

SHARED = SharedSettings("redis://cache.example:6379/0", 0.01, "refuse", {})


@given(st.integers(1, 500))
def test_who_fails_again_waits_longer_but_not_for_ever(failures: int) -> None:
    """No storm: the pause doubles up to its bound."""
    assert PAUSE_S <= pause_after(failures) <= pause_after(failures + 1) <= PAUSE_MOST_S
    assert pause_after(failures + 1) in {2 * pause_after(failures), PAUSE_MOST_S}


def test_an_hour_of_failures_is_some_starts() -> None:
    """A worker that dies at once is started less than two hundred times in an hour."""
    spent_s, starts = 0.0, 0
    while spent_s < 3600:
        starts += 1
        spent_s += pause_after(starts)
    assert starts < 200


@given(st.integers(1, 1 << 20), st.tuples(*[st.integers(0, 1 << 20)] * 3))
def test_a_worker_is_told_its_number_and_its_descriptors(number: int, files: tuple[int, int, int]) -> None:
    """The option's text is the option's value."""
    post = Post(number, Descriptors(*files))
    assert Post.parse(str(post)) == post


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "1,2,3,4,5", "a,b,c,d"])
def test_other_descriptors_are_refused(text: str) -> None:
    """Nobody types them."""
    with pytest.raises(ValueError, match=r"literal|unpack|argument"):
        Post.parse(text)


@pytest.mark.parametrize(
    ("store", "shared", "mistakes"),
    [
        ("sqlite:penstock.db", None, ["store", "shared"]),
        ("memory:", None, ["store", "shared"]),
        ("postgresql://db.example/penstock", None, ["shared"]),
        ("sqlite:penstock.db", SHARED, ["store"]),
        ("postgresql://db.example/penstock", SHARED, []),
        ("postgres://db.example/penstock", SHARED, []),
    ],
)
def test_several_processes_need_what_they_share(store: str, shared: SharedSettings | None, mistakes: list[str]) -> None:
    """Else each would hold the budgets by itself, and they would be overspent."""
    settings = replace(load(None, {}, registry=KINDS), store=store, shared=shared)
    assert [each.partition(":")[0] for each in refusals_of_workers(settings)] == mistakes
