"""B10 in full: a million interleavings of the bank, ten thousand steps of the pipeline."""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import settings
from rich.console import Console
from rich.table import Table

from tests.support.bank_simulator import STEPS, Simulation
from tests.support.house_machine import HouseMachine

SEEDS = 1_000_000
PART = 10_000
EXAMPLES, STEPS_EACH = 400, 50


def interleavings(first: int) -> tuple[int, int]:
    """Crashes and surviving attempts of ``PART`` seeds; a breach names its seed."""
    runs = [Simulation(seed).run() for seed in range(first, first + PART)]
    return sum(run.crashes for run in runs), sum(len(run.attempts) for run in runs)


def show(title: str, rows: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The figures, for people."""
    table = Table(title, "")
    for name, value in rows.items():
        table.add_row(name, value)
    with capsys.disabled():
        Console(width=100).print("", table)


@pytest.mark.soak
def test_a_million_interleavings(capsys: pytest.CaptureFixture[str]) -> None:
    """Every seed of a million; none breaks an invariant."""
    since = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        parts = list(pool.map(interleavings, range(0, SEEDS, PART)))
    crashes, attempts = (sum(column) for column in zip(*parts, strict=True))
    rows = {"interleavings": f"{SEEDS}", "steps": f"{SEEDS * STEPS}", "crashes": f"{crashes}"}
    rows |= {"attempts settled": f"{attempts}", "breaches": "0", "seconds": f"{time.monotonic() - since:.0f}"}
    show("B10: the bank, seeds 0 to 999999", rows, capsys)
    assert crashes > SEEDS


class Counted(HouseMachine):
    """The machine, counting."""

    examples = requests = exchanges = 0

    def teardown(self) -> None:
        """The end of one example."""
        super().teardown()
        Counted.examples += 1
        Counted.requests += self.number
        Counted.exchanges += len(self.house.exchanges) if self.number else 0


_Machine = Counted.TestCase
_Machine.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS_EACH, deadline=None)


@pytest.mark.soak
def test_ten_thousand_steps_of_the_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    """Requests, faults, repeats, leavers, time and limits in any order, checked after each."""
    _Machine().runTest()
    steps = {"examples": f"{Counted.examples}", "steps, at most": f"{Counted.examples * STEPS_EACH}"}
    steps |= {"requests": f"{Counted.requests}", "exchanges": f"{Counted.exchanges}", "breaches": "0"}
    show("B10: the pipeline, by Hypothesis", steps, capsys)
    assert Counted.examples * STEPS_EACH >= 10_000
