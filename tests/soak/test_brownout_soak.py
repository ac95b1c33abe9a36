"""B14 in full: five minutes of brownout, beside another deployment and alone. Prints its figures."""

from pathlib import Path

import pytest

from tests.support.bars import missed, show
from tests.support.brownout import Course, brownout

COURSE = Course(before_s=20.0, sick_s=300.0, after_s=60.0)


@pytest.mark.soak
@pytest.mark.parametrize("beside", [True, False], ids=["two deployments", "one deployment"])
def test_a_long_brownout(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, beside: bool) -> None:
    """Every bar of the issue, as it stands there."""
    with brownout(tmp_path, COURSE, beside=beside) as place:
        bars = place.run()
    show(f"B14: brownout, {'two deployments' if beside else 'one deployment'}", bars, capsys)
    assert missed(bars) == []
