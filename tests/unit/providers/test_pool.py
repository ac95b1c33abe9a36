"""Idle connections: the youngest first, none for too long, none after the end."""

from typing import Any, cast

from penstock.providers.dial import Route
from penstock.providers.http import IDLE_S, MAX_IDLE, Pool

ROUTE = Route("http", "h", 80, None, None)


class Idle:
    """All a pool sees of a connection."""

    def __init__(self) -> None:
        self.aborted = False
        self.closing = False

    def abort(self) -> None:
        """Close."""
        self.aborted = True


class Answered:
    """All a pool sees of a response."""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def put(pool: Pool, **headers: str) -> Idle:
    """A connection that has just become idle."""
    connection = Idle()
    pool.put(cast("Any", connection), cast("Any", Answered(**headers)), now=0.0)
    return connection


def test_the_youngest_serves_first() -> None:
    """It is the least likely to have been closed."""
    pool = Pool(ROUTE)
    first, second = put(pool), put(pool)
    assert [cast("Any", pool.take(0.0)) for _ in range(3)] == [second, first, None]


def test_what_is_closing_serves_no_more() -> None:
    """The provider has closed it, and the loop has not said so yet."""
    pool = Pool(ROUTE)
    good, closing = put(pool), put(pool)
    closing.closing = True
    assert [cast("Any", pool.take(0.0)) for _ in range(2)] == [good, None]


def test_idle_for_too_long() -> None:
    """By our own limit, or the provider's less a second: closed when swept or when found."""
    pool = Pool(ROUTE)
    ours, theirs = put(pool), put(pool, keep_alive="timeout=5, max=100")
    pool.sweep(4.0)
    assert (ours.aborted, theirs.aborted) == (False, True)
    assert pool.take(IDLE_S) is None
    assert ours.aborted
    assert len(pool) == 0


def test_closed_and_full() -> None:
    """What becomes idle then is closed, not kept."""
    pool = Pool(ROUTE)
    kept = [put(pool) for _ in range(MAX_IDLE)]
    assert put(pool).aborted
    pool.close()
    assert all(each.aborted for each in kept)
    assert put(pool).aborted
    assert len(pool) == 0


def test_lost_connections_are_forgotten() -> None:
    """And forgetting what is not there is nothing."""
    pool = Pool(ROUTE)
    connection = put(pool)
    pool.forget(cast("Any", connection))
    pool.forget(cast("Any", connection))
    assert pool.take(0.0) is None
