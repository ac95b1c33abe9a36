"""An edge and its centre as two processes: what passes along, who is charged, what happens while the centre is out."""

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.edge_and_centre import EDGE, EdgeAndCentre, edge_and_centre
from tests.support.gateway_process import wait_for
from tests.support.metrics_text import samples
from tests.support.sdk_gateway import digest

pytestmark = pytest.mark.e2e

PURGED_WITHIN_S = 2.0
TIMES = 3
"""A machine that stands still for a second makes one purge late: the edge looks too seldom when each of so many is."""
CENTRE_UP = "penstock_centre_up", (("provider", "centre"),)
_numbers = count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeAndCentre]:
    """Both, for the tests that leave them as they are."""
    with edge_and_centre(tmp_path_factory.mktemp("two")) as made:
        yield made


@pytest.fixture
def two(shared: EdgeAndCentre) -> Iterator[EdgeAndCentre]:
    """The same; after each test the books add up."""
    yield shared
    shared.check_money()


@pytest.fixture
def question() -> str:
    """One that nobody asked before; it begins with its marker."""
    return f"mk-{next(_numbers)} say=5"


@pytest.fixture
def another() -> str:
    """One more."""
    return f"mk-{next(_numbers)} say=5"


def test_a_request_goes_through_both_and_is_charged_once(two: EdgeAndCentre, question: str) -> None:
    """Ids, tenant, end user and tags stand in both ledgers; the centre's is the bill, the edge's cost is nothing."""
    assert two.offered() == ["m"]
    answer = two.ask(question, user="alice")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-penstock-cost"] == "0.000000 CNY"
    assert answer.headers["x-penstock-upstream-cache"] == "miss"
    (here,), (there,) = two.asked(two.edge, question), two.asked(two.centre, question)
    (attempt,) = (row for row in two.rows(two.edge).attempts.values() if row.exchange_id == here.id)
    assert (here.id, there.parent) == (answer.headers["x-request-id"],) * 2
    assert there.id == answer.headers["x-penstock-upstream-request-id"] == attempt.upstream_id
    assert there.key_name == f"{EDGE}/{here.key_name}" == f"{EDGE}/web"
    assert there.key_id.endswith(f"/{here.key_id}")
    assert (there.team, there.user, there.tags) == (here.team, here.user, here.tags)
    assert (here.team, here.user) == ("shop", "alice")
    assert attempt.price_source == "charged at the centre"
    assert (here.baseline_nano, here.cost_nano, here.usage.total) == (0, 0, there.usage.total)


def test_savings_of_both_add_up_to_what_was_not_spent(two: EdgeAndCentre, question: str) -> None:
    """A hit at the edge is worth what the centre would have charged; nothing is counted twice."""
    answers = [two.ask(question), two.ask(question), two.ask(question, stream=True)]
    assert [answer.headers["x-penstock-cache"] for answer in answers] == ["miss", "exact", "exact"]
    (billed,) = two.billed(question)
    saved = [(row.baseline_nano or 0) - (row.cost_nano or 0) for row in two.asked(two.edge, question)]
    assert sorted(saved) == [0, billed.cost_nano, billed.cost_nano]
    (there,) = two.asked(two.centre, question)
    assert there.baseline_nano == there.cost_nano == billed.cost_nano


def test_tenants_of_one_edge_share_nothing(two: EdgeAndCentre, question: str) -> None:
    """What one key asked is a miss for the other, at the edge and at the centre."""
    caches = [two.ask(question, key=key, stream=True).headers["x-penstock-upstream-cache"] for key in ("web", "app")]
    assert caches == ["miss", "miss"]
    assert len(two.billed(question)) == 2


def test_what_a_request_says_of_caches_and_repeats_holds_at_both(
    two: EdgeAndCentre, question: str, another: str
) -> None:
    """no-store is stored nowhere, no-cache asks the provider anew, and a repeat under a key is answered at the edge."""
    assert two.ask(question, headers={"cache-control": "no-store"}).headers["x-penstock-upstream-cache"] == "off"
    assert two.ask(question).headers["x-penstock-upstream-cache"] == "miss"
    again = two.ask(question, headers={"cache-control": "no-cache"})
    assert (again.headers["x-penstock-cache"], again.headers["x-penstock-upstream-cache"]) == ("miss", "miss")
    assert len(two.billed(question)) == 3
    key = {"idempotency-key": "k", "cache-control": "no-store"}
    assert [two.ask(another, headers=key).status_code for _ in range(2)] == [200, 200]
    assert len(two.billed(another)) == 1


def test_a_budget_of_the_centre_is_told_to_the_client(two: EdgeAndCentre, question: str, another: str) -> None:
    """As the centre words it, once, and it takes nothing out for other tenants."""
    two.centre.command("budgets", "set", "keys", "--scope", "key", "--limit", "1000000 tokens", "--window", "total")
    two.centre.command("budgets", "set", "keys", "--value", f"{EDGE}/web", "--limit", "0 tokens")
    refused = two.ask(question)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-penstock-attempts"] == "1"
    assert two.ask(another, key="app").status_code == 200
    two.centre.command("budgets", "set", "keys", "--remove")


