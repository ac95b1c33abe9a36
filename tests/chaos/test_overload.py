"""B16: three times what can be served is answered as well as that goes, and the rest is refused, at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bars import missed
from tests.support.overload import overload, own_bound, upstream_bound

pytestmark = pytest.mark.alone


def test_a_provider_at_its_limit_is_kept_busy(tmp_path: Path) -> None:
    """And no busier: what is admitted is answered in time, batch goes first, and it is over when it is over."""
    with overload(tmp_path, replace(upstream_bound(calm_s=2.5, over_s=4.0, after_s=4.0), normal_s=3.0)) as place:
        bars = place.run()
    assert missed(bars, loosely=True) == []


def test_a_gateway_at_its_limit_goes_on_working(tmp_path: Path) -> None:
    """Most of its time goes into answers, and its operator gets his."""
    with overload(tmp_path, replace(own_bound(calm_s=2.0, over_s=3.0, after_s=4.0), normal_s=3.0)) as place:
        bars = place.run()
    assert missed(bars, loosely=True) == []
