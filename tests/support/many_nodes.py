"""Nodes as they run in a company: a real PostgreSQL, a real Redis, several gateways, and a provider that keeps a bill.

    with many_nodes(directory, budgets=[...]) as house:
        one, two = house.nodes(2)
        said = asyncio.run(house.ask_all([Question("mk-1")], [one, two]))
        house.redis.freeze()
        figures = house.check()

A node's clients are small: one request per connection. What the nodes wrote is read from PostgreSQL by column names,
what is counted in Redis by its keys, and the bill from its file: nothing of theirs is asked of the nodes.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec
import pytest

from penstock.config.load import load
from penstock.core.budget import Budget, Place, places
from penstock.core.records import OPEN, LedgerRow
from penstock.providers.registry import KINDS
from tests.support.bill_provider import ROOT, BillProvider, bill_provider
from tests.support.bill_provider_lines import MISS_NANO, OUTPUT_NANO, PRICES
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.gateway_process import PENSTOCK, GatewayProcess, wait_for
from tests.support.invariants import Figures, check_money
from tests.support.invariants_books import Books, rows_of
from tests.support.kill_client import Question, Told, ask
from tests.support.postgres_server import PostgresServer, binaries, database_of, shared_server
from tests.support.redis_server import RedisServer, redis_server

WORDS: Final = 4
COST: Final = 3 * MISS_NANO + WORDS * OUTPUT_NANO
"""Of a prompt of three words and an answer as long as its cap: so much is held, and so much is billed."""
SECRET: Final = "a-secret-that-all-nodes-share-in-tests"
MODELS: Final = ("completes", "stops")
READY_S: Final = 20.0
BUSY: Final = 503


class Counted(NamedTuple):
    """An account as it stands in Redis."""

    base: int
    lent: int
    spent: int

    @property
    def known(self) -> int:
        """What is spent of it, as far as anybody said."""
        return self.base + self.spent

    @property
    def taken(self) -> int:
        """What nobody else can have."""
        return self.base + self.lent


class Said(NamedTuple):
    """One request of a load, and what came of it."""

    told: Told
    key: str
    """The name of who asked."""
    node: int
    """Which of the nodes was asked."""
    at: float
    """When it was asked, monotonic."""
    took_s: float


class Node(GatewayProcess):
    """A gateway of several. ``words``: it knows the provider's tokens to the word."""

    words = True
    successor: int | None = None
    """The process that serves in the place of the one that was started."""

    def launch(self) -> None:
        """Begin to serve; do not wait for it."""
        command = [PENSTOCK, "serve", "-c", str(self.config)]
        if self.words:
            command = [
                sys.executable,
                "-m",
                "tests.support.gateway_with_failpoints",
                str(self.config),
                "",
                "1",
                "words",
            ]
        with (self.directory / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=stderr, stderr=stderr)

    def ready(self) -> None:
        """Return when it serves."""
        wait_for(self._is_ready, within_s=READY_S)

    def start(self) -> None:
        """Both."""
        self.launch()
        self.ready()

    @property
    def runs(self) -> bool:
        """Whether it was started, and has not ended."""
        return self._process is not None and self._process.poll() is None

    def succeed(self) -> None:
        """SIGUSR2; return when its successor serves and it has ended. Not with ``words``."""
        old = self.pid
        self.signal(signal.SIGUSR2)
        wait_for(lambda: _children(old), "a successor")
        (self.successor,) = _children(old)
        assert self.wait() == 0, self.stderr
        assert self._is_ready()

    def stop(self) -> int:
        """SIGTERM to who serves; 0 when nobody is left."""
        if self.successor is None:
            return super().stop()
        successor, self.successor = self.successor, None
        os.kill(successor, signal.SIGTERM)
        wait_for(lambda: not Path(f"/proc/{successor}").exists(), "the end of the successor")
        return 0

    def kill(self) -> None:
        """Whatever is left of it."""
        super().kill()
        if self.successor is not None:
            with suppress(ProcessLookupError):
                os.kill(self.successor, signal.SIGKILL)

    def rss_bytes(self) -> int:
        """What it has in memory."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def cpu_s(self) -> float:
        """What it has computed so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / 100