def test_an_edge_that_asks_itself_is_told_so(two: EdgeAndCentre, question: str) -> None:
    """A ring ends at once, with an error that no client retries, and costs nothing."""
    before, ring = two.edge.config.read_text("utf-8"), two.edge_config()
    ring["providers"]["centre"] |= {"base_url": two.edge.base_url, "api_key": two.keys["web"]}
    ring["models"] = {"loop": {"deployments": [{"provider": "centre"}]}}
    two.edge.configure(**ring)
    assert two.edge.admin("/admin/reload", "POST")[0] == 200
    told = two.ask(question, model="loop")
    two.edge.config.write_text(before, "utf-8")
    assert two.edge.admin("/admin/reload", "POST")[0] == 200
    assert (told.status_code, told.json()["error"]["code"]) == (508, "loop_detected")
    assert told.headers["x-should-retry"] == "false"
    assert not two.billed(question)


# --- the centre is out, and back


def test_the_edge_serves_while_the_centre_is_out(tmp_path: Path) -> None:
    """Hits go on, over a restart of the edge too; a miss is an error; when the centre is back, so is everything."""
    with edge_and_centre(tmp_path) as two:
        two.ask("mk-a say=5")
        two.centre.kill()
        assert two.ask("mk-a say=5").headers["x-penstock-cache"] == "exact"
        assert two.ask("mk-b say=5").status_code in {502, 503}
        wait_for(lambda: samples(two.edge.metrics())[CENTRE_UP] == 0, "the edge to notice")
        assert two.edge.stop() == 0
        two.edge.start()
        assert two.offered() == ["m"]
        assert two.ask("mk-a say=5").headers["x-penstock-cache"] == "exact"
        two.centre.start()
        wait_for(lambda: two.ask("mk-c say=5").status_code == 200, "the centre to be asked again")
        wait_for(lambda: samples(two.edge.metrics())[CENTRE_UP] == 1, "the edge to hear it")
        two.check_money()


def test_a_stale_answer_bridges_the_outage(tmp_path: Path) -> None:
    """Past its time an answer is a miss while the centre is there, and served, marked, while it is not."""
    exact = {"ttl": "1s", "stale": "1d", "stale_on_error": True}
    with edge_and_centre(tmp_path, cache={"exact": exact}) as two:
        two.ask("mk-a say=5")
        two.centre.kill()
        wait_for(lambda: two.ask("mk-a say=5").headers.get("x-penstock-degraded") == "stale", "a stale answer")


def purged_s(two: EdgeAndCentre, marker: str) -> float:
    """Ask, purge what was said at the centre, and tell how long the edge served it after that."""
    text = f"{marker} say=5"
    assert two.ask(text).headers["x-penstock-cache"] == "miss"
    two.centre.command("cache", "purge", "--tag", f"marker={marker}")
    since = time.monotonic()
    stored = {"cache-control": "only-if-cached"}
    wait_for(lambda: two.ask(text, headers=stored).status_code == 504, "the purge")
    return time.monotonic() - since


def test_what_is_purged_at_the_centre_is_gone_at_the_edge(tmp_path: Path) -> None:
    """Within two seconds; what was purged while either was away, before it is served again."""
    with edge_and_centre(tmp_path) as two:
        two.ask("mk-b say=5")
        assert any(purged_s(two, f"mk-a{time_}") <= PURGED_WITHIN_S for time_ in range(TIMES))
        assert two.ask("mk-b say=5").headers["x-penstock-cache"] == "exact"
        assert two.edge.stop() == 0
        two.centre.command("cache", "purge", "--model", "m")
        two.edge.start()
        assert two.ask("mk-b say=5").headers["x-penstock-cache"] == "miss"
        two.centre.kill()
        two.centre.command("cache", "purge", "--key", EDGE)
        assert two.ask("mk-b say=5").headers["x-penstock-cache"] == "exact", "it cannot know"
        two.centre.start()
        wait_for(lambda: "is back" in two.edge.stderr, "the centre")
        assert two.ask("mk-b say=5").headers["x-penstock-cache"] == "miss"
        two.check_money()


def test_changed_answers_come_to_a_sister_edge(tmp_path: Path) -> None:
    """An edge that starts with nothing gets what its tenants asked elsewhere; it serves it when the centre is gone."""
    static = [{"name": "web", "key_sha256": digest("psk-static")}]
    with edge_and_centre(tmp_path) as two:
        one, other = (two.another_edge(name, keys=static) for name in ("one", "other"))
        try:
            one.start()
            other.start()
            wait_for(lambda: two.ask("mk-a say=5", "psk-static", at=one).status_code == 200, "the first edge")
            wait_for(lambda: other.json("cache", "stats")["total"]["entries"] == 1, "the answer at the other")
            two.centre.kill()
            hit = two.ask("mk-a say=5", "psk-static", at=other)
            assert (hit.status_code, hit.headers["x-penstock-cache"]) == (200, "exact")
            assert two.ask("mk-a say=5", "web").status_code != 200, "another tenant"
        finally:
            one.kill()
            other.kill()
