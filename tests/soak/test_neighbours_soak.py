"""B17 in full: three minutes of a tenant at ten times its share. Prints its figures."""

from pathlib import Path

import pytest

from tests.support.bars import missed, show
from tests.support.neighbours import neighbours


@pytest.mark.soak
def test_a_long_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every bar of the issue, as it stands there."""
    with neighbours(tmp_path, calm_s=30.0, loud_s=180.0) as place:
        bars = place.run()
    show("B17: one tenant at ten times its share", bars, capsys)
    assert missed(bars) == []