@dataclass
class House:
    """All of it."""

    directory: Path
    postgres: PostgresServer
    database: str
    redis: RedisServer
    to_redis: FaultProxy
    """Between the nodes and Redis, where they are ``proxied``."""
    provider: BillProvider
    sections: dict[str, Any]
    proxied: bool = False
    all_nodes: list[Node] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    # --- nodes

    @property
    def redis_url(self) -> str:
        """What the nodes are told."""
        return f"redis://127.0.0.1:{self.to_redis.port}/0" if self.proxied else self.redis.url

    def node(self, *, words: bool = True, **sections: Any) -> Node:
        """One more, configured and not started."""
        directory = self.directory / f"node-{len(self.all_nodes)}"
        directory.mkdir()
        node = Node(directory)
        node.words = words
        shared = {"url": self.redis_url} | self.sections.get("shared", {})
        wanted = {"store": self.postgres.url(self.database)} | self.sections | {"shared": shared} | sections
        wanted["server"] = {"secret": SECRET, "drain": "10s", **wanted.get("server", {})}
        node.configure(**{name: section for name, section in wanted.items() if section is not None})
        self.all_nodes.append(node)
        return node

    def nodes(self, count: int, **sections: Any) -> list[Node]:
        """So many, which all start at once and serve."""
        made = [self.node(**sections) for _ in range(count)]
        for node in made:
            node.launch()
        for node in made:
            node.ready()
        return made

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """As the nodes' config has them."""
        return load(self.all_nodes[0].config, {}, registry=KINDS).budgets

    # --- clients

    def question(self, **more: Any) -> Question:
        """One that costs ``COST``, with a marker that no other has."""
        wanted: dict[str, Any] = {"say": WORDS, "fields": {"max_tokens": WORDS}, "gap_ms": 5}
        number = next(self.numbers)
        return Question(f"mk-{number:07}", **(wanted | {"streamed": number % 2 == 0, **more}))

    async def ask(self, node: Node, *, who: str = "", **more: Any) -> Said:
        """One request."""
        question, since = self.question(**more), time.monotonic()
        told = await ask(node.port, question)
        return Said(told, who, self.all_nodes.index(node), since, time.monotonic() - since)

    async def ask_all(self, count: int, nodes: Sequence[Node], **more: Any) -> list[Said]:
        """So many at once, the nodes in turn."""
        return await asyncio.gather(*(self.ask(nodes[number % len(nodes)], **more) for number in range(count)))

    async def ask_until_told(self, count: int, nodes: Sequence[Node], **more: Any) -> list[Said]:
        """The same; who is told to come again does, for a machine that is busy may have nobody to lend for a moment."""
        said, left = list[Said](), count
        while left:
            said += await self.ask_all(left, nodes, **more)
            left = count - sum(each.told.status != BUSY for each in said)
        return said

    # --- what is written

    def rows(self) -> list[LedgerRow]:
        """The ledger, whole."""

        async def read(connection: Any) -> list[LedgerRow]:
            tables = ("exchanges", "attempts", "shares")
            async with connection.transaction(isolation="repeatable_read"):
                found = {table: await connection.fetch(f"SELECT * FROM {table}") for table in tables}  # noqa: S608 - one of three
            return [row for table in tables for row in rows_of(table, map(dict, found[table]))]

        rows: list[LedgerRow] = self.postgres.run(read, self.database)
        return rows

    def books(self, *, running: bool = False) -> Books:
        """The ledger, the budgets and the bill."""
        return Books(self.rows(), self.budgets, None, self.provider.calls(), running)

    def check(self, *, running: bool = False, billed: bool = True) -> Figures:
        """The invariants of money. ``billed``: each attempt against its call; without it all of them against all."""
        books = self.books(running=running)
        if billed:
            return check_money(books)
        charged = sum(attempt.charged_book_nano or 0 for attempt in books.attempts.values())
        assert charged == sum(call.cost_nano for call in books.bill or ())
        return check_money(replace(books, bill=None))

    def spent(self) -> Counter[Place]:
        """What the ledger says was spent and is held, by account."""
        books, sums = self.books(running=True), Counter[Place]()
        for attempt in books.attempts.values():
            for budget, place in places(books.budgets, books.payer(attempt), attempt.started_at):
                nano = attempt.held_nano if attempt.outcome == OPEN else attempt.charged_book_nano
                tokens = attempt.held_tokens if attempt.outcome == OPEN else attempt.usage.total
                sums[place] += (nano or 0) if budget.unit == "money" else tokens
        return +sums

    # --- what is counted

    def epoch(self) -> int:
        """The one that Redis has; 0 = none."""
        return int(self.redis.call("HGET", "{penstock:money}:head", "epoch") or 0)

    def counted(self) -> dict[Place, Counted]:
        """Every account in Redis; the marks that say that a window is set left out."""
        start = f"{{penstock:money}}:{self.epoch()}:"
        found = {}
        for name in self.redis.call("ZRANGE", f"{start}accounts", 0, -1):
            place = msgspec.json.decode(name, type=Place)
            fields = self.redis.call("HGETALL", f"{start}a:{name}")
            pairs = dict(zip(fields[::2], map(int, fields[1::2]), strict=True))
            lent, spent = (sum(amount for name, amount in pairs.items() if name[:2] == kind) for kind in ("l:", "p:"))
            if place.value != "\0":
                found[place] = Counted(pairs["base"], lent, spent)
        return found

    def off(self) -> dict[Place, tuple[int, int]]:
        """Accounts of which Redis and the ledger say different things: (counted, in the ledger)."""
        counted, spent = self.counted(), self.spent()
        return {
            place: (each.known, spent[place]) for place, each in counted.items() if each.known != spent[place]
        }  # fmt: skip

    def settles(self, within_s: float) -> float:
        """Seconds until Redis' counter is the ledger's sum, exactly, and nothing is open."""
        since = time.monotonic()
        while (off := self.off()) or self.open_rows():
            assert time.monotonic() - since < within_s, f"counted and written differ, or are open: {off}"
            time.sleep(0.1)
        return time.monotonic() - since

    def open_rows(self) -> int:
        """How many attempts have not ended."""
        query = "SELECT count(*) FROM attempts WHERE outcome = 'open'"
        return int(self.postgres.run(lambda connection: connection.fetchval(query), self.database))

    # --- the end

    def stop(self) -> None:
        """SIGTERM to all at once: each ends with 0, and has said nothing that nobody foresaw."""
        running = [node for node in self.all_nodes if node.runs]
        for node in running:
            node.signal(signal.SIGTERM)
        for node in running:
            assert node.wait() == 0, node.stderr
        for node in self.all_nodes:
            if node.successor is not None:
                node.stop()
        for node in self.all_nodes:
            said = node.directory / "stderr"
            assert not said.exists() or "Traceback" not in said.read_text("utf-8"), node.stderr


