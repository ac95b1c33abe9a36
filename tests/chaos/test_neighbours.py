"""B17: one tenant at ten times its share pays for that itself."""

from pathlib import Path

import pytest

from tests.support.bars import missed
from tests.support.neighbours import neighbours

pytestmark = pytest.mark.alone


def test_the_quiet_ones_hardly_notice(tmp_path: Path) -> None:
    """All that they ask is answered, nearly as soon as before; the loud one gets what is left."""
    with neighbours(tmp_path, calm_s=2.5, loud_s=4.0) as place:
        bars = place.run()
    assert missed(bars, loosely=True) == []
