"""B18: the same question of many is one call to the provider, whatever becomes of who asked first."""

from pathlib import Path

import pytest

from tests.support.bars import missed
from tests.support.stampede import stampede

pytestmark = pytest.mark.alone


def test_many_who_ask_the_same_are_one_call(tmp_path: Path) -> None:
    """Per tenant: at once, each time that the answer expires, and once more when the first call breaks."""
    with stampede(tmp_path) as place:
        bars = [*place.burst(), *place.expiry(5.0), *place.failing_leader()]
    assert missed(bars, loosely=True) == []
