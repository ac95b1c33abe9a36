"""Two gateways, a real Redis, a real PostgreSQL: one call for all, one limit for all, and what one learns all know."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway_process import GatewayProcess, wait_for
from tests.support.metrics_text import samples
from tests.support.plain_gateway import plain_config, question
from tests.support.postgres_server import PostgresServer, database_of, shared_server
from tests.support.redis_server import RedisServer, redis_server
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

Fresh = Callable[[], str]

SECRET = "a-secret-that-all-nodes-share-in-tests"
CROWD = 500
EVERYWHERE_S = 1.0
"""Within so long what one node was told holds on all."""
UNHEARD_S = 5.0
"""The same, where the message is dropped."""
BACKGROUND = 25
"""Scripts that two nodes run in a second without being asked for anything, and some more."""
AT_ONCE = 20
"""Scripts of the background that may fall together into one stretch, however short: an average bounds no moment."""


class Pair:
    """Two nodes, and what they share."""

    def __init__(self, directory: Path, up: Upstream, redis: RedisServer) -> None:
        self.redis = redis
        self.http = httpx2.Client(timeout=30)
        """To make one takes longer than what is measured here."""
        self.postgres: PostgresServer = shared_server()
        store = database_of(directory)
        self.database = store.rpartition("/")[2]
        self.nodes = []
        for name in "ab":
            (directory / name).mkdir()
            node = GatewayProcess(directory / name)
            server = {"secret": SECRET, "drain": "1s"}
            node.configure(**plain_config(up), store=store, shared=redis.url, server=server)
            node.start()
            self.nodes.append(node)
        self.a, self.b = self.nodes

    def ask(self, node: GatewayProcess, text: str, key: str, **headers: str) -> httpx2.Response:
        """One question; ``_`` in header names stands for ``-``."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(
            f"{node.base_url}/chat/completions",
            json=question(text),
            headers={"authorization": f"Bearer {key}"} | given,
        )

    def knows(self, node: GatewayProcess, key: str) -> bool:
        """Whether a node lets a key in; that takes nothing of its limits."""
        headers = {"authorization": f"Bearer {key}"}
        return self.http.post(f"{node.base_url}/chat/completions", content=b"", headers=headers).status_code == 400

    def create_key(self, name: str, *options: str) -> str:
        """That both know."""
        key = self.a.create_key(name, *options)
        _await(lambda: self.knows(self.b, key))
        return key

    def sql(self, *statements: str) -> None:
        """Change the store beside the nodes: nobody is told."""

        async def run(connection: Any) -> None:
            for statement in statements:
                await connection.execute(statement)

        self.postgres.run(run, self.database)

    def end(self) -> None:
        """Both end well."""
        self.http.close()
        for node in self.nodes:
            assert node.stop() == 0, node.stderr
            assert "Traceback" not in node.stderr, node.stderr


