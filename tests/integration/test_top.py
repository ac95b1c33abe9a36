"""``penstock top`` beside a server that answers as told: one frame, other formats, and what it says when it cannot."""

from typing import Any

import msgspec
import pytest

from penstock.core.fleet_report import DeploymentRow, FleetReport, FleetTotal, rates
from penstock.core.recent import Sums
from tests.support.commands import Place, Server

ROW = DeploymentRow(
    deployment="up/model", provider="up", models=("chat", "more"), region="eu", state="closed", in_flight=3, limit=16,
    latency_s=0.25, usual_s=None, back_in_s=None, calls=20, failures=0, share=1.0,
)  # fmt: skip
TOTAL = FleetTotal(
    active=7, serving=5, limit=64, waiting=2, waiting_for_deployments=1, shed={"queue_full": 5},
    last=rates(Sums(requests=40, calls={"up/model": 20}), 10.0, "CNY"),
)  # fmt: skip
ANSWER = msgspec.json.encode(FleetReport(rows=(ROW,), total=TOTAL))


@pytest.fixture
def fleet(server: Server) -> Server:
    """It says how its fleet does."""
    server.answer = ANSWER
    return server


@pytest.mark.parametrize("options", [(), ("--once",)])
def test_a_pipe_gets_one_frame(place: Place, fleet: Server, options: tuple[str, ...]) -> None:
    """Plain text without padding; asked once, with the token and without a body."""
    printed = place.run("top", *options)
    assert "requests 4.0/s" in printed
    assert "up/model    eu      up          3/16   250 ms  2.0/s  100.0 %   0.0 %" in printed
    assert "\x1b" not in printed
    assert all(line == line.rstrip() for line in printed.splitlines())
    assert fleet.asked == [("GET", "/admin/fleet", None, f"Bearer {place.token}")]


def test_programs_get_all_of_it(place: Place, fleet: Server) -> None:
    """As the server told it; in CSV a row for each deployment."""
    shown: Any = place.json("top")
    assert shown == msgspec.json.decode(ANSWER)
    head, row = place.run("top", "--format", "csv").splitlines()
    assert head.startswith("deployment,provider,models,region,state,")
    assert row.startswith("up/model,up,chat more,eu,closed,3,16,0.25,")
    assert len(fleet.asked) == 2


def test_without_a_server_there_is_nothing_to_see(place: Place) -> None:
    """It says where it looked and what to do."""
    assert place.run("top", "--once", code=1) == ""
    assert f"no server answers at http://127.0.0.1:{place.admin_port}" in place.errors
    assert "penstock serve" in place.errors


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, b"{}", "is no Penstock of this version"),
        (200, b'{"rows": [], "total": {"active": "many"}}', "is no Penstock of this version"),
        (401, b'{"error": {"message": "wrong token"}}', "refused (401): wrong token"),
        (404, b'{"error": {"message": "there is no /admin/fleet"}}', "refused (404): there is no /admin/fleet"),
        (500, b"oops", "is it a Penstock?"),
    ],
)
def test_another_server_is_told_from_ours(place: Place, server: Server, status: int, answer: bytes, said: str) -> None:
    """Without a traceback."""
    server.status, server.answer = status, answer
    place.run("top", code=1)
    assert said in place.errors


@pytest.mark.parametrize("options", [("--interval", "0s"), ("--interval", "often"), ("chat",), ("--twice",)])
def test_bad_usage_asks_nobody(place: Place, fleet: Server, options: tuple[str, ...]) -> None:
    """And ends with 2."""
    place.run("top", *options, code=2)
    assert not fleet.asked
