"""B14: a deployment that browns out costs its clients hardly anything where another can take over, and little alone."""

from pathlib import Path

import pytest

from tests.support.bars import missed
from tests.support.brownout import Course, brownout

pytestmark = pytest.mark.alone


def test_another_takes_over(tmp_path: Path) -> None:
    """Late, refusing and breaking off, it is soon out; calls are not multiplied; once it has healed it is back."""
    with brownout(tmp_path, Course(before_s=1.5, sick_s=3.0, after_s=6.0), beside=True) as place:
        bars = place.run()
    assert missed(bars, loosely=True) == []


def test_alone_it_answers_what_it_can(tmp_path: Path) -> None:
    """It is not put out for its refusals; they are repeated when they allow it; who was cut is told so."""
    with brownout(tmp_path, Course(before_s=1.5, sick_s=5.0, after_s=3.5, rate=25.0), beside=False) as place:
        bars = place.run()
    assert missed(bars, loosely=True) == []
