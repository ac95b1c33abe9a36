"""A hedge: when it is sent, and everything that forbids it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.hedging import LEAST_S, delay


def may(
    p95_s: float | None = 2.0,
    waited_s: float = 0.5,
    left: int = 1,
    *,
    begun: bool = False,
    hedged: bool = False,
    elsewhere: bool = True,
) -> float | None:
    """The delay where nothing forbids it, but for what is said."""
    return delay(p95_s, waited_s, left, begun=begun, hedged=hedged, elsewhere=elsewhere)


def test_it_is_due_at_the_learned_time() -> None:
    """The wait so far counts; a hedge that is overdue is due now; none is sent at once."""
    assert may() == pytest.approx(1.5)
    assert may(waited_s=3.0) == 0.0
    assert may(p95_s=0.001, waited_s=0.0) == LEAST_S


@pytest.mark.parametrize(
    "forbidden",
    [may(begun=True), may(hedged=True), may(elsewhere=False), may(left=0), may(left=-3), may(p95_s=None)],
)
def test_what_forbids_it(forbidden: float | None) -> None:
    """An answer that began, a hedge under way, nowhere else to go, an empty budget, nothing learned yet."""
    assert forbidden is None


@given(st.floats(0, 100), st.floats(0, 100))
def test_it_never_comes_before_its_time(p95_s: float, waited_s: float) -> None:
    """Waited and delay together are at least the learned time."""
    due = may(p95_s, waited_s)
    assert due is not None
    assert due >= 0
    assert waited_s + due >= p95_s - 1e-9
