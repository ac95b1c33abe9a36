"""The demo's way straight to the provider, in virtual time against the simulated one."""

from pathlib import Path

import pytest

from penstock.cli.demo_gateway import CONFIG_FILE, MODEL, Spent, demo_settings, spent_of
from penstock.cli.demo_traffic import DIALECT, Tally, Way, body_of, play
from penstock.cli.demo_workload import Ask, load_languages, workload
from penstock.clock import LoopClock, SystemRng
from penstock.config.settings import DeploymentSettings
from penstock.ports.ledger import SpendRow
from penstock.ports.providers import UpstreamCall
from penstock.providers.registry import adapter
from penstock.providers.sim import Sim

EPOCH = 1_800_000_000.0
ASKS = workload(load_languages(), 100, SystemRng(1), rate=25)


def deployment(directory: Path) -> DeploymentSettings:
    """The demo's own."""
    return demo_settings(directory, 8787, 8788).models[MODEL].deployments[0]


async def played(directory: Path, *, speed: float = 1.0, busy_rate: float = 0.0) -> tuple[Tally, float]:
    """What came back of ``ASKS``, and how long it took by the clock. A token costs a nano-unit."""
    clock = LoopClock(EPOCH)
    served, kind = deployment(directory), adapter("sim")

    def call(ask: Ask) -> UpstreamCall:
        fields, raw = body_of(ask, MODEL)
        return kind.encode(DIALECT, fields, raw, served, {})

    way = Way(Sim(clock, SystemRng(7), speed=speed, busy_rate=busy_rate), kind, call, lambda usage: usage.total)
    start = clock.monotonic()
    await play(ASKS, [way], clock, speed=speed)
    return way.tally, clock.monotonic() - start


@pytest.mark.looptime
async def test_every_question_is_answered_and_priced(tmp_path: Path) -> None:
    """Whole and streamed ones; without a gateway no answer is a hit."""
    tally, _ = await played(tmp_path)
    assert (tally.answered, tally.errors, tally.hits) == (100, 0, 0)
    assert len(tally.latencies_s) == 100
    assert min(tally.latencies_s) > 0.1
    assert tally.cost_nano > 100 * 200
    assert 0 < tally.repeats_nano < tally.cost_nano


@pytest.mark.looptime
async def test_speed_shortens_the_demo_and_not_the_latencies(tmp_path: Path) -> None:
    """Ten times the speed takes a tenth of the time; latencies stay those of the traffic."""
    slow, slow_s = await played(tmp_path)
    quick, quick_s = await played(tmp_path, speed=10)
    assert quick_s == pytest.approx(slow_s / 10, rel=0.1)
    assert sum(quick.latencies_s) == pytest.approx(sum(slow.latencies_s), rel=0.1)


@pytest.mark.looptime
async def test_a_busy_provider_is_an_error_for_who_does_not_ask_again(tmp_path: Path) -> None:
    """What failed has no latency and costs nothing."""
    tally, _ = await played(tmp_path, busy_rate=1.0)
    assert (tally.answered, tally.errors, tally.done) == (0, 100, 100)
    assert (tally.cost_nano, tally.latencies_s) == (0, [])


def test_the_demo_is_configured_by_a_file(tmp_path: Path) -> None:
    """Where it says, open, on loopback, with a ledger beside the file."""
    settings = demo_settings(tmp_path, 9001, 9002)
    assert settings.source == str(tmp_path / CONFIG_FILE)
    assert (str(settings.server.listen), str(settings.server.admin_listen)) == ("127.0.0.1:9001", "127.0.0.1:9002")
    assert settings.directory == tmp_path


def test_hits_are_what_no_call_was_made_for() -> None:
    """Exact and joined answers count as hits, and carry the savings."""
    levers = {
        "direct": SpendRow("direct", 60, 600, 500, 500, 0, 0, 0, 1),
        "exact": SpendRow("exact", 30, 300, 0, 250, 250, 0, 0, 0),
        "joined": SpendRow("joined", 10, 100, 0, 80, 80, 0, 0, 0),
    }
    total = SpendRow("total", 100, 1000, 500, 830, 330, 0, 0, 1)
    assert spent_of(levers, total) == Spent(100, 1, 500, 40, {"exact": 250, "joined": 80})
