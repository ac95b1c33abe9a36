"""Several processes on one address: served, watched, summed up, replaced and ended together."""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.support.gateway_process import wait_for
from tests.support.metrics_text import exemplars, samples
from tests.support.workers_house import House, house_in_memory, shared_house

pytestmark = pytest.mark.e2e


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """Serving, and ended by SIGTERM with 0 unless the test has ended it."""
    with getattr(request, "param", house_in_memory)(tmp_path) as made:
        yield made


either_way = pytest.mark.parametrize("house", [house_in_memory, shared_house], indirect=True, ids=["memory", "shared"])


@either_way
def test_both_serve_and_are_told_as_one(house: House) -> None:
    """Each answers, and the metrics are those of both, with each of them told once."""
    assert len(house.workers()) == 2
    assert house.ready() == 2
    assert {house.ask(str(place)) for place in range(8)} == {200}
    assert house.answered() == 8
    found = samples(house.metrics())
    assert found["penstock_ledger_healthy", ()] == 1
    assert found["penstock_concurrency_limit", ()] == 2 * 512
    told = exemplars(house.metrics("application/openmetrics-text"))
    assert "penstock_request_duration_seconds_bucket" in {name for name, _ in told}
    assert {each.labels["request_id"][:4] for each in told.values()} == {"req_"}


@either_way
def test_who_dies_is_replaced_and_what_it_counted_stays(house: House) -> None:
    """The other one serves meanwhile; a new one comes, and no sum falls."""
    assert {house.ask(str(place)) for place in range(4)} == {200}
    assert house.answered() == 4
    killed = min(house.workers())
    os.kill(killed, signal.SIGKILL)
    assert {house.ask(str(place)) for place in range(4)} == {200}
    wait_for(lambda: house.ready() == 2 and killed not in house.workers(), "another worker")
    assert house.answered() == 8
    assert "a worker has ended" in house.stderr


def test_one_after_the_other_is_replaced_and_nobody_is_refused(house: House) -> None:
    """SIGUSR2: other processes serve then, and every question was answered."""
    before, statuses = house.workers(), set[int]()
    house.signal(signal.SIGUSR2)

    def replaced() -> bool:
        statuses.add(house.ask())
        return not (house.workers() & before) and len(house.workers()) == 2

    wait_for(replaced, "the new workers")
    assert statuses == {200}
    wait_for(lambda: 'the workers are replaced"' in house.stderr, "the last word")
    assert house.answered() > 0


@either_way
def test_what_is_under_way_is_answered_before_the_end(house: House) -> None:
    """SIGTERM: a question that a worker has begun is answered, nobody else is let in, and all end with 0."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(house.chat)
        wait_for(lambda: samples(house.metrics())["penstock_active_requests", ()] == 1, "the question")
        house.signal(signal.SIGTERM)
        wait_for(lambda: house.admin("/readyz")[0] == 503, "the drain")
        assert asked.result(20) == 200
    assert house.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        house.ask()


@pytest.mark.parametrize("way", ["signal", "admin"])
def test_a_reload_reaches_each(house: House, way: str) -> None:
    """SIGHUP and the admin API: every worker serves by the new config."""
    document = yaml.safe_load(house.config.read_text("utf-8"))
    house.config.write_text(yaml.safe_dump({**document, "limits": {"max_concurrency": 100}}), "utf-8")
    if way == "signal":
        house.signal(signal.SIGHUP)
    else:
        assert house.admin("/admin/reload", "POST")[0] == 200
    wait_for(lambda: samples(house.metrics())["penstock_concurrency_limit", ()] == 2 * 100, "both")
    if way == "signal":
        wait_for(lambda: _who_said(house, "the config is reloaded") == {1, 2}, "a line of each")


def _who_said(house: House, event: str) -> set[int]:
    """The numbers of the workers."""
    said = [json.loads(line) for line in house.stderr.splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]
    return {line["worker"] for line in said if line["event"] == event}


def test_admin_questions_go_through_with_their_token(house: House) -> None:
    """A worker answers, and refuses who has no token; a path that is nowhere is said to be so."""
    assert house.admin("/admin/keys")[0] == 200
    assert house.admin("/admin/keys", token="another")[0] == 401
    assert house.admin("/admin/reload", "POST", token="another")[0] == 401
    assert house.admin("/nowhere?a=b")[0] == 404
    assert house.admin("/healthz") == (200, '{"status":"ok"}')


def test_workers_do_not_outlive_their_parent(tmp_path: Path) -> None:
    """Killed as it is, it leaves nobody behind."""
    house = House(tmp_path)
    house.configure(store="memory:")
    house.begin()
    workers = house.workers()
    house.kill()
    wait_for(lambda: not any(_lives(pid) for pid in workers), "their end")


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text("ascii")
    return False


def test_a_worker_that_cannot_start_ends_the_start(tmp_path: Path) -> None:
    """What it refuses is said once by each, and its exit code is the parent's."""
    house = House(tmp_path)
    house.configure(store="memory:", server={"listen": f"0.0.0.0:{house.port}"})
    with pytest.raises(AssertionError, match=r"it ended with 2(.|\n)*there is no key yet"):
        house.begin()


def test_a_store_with_one_writer_is_refused(tmp_path: Path) -> None:
    """`--workers` says what it needs, and starts nothing."""
    house = House(tmp_path)
    house.configure()
    house.command("serve", "--workers", "2", code=2)
    with pytest.raises(AssertionError, match=r"postgresql://(.|\n)*redis://"):
        house.command("serve", "--workers", "2")
    assert not house.store.exists()
