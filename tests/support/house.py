"""A whole gateway in process: real pipeline, stores and data plane, a scripted provider, virtual time, many clients.

    async with open_house() as house:
        house.upstream.stream(["a", "b"], gap_s=1)
        asking = house.ask(chat("hi", stream=True))
        await asking.begun(2)
        asking.leave()

Leaving the block waits until everything is over and checks that nothing is left: no task, call, slot, flight, key in
use, and that the ledger adds up.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import looptime

from penstock.background.recovery import recover
from penstock.clock import LoopClock, SystemRng
from penstock.compose import World, open_gateway
from penstock.config.load import load
from penstock.config.prices import load_book
from penstock.config.settings import Settings
from penstock.core.pricebook import PriceBook
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.gateway.gateway import Gateway
from penstock.pipeline.keyring import digest_key
from penstock.pipeline.teller import Tokenizer
from penstock.ports.ledger import Ledger, Posted, PostedQuery
from penstock.ports.providers import Transport
from penstock.ports.shared import Shared
from penstock.ports.telemetry import Collector
from penstock.providers.registry import KINDS
from penstock.providers.scripted import Scripted
from penstock.server.app import DataPlane
from penstock.server.replies import row_of
from penstock.stores.new_key import new_key
from tests.support.asgi_client import Asking, http_scope
from tests.support.bill_provider_lines import BilledCall
from tests.support.invariants import Figures, check_money
from tests.support.invariants_books import Books

EPOCH: Final = 1_795_000_000.0
END_S: Final = 100_000.0
"""Virtual seconds after which a test that waits for ever fails."""
PRICES: Final = {"input": 2, "cached_input": 0.5, "output": 8, "currency": "CNY"}
"""A miss costs 2000 nano-units a token, a hit 500, output 8000."""
BASE: Final[Mapping[str, Any]] = {
    "store": "memory:",
    "server": {"secret": "a-pepper-of-at-least-thirty-two-bytes"},
    "providers": {
        "one": {"kind": "scripted", "prices": PRICES, "after_disconnect": "completes"},
        "two": {"kind": "scripted", "prices": PRICES, "after_disconnect": "stops"},
    },
    "models": {
        "m": {"deployments": [{"provider": "one", "model": "m-1"}]},
        "stopping": {"deployments": [{"provider": "two", "model": "m-2"}]},
        "duo": {"deployments": [{"provider": "one", "model": "m-1"}, {"provider": "two", "model": "m-2", "weight": 0}]},
        "folded": {"deployments": [{"provider": "one", "model": "m-1"}], "stream_upstream": True},
    },
}
"""What the file of a house says, unless a test says otherwise."""
URLS: Final = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "messages": "/v1/messages",
    "count_tokens": "/v1/messages/count_tokens",
}


class KeptLedger:
    """A ledger that also keeps every row as it was appended, and can be told to be unwell."""

    def __init__(self, behind: Ledger) -> None:
        self.rows: list[LedgerRow] = []
        self.healthy = True
        self._behind = behind

    def append(self, rows: Iterable[LedgerRow]) -> None:
        """Keep and pass on."""
        rows = list(rows)
        self.rows += rows
        self._behind.append(rows)

    async def flush(self) -> None:
        """Nothing waits."""
        await self._behind.flush()

    async def open_rows(self) -> Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]:
        """What the ledger behind says."""
        return await self._behind.open_rows()

    async def posted(self, queries: Sequence[PostedQuery], *, excluding: Sequence[str]) -> Sequence[Sequence[Posted]]:
        """What the ledger behind says."""
        return await self._behind.posted(queries, excluding=excluding)


class House:
    """A gateway, its provider, and its clients."""

    def __init__(self, gateway: Gateway, upstream: Scripted, ledger: KeptLedger) -> None:
        """Use ``open_house``."""
        self.gateway = gateway
        self.upstream = upstream
        self.ledger = ledger
        self.app = DataPlane(gateway)
        self.asked: list[Asking] = []

    # --- asking

    def ask(
        self, body: Any, path: str = "", *, key: str = "", headers: Mapping[str, str] | None = None, **scope: Any
    ) -> Asking:
        """Begin a request. ``body``: JSON, bytes, or a list of pieces; ``path``: by default the body's own."""
        pieces = body if isinstance(body, list) else [body if isinstance(body, bytes) else json.dumps(body).encode()]
        lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        if key:
            lines.append((b"authorization", f"Bearer {key}".encode()))
        if not isinstance(body, list) and "content-length" not in (headers or {}):
            lines.append((b"content-length", b"%d" % len(pieces[0])))
        asking = Asking(self.app, http_scope(path or _path_of(body), lines, **scope), pieces)
        self.asked.append(asking)
        return asking

    async def answer(self, body: Any, path: str = "", **how: Any) -> Asking:
        """The whole answer to a request."""
        return await self.ask(body, path, **how).done()

    async def add_key(self, name: str, **fields: Any) -> str:
        """A new client key."""
        gateway = self.gateway
        key, record = new_key(
            name,
            id_=gateway.ids.new("key"),
            digest=partial(digest_key, gateway.pepper),
            now=gateway.clock.now(),
            **fields,
        )
        await gateway.stores.keys.add(record)
        await gateway.refresh_keys()
        return key

    # --- what the ledger says

    @property
    def exchanges(self) -> list[ExchangeRow]:
        """Every exchange, in the order in which they ended."""
        return [row for row in self.ledger.rows if isinstance(row, ExchangeRow) and row.outcome != OPEN]

    @property
    def attempts(self) -> list[AttemptRow]:
        """Every attempt."""
        return [row for row in self.ledger.rows if isinstance(row, AttemptRow) and row.outcome != OPEN]

    @property
    def shares(self) -> list[ShareRow]:
        """Every share."""
        return [row for row in self.ledger.rows if isinstance(row, ShareRow)]

    @property
    def now(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    # --- the end

    async def rest(self) -> None:
        """Wait until every request is through. Raises what the application raised."""
        for asking in self.asked:
            await asking.done()
        for _ in range(3):
            await asyncio.sleep(0)

    def check(self, *, bill: Sequence[BilledCall] | None = None, running: bool = False) -> Figures:
        """The ledger adds up, the budgets with it, and the provider's ``bill``. ``running``: not all is over."""
        treasury = self.gateway.treasury
        return check_money(Books(self.ledger.rows, treasury.budgets, treasury.bank, bill, running=running))

    def leftovers(self) -> dict[str, Any]:
        """What is still held: empty when all is over."""
        standing = self.gateway.standing
        held = {
            "calls": self.upstream.open,
            "slots": standing.gate.active,
            "queue": standing.gate.waiting,
            "seats": sum(state.in_flight for state in standing.fleet.states()),
            "seekers": standing.fleet.waiting,
            "flights": len(standing.flights),
            "firsts": len(standing.firsts),
            "active": self.gateway.metrics.active,
            "holds": len(self.gateway.treasury.bank.holds()),
            "running": len(standing.running),
            "keys": sum(key.active for key in standing.keys.values()),
        }
        return {name: count for name, count in held.items() if count}


@lru_cache(maxsize=1)
def book() -> PriceBook:
    """The shipped prices, read once."""
    return load_book()


@lru_cache(maxsize=64)
def _settings(text: str) -> Settings:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "penstock.yaml"
        path.write_text(text)
        return load(path, {}, registry=KINDS)


def settings_of(**config: Any) -> Settings:
    """The settings of ``BASE`` with these sections in the place of its own."""
    return _settings(json.dumps({**BASE, **config}))


def other_tasks() -> set[asyncio.Task[Any]]:
    """Every task of the running loop but this one."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@asynccontextmanager
async def open_house(
    *,
    seed: int = 1,
    tokenizers: Mapping[str, Tokenizer] | None = None,
    clock: LoopClock | None = None,
    kept: KeptLedger | None = None,
    transports: Mapping[str, Transport] | None = None,
    shared: Shared | None = None,
    upstream: Scripted | None = None,
    collector: Collector | None = None,
    **config: Any,
) -> AsyncIterator[House]:
    """A house on the running loop, which has to be one of virtual time. ``tokenizers``: by provider kind.

    ``kept``: the ledger of a house that was there before it; what that left open is settled first. ``transports``: who
    sends to other kinds of providers than ``scripted``. ``shared``, ``upstream``: what it has in common with others.
    ``collector``: who is told of it, where ``telemetry.otlp`` says that somebody is.
    """
    before = other_tasks()
    clock = clock or LoopClock(EPOCH)
    upstream = upstream or Scripted(clock)
    senders = {"scripted": upstream, **(transports or {})}
    world = World(
        clock,
        SystemRng(seed),
        transports=senders,
        book=book(),
        tokenizers=tokenizers or {},
        shared=shared,
        collector=collector,
        ledger=lambda behind: kept or KeptLedger(behind),
    )
    settings = settings_of(**config)
    gateway = await open_gateway(settings, lambda error: row_of(error).status, world)
    ledger = gateway.stores.ledger
    assert isinstance(ledger, KeptLedger)
    await recover(ledger, clock)
    await gateway.adopt(settings)
    house = House(gateway, upstream, ledger)
    try:
        yield house
        await house.rest()
        house.check()
        assert house.leftovers() == {}
        assert other_tasks() <= before
    finally:
        for asking in house.asked:
            asking.task.cancel()
        await gateway.close()


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
    """Run a coroutine on a loop of its own: for properties, where every example has its own time."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(end=END_S)) as runner:
        runner.run(test(*arguments))


def chat(text: str = "hi", *, model: str = "m", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def message(text: str = "hi", *, model: str = "m", **fields: Any) -> dict[str, Any]:
    """A messages request."""
    return {**chat(text, model=model), "max_tokens": 100, **fields}


def _path_of(body: Any) -> str:
    if isinstance(body, dict):
        for mark, dialect in (("prompt", "completions"), ("input", "embeddings"), ("max_tokens", "messages")):
            if mark in body:
                return URLS[dialect]
    return URLS["chat"]