@contextmanager
def many_nodes(
    directory: Path, *, own_postgres: bool = False, proxied: bool = False, **sections: Any
) -> Iterator[House]:
    """Everything but the nodes. ``own_postgres``: one that may be killed; ``proxied``: Redis by way of the fault proxy.

    That runs in this process, and is late where its clients are many. Skips where a server cannot be had.
    """
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        postgres, database = _postgres(directory, stack, own=own_postgres)
        to_redis = stack.enter_context(fault_proxy(redis.port))
        provider = stack.enter_context(bill_provider(directory / "bill.jsonl"))
        house = House(directory, postgres, database, redis, to_redis, provider, fleet_of(provider) | sections, proxied)
        try:
            yield house
            house.stop()
        finally:
            for node in house.all_nodes:
                node.signal(signal.SIGCONT)
                node.kill()


def _postgres(directory: Path, stack: ExitStack, *, own: bool) -> tuple[PostgresServer, str]:
    if not own:
        url = database_of(directory)
        return shared_server(), url.rpartition("/")[2]
    programs = binaries()
    if programs is None:
        pytest.skip("there is no PostgreSQL on this machine: apt install postgresql")
    server = PostgresServer(programs)
    stack.callback(server.remove)
    server.fresh("nodes")
    return server, "nodes"


def fleet_of(provider: BillProvider) -> dict[str, Any]:
    """The config's part about providers: both kinds, and nothing that answers in their place."""
    kinds = {
        name: {"kind": "openai", "base_url": provider.base_url, "prices": PRICES, "after_disconnect": name}
        for name in MODELS
    }
    return {
        "providers": {name: kind | {"api_key": "sk-many"} for name, kind in kinds.items()},
        "models": {
            name: {"deployments": [{"provider": name, "model": name}], "default_output": 400} for name in MODELS
        },
        "cache": {"exact": False, "join": False},
        "limits": {"adaptive": False, "max_concurrency": 2000},
    }


def money(calls: float) -> str:
    """A limit of so many calls."""
    return f"{calls * COST / 1e9:.9f} CNY"


def limit(name: str, scope: str, calls: float, **more: Any) -> dict[str, Any]:
    """A budget for ever."""
    return {"name": name, "scope": scope, "limit": money(calls), "window": "total", **more}


class Load:
    """Requests at a rate, the nodes in turn, until it is ended.

    async with Load(house, nodes, rate=40) as load:
        await asyncio.sleep(2)
    load.said
    """

    def __init__(
        self,
        house: House,
        nodes: Sequence[Node],
        *,
        rate: float,
        questions: Callable[[int], dict[str, Any]] = lambda _number: {},
    ) -> None:
        """``rate``: per second, over all nodes; ``questions``: what is special about each."""
        self.said: list[Said] = []
        self._house = house
        self._nodes = nodes
        self._rate = rate
        self._questions = questions
        self._asked: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin."""
        self._task = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """No more; those under way end."""
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._asked:
            await asyncio.wait(self._asked)

    async def _run(self) -> None:
        begun = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, begun + number / self._rate - time.monotonic()))
            task = asyncio.ensure_future(self._one(number))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    async def _one(self, number: int) -> None:
        node = self._nodes[number % len(self._nodes)]
        self.said.append(await self._house.ask(node, **self._questions(number)))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so great a share is not above; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
