"""A frame of ``penstock top``: what it says, and that it fits."""

from io import StringIO
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from penstock.cli.top_display import frame, state_text
from penstock.core.fleet_report import DeploymentRow, FleetReport, FleetTotal, Rates

LAST = Rates(
    seconds=10.0, requests_per_s=4.0, errors_per_s=1.0, shed_per_s=0.5, tokens_per_s=12345.0, calls_per_s=3.0,
    hit_rate=0.25, cost_per_hour="1234.500000000", saved_per_hour="411.500000000", currency="CNY",
)  # fmt: skip
TOTAL = FleetTotal(
    active=7, serving=5, limit=64, waiting=2, waiting_for_deployments=1, shed={"queue_full": 5}, last=LAST
)


def row(name: str = "up/model", **fields: Any) -> DeploymentRow:
    """A deployment that does well."""
    given: dict[str, Any] = {
        "provider": "up", "models": ("chat",), "region": "", "state": "closed", "in_flight": 3, "limit": 16,
        "latency_s": 0.3125, "usual_s": 0.5, "back_in_s": None, "calls": 20, "failures": 1, "share": 0.5, **fields,
    }  # fmt: skip
    return DeploymentRow(deployment=name, **given)


def drawn(picture: RenderableType, width: int = 100) -> list[str]:
    """The lines of it on a terminal of that width."""
    console = Console(file=StringIO(), width=width, legacy_windows=False)
    console.print(picture)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_frame_says_what_the_gateway_does() -> None:
    """Rates, money per hour, who waits, and each deployment; saved is a share of what it would have cost."""
    lines = drawn(frame(FleetReport(rows=(row(region="eu"),), total=TOTAL), "http://here", 100))
    assert lines[0] == "penstock  http://here  last 10 s"
    said = "   ".join(lines[1:3])
    assert said == (
        "requests 4.0/s   tokens 12,345/s   cost 1,234.50 CNY/h   saved 411.50 CNY/h (25.0 %)   hits 25.0 %   "
        "errors 1.0/s (25.0 %)   refused 0.5/s   active 7   serving 5 of 64   waiting 2"
    )
    assert lines[4].split() == ["deployment", "region", "state", "in", "flight", "latency", "calls", "share", "failed"]
    assert lines[6].split() == ["up/model", "eu", "up", "3/16", "312", "ms", "2.0/s", "50.0", "%", "5.0", "%"]


def test_nothing_known_is_no_number() -> None:
    """Neither a rate of no requests nor a latency that nobody measured is 0."""
    last = msgspec.structs.replace(
        LAST, hit_rate=None, requests_per_s=0.0, errors_per_s=0.0, saved_per_hour="0.000000000"
    )
    idle = row(latency_s=None, share=None, calls=0, failures=0)
    report = FleetReport(rows=(idle,), total=msgspec.structs.replace(TOTAL, last=last))
    lines = drawn(frame(report, "x", 100))
    assert "hits -" in lines[1]
    assert "errors 0/s   " in lines[2]
    assert lines[6].split() == ["up/model", "up", "3/16", "-", "0/s", "-", "-"]
    assert "No deployment is configured." in drawn(frame(FleetReport(rows=(), total=TOTAL), "x", 100))


@pytest.mark.parametrize(
    ("state", "back_in_s", "said"),
    [
        ("closed", None, "up"), ("open", 3.4, "out 3 s"), ("open", 0.4, "out 1 s"), ("half_open", None, "on trial"),
        ("account_open", 29.6, "account out 30 s"), ("account_half_open", 1.0, "account on trial"),
    ],
)  # fmt: skip
def test_a_state_is_said_for_people(state: str, back_in_s: float | None, said: str) -> None:
    """A closed breaker is a deployment that is up."""
    assert state_text(row(state=state, back_in_s=back_in_s)) == said


@given(st.integers(40, 140), st.integers(1, 40), st.integers(16, 40))
def test_a_frame_fits_its_terminal(width: int, count: int, height: int) -> None:
    """No line is longer than the terminal is wide, no figure is broken, and there are no more lines than it has."""
    rows = tuple(row(f"p{number}/m", region="r", state="open", back_in_s=1.0) for number in range(count))
    lines = drawn(frame(FleetReport(rows=rows, total=TOTAL), "x", width, height=height), width)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    for figure in ("cost 1,234.50 CNY/h", "saved 411.50 CNY/h (25.0 %)", "errors 1.0/s (25.0 %)", "serving 5 of 64"):
        assert any(figure in line for line in lines)


def test_where_there_is_no_room_for_all_those_in_trouble_come_first() -> None:
    """Then the busiest; how many are not shown is said."""
    rows = [row(f"p{number}/m", calls=number) for number in range(30)]
    rows[3] = row("sick/m", state="open", calls=0)
    lines = drawn(frame(FleetReport(rows=tuple(rows), total=TOTAL), "x", 100, height=14))
    names = [line.split()[0] for line in lines if "/m " in line]
    assert names[:2] == ["sick/m", "p29/m"]
    assert f"and {30 - len(names)} more" in lines


def test_an_old_picture_says_why() -> None:
    """While the server does not answer, what it said last stays, with the reason."""
    lines = drawn(frame(FleetReport(rows=(row(),), total=TOTAL), "x", 100, trouble="no server answers"))
    assert lines[-1] == "no server answers"
    assert any(line.startswith("up/model") for line in lines)
