"""B18 in full: a minute of an answer that expires under load. Prints its figures."""

from pathlib import Path

import pytest

from tests.support.bars import missed, show
from tests.support.stampede import stampede


@pytest.mark.soak
def test_a_long_stampede(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every bar of the issue, as it stands there."""
    with stampede(tmp_path) as place:
        bars = [*place.burst(), *place.expiry(60.0), *place.failing_leader()]
    show("B18: stampede", bars, capsys)
    assert missed(bars) == []
