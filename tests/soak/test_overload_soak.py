"""B16 in full: five minutes of three times what can be served, by the provider or by us. Prints its figures."""

from pathlib import Path

import pytest

from tests.support.bars import missed, show
from tests.support.overload import Shape, overload, own_bound, upstream_bound

SHAPES = {
    "upstream-bound": upstream_bound(30.0, 300.0, 30.0),
    "upstream-bound, whole answers": upstream_bound(30.0, 300.0, 30.0, streamed=0.0),
    "CPU-bound": own_bound(30.0, 300.0, 30.0, probes=3),
}


@pytest.mark.soak
@pytest.mark.parametrize(("name", "shape"), SHAPES.items(), ids=list(SHAPES))
def test_a_long_overload(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, shape: Shape) -> None:
    """Every bar of the issue, as it stands there."""
    with overload(tmp_path, shape) as place:
        bars = place.run()
    show(f"B16: overload, {name}", bars, capsys)
    assert missed(bars) == []
