"""The open-loop load itself: it sends when it should, and tells what came as it was."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fault_proxy import fault_proxy
from tests.support.gateway_process import gateway_process
from tests.support.load_provider import load_provider
from tests.support.open_loop import Flow, Plan, Taken, arrivals, open_loop, quantile
from tests.support.open_loop_client import Record

PRICES = {"input": 2, "cached_input": 0.5, "output": 8, "currency": "CNY"}


def plan(*flows: Flow, port: int = 1, seconds: float = 10.0, **more: float) -> Plan:
    """Of these flows."""
    return Plan(port=port, seconds=seconds, flows=list(flows), **more)  # type: ignore[arg-type] # the rest are numbers


def test_even_arrivals_are_even() -> None:
    """In the part of the plan in which they flow."""
    due = arrivals(plan(Flow(name="a", rate=4, poisson=False, since_s=1, until_s=3)))
    assert [at for at, _ in due] == [1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75]


def test_chance_has_its_rate_and_its_seed() -> None:
    """Poisson arrivals: as many as the rate says, the same ones again, and no others for a flow beside them."""
    loud, calm = Flow(name="loud", rate=200), Flow(name="calm", rate=50)
    due = arrivals(plan(loud, calm))
    assert due == arrivals(plan(loud, calm)) == sorted(due)
    assert due != arrivals(plan(loud, calm, seed=2))
    ours = [at for at, flow in due if flow == 1]
    assert ours == [at for at, _ in arrivals(plan(calm))]
    assert 430 <= len(ours) <= 570


def test_a_plan_is_bounded() -> None:
    """By the number of its requests."""
    assert len(arrivals(plan(Flow(name="a", rate=1000), most=50))) == 50


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_a_value_that_the_share_stays_under(values: list[float], share: float) -> None:
    """And no smaller value is one."""
    found = quantile(values, share)
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_figures_are_of_what_they_say() -> None:
    """Goods by their end, refusals apart, error events and cut answers as failures, and nothing of nothing."""
    taken = Taken([
        Record("a", 0.0, status=200, complete=True, end_s=1.0, first_s=0.5),
        Record("a", 1.0, status=200, complete=True, end_s=3.0, first_s=0.7),
        Record("a", 2.0, status=429, complete=True, end_s=0.01, retry_after_s=1),
        Record("a", 2.5, status=503, complete=True, end_s=0.02),
        Record("a", 3.0, streamed=True, status=200, complete=True, error_event=True),
        Record("a", 4.0, status=200, why="cut"),
        Record("b", 9.0, why="ConnectionRefusedError"),
    ])  # fmt: skip
    made = taken.summary("a")
    assert (made.sent, made.good, made.refused, made.refused_unsaid, made.failed) == (6, 2, 2, 1, 2)
    assert (made.p50_s, made.p99_s, made.first_p50_s, made.refused_p99_s) == (1.0, 3.0, 0.5, 0.02)
    assert made.rate == 0.5
    assert made.success == pytest.approx(1 / 3)
    assert taken.summary("b").statuses == {0: 1}
    assert taken.summary("a", since_s=2.0, until_s=3.0).sent == 2
    assert math.isnan(taken.summary("c").p50_s)


def test_it_loads_a_gateway(tmp_path: Path) -> None:
    """Good, refused and cut answers beside each other: every request is told of, as what it was."""
    with load_provider() as provider, fault_proxy(provider.port, reset_share=1.0, after=1500) as proxy:
        ports = {"good": provider.port, "busy": provider.port, "cut": proxy.port}
        sections = {
            "providers": {
                name: {"kind": "openai", "base_url": provider.base_url(name, port), "prices": PRICES}
                for name, port in ports.items()
            },
            "models": {name: {"deployments": [{"provider": name, "model": name}]} for name in ports},
            "retry": {"attempts": 1},
        }
        provider.set("busy", status=429, share=0.5, retry_after_s=3)
        provider.set("cut", words=20)
        with gateway_process(tmp_path, **sections) as gateway:
            flows = [
                Flow(name="whole", rate=60, model="good"),
                Flow(name="stream", rate=30, model="good", streamed=True, poisson=False),
                Flow(name="same", rate=20, model="good", same=True),
                Flow(name="busy", rate=30, model="busy"),
                Flow(name="cut", rate=20, model="cut", streamed=True, since_s=1.0),
            ]
            asked = plan(*flows, port=gateway.port, seconds=2.0, patience_s=10.0)
            with open_loop(asked, tmp_path) as load:
                taken = load.wait()
    assert len(taken.records) == len(arrivals(asked))
    for flow in ("whole", "stream", "same"):
        assert taken.summary(flow).success == 1.0, taken.summary(flow)
    assert taken.of("whole")[0].deployment == "good/good"
    assert sum(each.attempts for each in taken.of("same")) < taken.summary("same").sent
    busy = taken.summary("busy")
    assert (busy.failed, busy.refused_unsaid) == (0, 0)
    assert 0.2 < busy.success < 0.8
    cut = taken.of("cut")
    assert len(cut) > 5
    assert {(each.status, each.complete, each.error_event, each.due_s >= 1.0) for each in cut} == {(200,) + (True,) * 3}


def test_nobody_there_is_told_too(tmp_path: Path) -> None:
    """As no answer."""
    with open_loop(plan(Flow(name="a", rate=50), seconds=0.2), tmp_path) as load:
        records = load.wait().records
    assert {(record.status, record.why) for record in records} == {(0, "ConnectionRefusedError")}