@pytest.fixture(scope="module")
def nodes(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two that serve."""
    with redis_server() as redis:
        pair = Pair(tmp_path_factory.mktemp("nodes"), shared_upstream, redis)
        try:
            yield pair
            pair.end()
        finally:
            for node in pair.nodes:
                node.kill()


@pytest.fixture(scope="module")
def key(nodes: Pair) -> str:
    """Of a client whom both know."""
    return nodes.create_key("web")


def _await(condition: Callable[[], bool], within_s: float = 10.0) -> float:
    """How long it took."""
    since = time.monotonic()
    while not condition():
        assert time.monotonic() - since < within_s, f"not within {within_s:g} s"
        time.sleep(0.005)
    return time.monotonic() - since


def _active(pair: Pair) -> float:
    return sum(samples(node.metrics())["penstock_active_requests", ()] for node in pair.nodes)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_crowd_on_both_nodes_costs_one_call(
    nodes: Pair, key: str, up: Upstream, fresh: Fresh, stream: bool  # noqa: FBT001 - a parameter of the test
) -> None:  # fmt: skip
    """Of 500 identical requests at once, half of them at each node, one goes out; all get the same."""
    text = fresh()
    up.hold()
    up.script.stream(["it ", "is ", "so"], after_s=1, gap_s=1)
    before, tag = await asyncio.to_thread(_active, nodes), f"crowd-{stream}"
    limits = httpx2.Limits(max_connections=None)
    headers = {"authorization": f"Bearer {key}", "x-penstock-tags": f"test={tag}"}
    async with httpx2.AsyncClient(timeout=60, limits=limits) as http:
        asking = [
            asyncio.ensure_future(
                http.post(
                    f"{nodes.nodes[number % 2].base_url}/chat/completions",
                    json=question(text, stream=stream),
                    headers=headers,
                )
            )
            for number in range(CROWD)
        ]
        await asyncio.to_thread(wait_for, lambda: _active(nodes) == before + CROWD, "the crowd")
        up.release()
        answers = await asyncio.gather(*asking)
    caches = Counter(answer.headers["x-penstock-cache"] for answer in answers)
    assert (caches["miss"], caches["joined"] + caches["exact"]) == (1, CROWD - 1)  # who is late finds it stored
    assert len({answer.content for answer in answers}) == 1
    assert len(up.calls) == 1
    nodes.b.spend("tag")  # writes what it has
    row = nodes.a.spend("tag")[0][f"test={tag}"]
    assert (row["requests"], row["errors"], row["unpriced"]) == (CROWD, 0, 0)
    assert float(row["saved"]) == pytest.approx((CROWD - 1) * float(row["cost"]))


async def _words(response: httpx2.Response) -> AsyncIterator[str]:
    """What a stream says, as it comes."""
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            for choice in json.loads(line.removeprefix("data: "))["choices"]:
                if choice["delta"].get("content"):
                    yield choice["delta"]["content"]


async def test_a_follower_on_the_other_node_reads_while_the_leader_does(
    nodes: Pair, key: str, up: Upstream, fresh: Fresh
) -> None:
    """The provider has said one word so far, and both have it; another is yet to come."""
    text = fresh()
    up.script.stream(["first ", "last"], gap_s=1.5)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(timeout=30) as http:

        def stream(node: GatewayProcess) -> Any:
            body = question(text, stream=True)
            return http.stream("POST", f"{node.base_url}/chat/completions", json=body, headers=headers)

        async with stream(nodes.a) as leader:
            assert await anext(_words(leader)) == "first "
            async with stream(nodes.b) as follower:
                assert follower.headers["x-penstock-cache"] == "joined"
                words = _words(follower)
                assert await anext(words) == "first "
                assert up.calls[0].ended == "open"
                assert await anext(words) == "last"
    assert len(up.calls) == 1


def test_an_answer_of_one_is_served_by_the_other(nodes: Pair, key: str, up: Upstream, fresh: Fresh) -> None:
    """From Redis; and from PostgreSQL where Redis has forgotten it. A purge on either empties both."""
    up.script.reply().forever()
    one, two = fresh(), fresh()
    first = nodes.ask(nodes.a, one, key)
    assert nodes.ask(nodes.b, one, key).content == first.content
    assert nodes.ask(nodes.b, one, key).headers["x-penstock-cache"] == "exact"
    nodes.ask(nodes.a, two, key)
    assert len(up.calls) == 2

    nodes.a.command("cache", "purge", "--key", "web")
    asked = [nodes.ask(node, one, key).headers["x-penstock-cache"] for node in (nodes.b, nodes.a)]
    assert asked == ["miss", "exact"]


def test_a_purge_without_a_server_reaches_all(nodes: Pair, key: str, up: Upstream, fresh: Fresh) -> None:
    """By a command on a machine where none runs: within a second nobody serves it."""
    up.script.reply().forever()
    text = fresh()
    for node in nodes.nodes:
        nodes.ask(node, text, key)
    elsewhere = GatewayProcess(nodes.a.directory / "elsewhere")
    elsewhere.directory.mkdir()
    elsewhere.config.write_bytes(nodes.a.config.read_bytes().replace(str(nodes.a.admin_port).encode(), b"1"))
    elsewhere.command("cache", "purge", "--all")
    took_s = _await(
        lambda: all(
            nodes.ask(node, text, key, cache_control="only-if-cached").status_code == 504 for node in nodes.nodes
        )
    )
    assert took_s <= EVERYWHERE_S


def test_what_redis_forgot_is_in_postgresql(nodes: Pair, key: str, up: Upstream, fresh: Fresh) -> None:
    """The other node finds it there, and no call is made."""
    up.script.reply().forever()
    text = fresh()
    first = nodes.ask(nodes.a, text, key)
    nodes.a.spend("tag")  # by then it is written
    time.sleep(0.2)
    nodes.redis.call("FLUSHALL")
    second = nodes.ask(nodes.b, text, key)
    assert (second.headers["x-penstock-cache"], second.content) == ("exact", first.content)
    assert len(up.calls) == 1


async def test_a_leader_that_is_killed_is_replaced_by_a_follower(
    nodes: Pair, key: str, up: Upstream, fresh: Fresh
) -> None:
    """Its node dies; who followed on the other makes the call, once, and gets the answer."""
    text = fresh()
    up.hold()
    up.script.reply("well", after_s=1).forever()
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(timeout=30) as http:

        def post(node: GatewayProcess) -> "asyncio.Future[httpx2.Response]":
            body = question(text)
            return asyncio.ensure_future(http.post(f"{node.base_url}/chat/completions", json=body, headers=headers))

        leader = post(nodes.a)
        await asyncio.to_thread(wait_for, lambda: len(up.calls) == 1, "the call")
        followers = [post(nodes.b) for _ in range(5)]
        await asyncio.to_thread(
            wait_for, lambda: samples(nodes.b.metrics())["penstock_active_requests", ()] == 5, "all"
        )
        await asyncio.sleep(0.2)
        nodes.a.kill()
        with suppress(httpx2.HTTPError):
            await leader
        await asyncio.to_thread(wait_for, lambda: len(up.calls) == 2, "another call", 10)
        up.release()
        answers = await asyncio.gather(*followers)
    assert [answer.json()["choices"][0]["message"]["content"] for answer in answers] == ["well"] * 5
    assert sorted(answer.headers["x-penstock-cache"] for answer in answers) == ["joined"] * 4 + ["miss"]
    assert len(up.calls) == 2
    nodes.a.start()


@pytest.mark.parametrize("dropped", [False, True])
def test_a_revoked_key_is_refused_everywhere(nodes: Pair, dropped: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Within a second; where the message is dropped, within five."""
    took: list[float] = []
    for number in range(3 if dropped else 20):
        name = f"gone-{dropped}-{number}"
        key = nodes.create_key(name)
        if dropped:
            nodes.sql(
                f"UPDATE keys SET revoked_at = 1 WHERE name = '{name}'",  # noqa: S608 - a name of ours
                "UPDATE counters SET value = value + 1 WHERE name = 'keys'",
            )
        else:
            assert nodes.a.admin(f"/admin/keys/{name}", "DELETE")[0] == 200
        took.append(_await(lambda key=key: not nodes.knows(nodes.b, key)))  # type: ignore[misc]  # a default
        assert dropped or not nodes.knows(nodes.a, key)
    assert max(took) <= (UNHEARD_S if dropped else EVERYWHERE_S), took
    print(f"revoked: {max(took) * 1000:.0f} ms at most, dropped={dropped}")  # noqa: T201 - a bar's figure


def test_a_rate_is_one_for_both(nodes: Pair, up: Upstream, fresh: Fresh) -> None:
    """Ten a minute over two nodes are ten, one after the other and at once."""
    up.script.reply().forever()
    for crowd in (1, 15):
        key = nodes.create_key(f"ten-{crowd}", "--rpm", "10")
        assert sorted(_statuses(nodes, key, fresh(), crowd)) == [200] * 10 + [429] * 20


def _statuses(nodes: Pair, key: str, text: str, crowd: int) -> list[int]:
    async def all_of_them() -> list[int]:
        async with httpx2.AsyncClient(timeout=30) as http:

            async def ask(number: int) -> int:
                node = nodes.nodes[number % 2]
                answer = await http.post(
                    f"{node.base_url}/chat/completions",
                    json=question(f"{text} {number}"),
                    headers={"authorization": f"Bearer {key}"},
                )
                return answer.status_code

            statuses: list[int] = []
            for first in range(0, 30, crowd):
                statuses += await asyncio.gather(*(ask(first + each) for each in range(crowd)))
            return statuses

    return asyncio.run(all_of_them())


def test_a_reload_of_one_is_a_reload_of_all(nodes: Pair, key: str) -> None:
    """Each reads its own file; one that is invalid is refused there, and the old one serves on."""
    for node in nodes.nodes:
        node.config.write_text(node.config.read_text().replace("currency: CNY", "currency: CNY\nbudget_wait: 3s"))
    assert nodes.a.admin("/admin/reload", "POST")[0] == 200
    took_s = _await(lambda: json.loads(nodes.b.admin("/admin/config")[1])["budget_wait_s"] == 3)
    assert took_s <= EVERYWHERE_S
    nodes.b.config.write_text(nodes.b.config.read_text().replace("budget_wait: 3s", "budget_wait: never"))
    assert nodes.a.admin("/admin/reload", "POST")[0] == 200
    _await(lambda: "the new config is refused" in nodes.b.stderr)
    nodes.b.config.write_text(nodes.b.config.read_text().replace("budget_wait: never", "budget_wait: 3s"))
    assert nodes.ask(nodes.b, "x", key, cache_control="only-if-cached").status_code == 504


def test_a_request_costs_two_round_trips(nodes: Pair, key: str, up: Upstream, fresh: Fresh) -> None:
    """One to ask, one to tell; a hit costs the one, and a hit in memory none."""
    up.script.reply().forever()
    texts = [fresh() for _ in range(200)]
    asked = [("misses", nodes.a, 2), ("hits in Redis", nodes.b, 1), ("hits in memory", nodes.b, 0)]
    for what, node, trips in asked:
        nodes.redis.call("CONFIG", "RESETSTAT")
        since = time.monotonic()
        answers = [nodes.ask(node, text, key).headers["x-penstock-cache"] for text in texts]
        time.sleep(0.1)
        calls = nodes.redis.calls()
        own = BACKGROUND * (time.monotonic() - since) + AT_ONCE
        assert set(answers) == ({"miss"} if trips == 2 else {"exact"}), what
        assert calls.get("evalsha", 0) + calls.get("eval", 0) <= trips * len(texts) + own, what
        assert calls.get("xadd", 0) == 0, what


def test_while_redis_is_away_each_serves_for_itself(nodes: Pair, key: str, up: Upstream, fresh: Fresh) -> None:
    """Nothing waits longer than the deadline, and who has limits is refused within it; then they share again."""
    up.script.reply().forever()
    limited = nodes.create_key("limited", "--rpm", "100")
    nodes.redis.freeze()
    try:
        took, refused = [], []
        for _ in range(5):
            since = time.monotonic()
            answer = nodes.ask(nodes.a, "x", limited)
            refused.append(time.monotonic() - since)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shared_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        for _ in range(5):
            text = fresh()
            for node in nodes.nodes:
                since = time.monotonic()
                assert nodes.ask(node, text, key).status_code == 200
                took.append(time.monotonic() - since)
    finally:
        nodes.redis.thaw()
    assert sorted(took)[len(took) // 2] < 0.2, took
    assert max(took) < 1.0, took
    assert sorted(refused)[2] < 0.1, refused

    def is_shared() -> bool:
        text = fresh()
        nodes.ask(nodes.a, text, key)
        return nodes.ask(nodes.b, text, key).headers["x-penstock-cache"] == "exact"

    _await(is_shared)
