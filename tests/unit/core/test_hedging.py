"""A hedge: when it is sent, and what forbids it."""

import pytest

from penstock.core.hedging import LEAST_S, delay


def test_it_is_due_at_the_learned_time() -> None:
    """None is sent at once."""
    assert delay(2.0, 1) == 2.0
    assert delay(0.001, 1) == LEAST_S


@pytest.mark.parametrize("forbidden", [delay(None, 1), delay(2.0, 0), delay(2.0, -3)])
def test_what_forbids_it(forbidden: float | None) -> None:
    """Nothing learned yet, an empty budget."""
    assert forbidden is None
