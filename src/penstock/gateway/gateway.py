"""A running Penstock: what the servers, the console and the commands hold. ``compose.py`` makes one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from penstock.background.balances import LOOK_S as BALANCES_S
from penstock.background.balances import Balances
from penstock.background.centres import Centres
from penstock.background.lending import Lending
from penstock.background.patience import patiently
from penstock.background.probe import Prober
from penstock.background.recovery import recover
from penstock.background.sync import Edge, Place
from penstock.background.ticker import Ticker
from penstock.background.today import LOOK_S as TODAY_S
from penstock.background.today import Today
from penstock.config.budget_records import budgets_in_force
from penstock.config.fixed import in_force, needs_restart
from penstock.config.offered import read_offered_prices
from penstock.config.refusals import refusals_at_reload
from penstock.config.settings import DeploymentSettings, ProviderSettings, Settings
from penstock.core.budget import Payer
from penstock.core.offer import Offer
from penstock.core.pricebook import PriceBook
from penstock.core.reconcile import Balance
from penstock.core.records import OPEN, ExchangeRow, LedgerRow
from penstock.core.routing import Plan
from penstock.errors import ConfigError, StoreError
from penstock.gateway.catalogue import Catalogue
from penstock.gateway.nodes import Nodes
from penstock.gateway.reloads import CONFIG, Reloads
from penstock.gateway.standing import Standing, deployments
from penstock.observe.metrics import Metrics
from penstock.observe.telemetry import METRICS_S, TRACES_S, Telemetry
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.first import FirstName, end
from penstock.pipeline.fleet import WATCH_S
from penstock.pipeline.fleet_memory import memory_of, remember
from penstock.pipeline.keyring import KeyRing
from penstock.pipeline.known import Known, rates_of, restore_firsts, restore_rates
from penstock.pipeline.passing import read_entry
from penstock.pipeline.run import Pipeline
from penstock.pipeline.treasury import Cost, Moved, Treasury
from penstock.ports.centres import Centre
from penstock.ports.clock import Clock, Ids
from penstock.ports.notes import CentreNotes
from penstock.ports.results import StoredResult
from penstock.ports.shared import Shared
from penstock.ports.stores import Stores

log = logging.getLogger(__name__)

REFRESH_KEYS_S: Final = 1.0
JOURNAL_S: Final = 1.0
PROBE_S: Final = 1.0
SWEEP_S: Final = 30.0


class Outside(Protocol):
    """How the gateway itself asks providers and centres."""

    async def ask(self, provider: ProviderSettings, path: str) -> object:
        """A GET below its chat base. Raises UpstreamError."""
        ...

    def centre(self, provider: ProviderSettings) -> Centre:
        """The centre at that provider."""
        ...

    async def balance(self, provider: ProviderSettings) -> Sequence[Balance]:
        """What its account holds, by currency. Raises UpstreamError."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Composer(Protocol):
    """Makes the pipeline, and again after each change of what is served."""

    def pipeline(self, catalogue: Catalogue) -> Pipeline:
        """The stages in order."""
        ...

    def preview(self, settings: Settings, exchange: Exchange) -> Plan[DeploymentSettings]:
        """The plan that an exchange would get."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a gateway is made of."""

    clock: Clock
    ids: Ids
    owner: str
    """The name of this process in rows that are open."""
    catalogue: Catalogue
    stores: Stores
    nodes: Nodes | None
    """None = there are no others."""
    standing: Standing
    keyring: KeyRing
    treasury: Treasury
    metrics: Metrics
    telemetry: Telemetry
    pepper: bytes
    notes: CentreNotes
    outside: Outside

    @property
    def shared(self) -> Shared | None:
        """What nodes share, if there are others."""
        return None if self.nodes is None else self.nodes.shared


class Gateway:
    """Starts, serves, changes while it serves, ends."""

    def __init__(self, parts: Parts, composer: Composer) -> None:
        """Use ``compose.open_gateway``."""
        self.clock = parts.clock
        self.ids = parts.ids
        self.owner = parts.owner
        self.stores = parts.stores
        self.standing = parts.standing
        self.keyring = parts.keyring
        self.treasury = parts.treasury
        self.metrics = parts.metrics
        self.telemetry = parts.telemetry
        self.pepper = parts.pepper
        self.nodes = parts.nodes
        self.shared = parts.shared
        self.catalogue = parts.catalogue
        self.settings: Settings
        """What holds now, with what centres offer."""
        self.book: PriceBook
        self.offers: Mapping[str, Offer]
        """Of our centres, by provider."""
        self.pipeline: Pipeline
        self._composer = composer
        self._serve()
        self._outside = parts.outside
        self._warned: set[str] = set()
        self._budgets_version = -1
        self._reloading = asyncio.Lock()
        self._reloads = Reloads(self.stores.signals)
        edge = Edge(self.clock, self.stores.answers, parts.notes, self._place_of, self.take_offer)
        self._centres = Centres(edge, self._outside.centre)
        self.metrics.watch_all("penstock_centre_up", self._centres.up)
        self.metrics.watch("penstock_traces_waiting", (), lambda: len(self.telemetry.traces))
        self.metrics.watch_all("penstock_traces_total", self.telemetry.traces.tally.by_outcome)
        self._prober = Prober(self.clock, self.standing.fleet, self._outside.ask)
        self.today = Today(self.clock, self.stores.reader, lambda: self.settings.alerts.zone, self.stores.leader)
        charges = None if self.stores.audit is None else self.stores.audit.charges
        asked = self._outside.balance
        self.balances = Balances(self.clock, lambda: self.settings, asked, charges, self.stores.leader)
        self._signalled = dict(self._signalled_jobs())
        self._tickers = [
            *self._signalled.values(),
            Ticker(self.clock, JOURNAL_S, self._journal, "journal"),
            Ticker(self.clock, WATCH_S, self._watch, "watch the fleet"),
            Ticker(self.clock, PROBE_S, self.probe, "probe"),
            Ticker(self.clock, SWEEP_S, self._sweep, "sweep"),
            Ticker(self.clock, TODAY_S, self.today.look, "sum up the day"),
            Ticker(self.clock, BALANCES_S, self.balances.look, "ask for balances"),
            Ticker(self.clock, TRACES_S, self.telemetry.traces.flush, "tell traces"),
            Ticker(self.clock, METRICS_S, self.telemetry.tell_metrics, "tell metrics"),
            *(() if self.nodes is None else self.nodes.tickers()),
        ]

    # --- from start to end

    async def start(self, moved: Moved | None = None) -> None:
        """Settle what a dead process left, read the keys and the budgets, and start the background loops.

        ``moved``: the bank of the process that this one takes over from, which is still at work on what it has begun;
        when it has ended, ``bury`` it.
        """
        if self._lending is not None:
            await patiently(partial(self._lending.start, self.treasury), self.clock)
        elif moved is None:
            await recover(self.stores.ledger, self.clock)
        else:
            self.treasury.take_over(moved)
        await self.refresh_keys(always=True)
        await self.refresh_budgets(always=True)
        await self._reloads.start()
        if self.stores.signals is not None:
            self.stores.signals.listen(self._hear)
        await self._centres.start(self.settings.providers)
        self.metrics.note(self.clock.monotonic())
        if self.nodes is not None:
            with suppress(StoreError):
                await self.nodes.look_behind()  # before anything is stored
        for ticker in self._tickers:
            ticker.start()

    async def close(self) -> None:
        """Stop the loops, flush the ledger, close every connection."""
        await self._centres.stop()
        for ticker in self._tickers:
            await ticker.stop()
        await self.telemetry.close()
        await self._outside.close()
        if self.nodes is not None:
            await self.nodes.close()
        await self.stores.close()

    # --- from one process to the next

    def known(self) -> Known:
        """What a successor need not learn again."""
        standing, now = self.standing, self.clock.monotonic()
        firsts = [(name, first.body_digest) for name, first in standing.firsts.items()]
        return Known(rates_of(standing.keys, now), memory_of(standing.members(self.settings), now), firsts)

    def inherit(self, known: Known) -> None:
        """Go on with what the process before this one knows."""
        restore_rates(self.standing.keys, known.rates)
        restore_firsts(self.standing.firsts, known.firsts)
        remember(self.standing.members(self.settings), known.fleet)

    def end_first(self, name: FirstName, result: StoredResult | None) -> None:
        """What the process before this one answered under an Idempotency-Key has come to this; None = to nothing."""
        end(self.standing.firsts, name, self.standing.firsts.get(name), result)

    async def bury(self, held: Collection[str]) -> None:
        """The process before this one has ended: settle what it left open, and book what it never said of ``held``.

        Among many nodes it was one of them, and the one that leads settles for all.
        """
        if self._lending is not None:
            return
        await recover(self.stores.ledger, self.clock, spare=self.owner)
        found = {row.id: row for row in (await self.stores.reader.attempts(sorted(held)) if held else ())}
        for attempt_id in held:
            row = found.get(attempt_id)
            if row is None or row.outcome == OPEN:  # it was never durable, so it was never made
                self.treasury.settle(attempt_id, Payer(), self.clock.now(), Cost(0, 0))
                continue
            payer = _payer(await self.stores.reader.exchange(row.exchange_id))
            self.treasury.settle(attempt_id, payer, row.started_at, Cost(row.charged_book_nano, row.usage.total))

    # --- what any process changed

    async def refresh_keys(self, *, always: bool = False) -> None:
        """Take over what any process changed in the key store."""
        asked_at = self.clock.monotonic()
        try:
            version = await self.stores.keys.version()
            if always or version != self.keyring.version:
                self.keyring.load(await self.stores.keys.list(), version)
        except StoreError:
            self.keyring.doubt()
            raise
        self.keyring.confirm(asked_at)

    async def refresh_answers(self) -> None:
        """Forget what any process purged; where there are others, they have heard of it when this returns."""
        if self.nodes is not None and self.nodes.purging is not None:
            await self.nodes.purging.look()
        elif self.stores.refresh is not None:
            await self.stores.refresh()

    async def refresh_budgets(self, *, always: bool = False) -> None:
        """Hold everyone to the config's budgets, and to what any process set in the store."""
        version = await self.stores.budgets.version()
        if always or version != self._budgets_version:
            await self.treasury.adopt(budgets_in_force(self.settings, await self.stores.budgets.list()))
            self._budgets_version = version

    def _signalled_jobs(self) -> Iterator[tuple[str, Ticker]]:
        """What is done each second, and at once when its topic is signalled."""
        yield "keys", Ticker(self.clock, REFRESH_KEYS_S, self.refresh_keys, "refresh keys")
        yield "budgets", Ticker(self.clock, REFRESH_KEYS_S, self.refresh_budgets, "refresh budgets")
        if self.stores.refresh is not None:
            yield "purges", Ticker(self.clock, REFRESH_KEYS_S, self.refresh_answers, "forget what was purged")
        if self.stores.signals is not None:
            yield CONFIG, Ticker(self.clock, REFRESH_KEYS_S, self._reloads.look, "reload as other nodes do")

    def _hear(self, topic: str) -> None:
        """Another node changed that, or this one; ``*`` = anything."""
        for each, ticker in self._signalled.items():
            if topic in (each, "*"):
                ticker.hurry()

    # --- reloads

    async def reload(self, load: Callable[[], Settings]) -> tuple[Settings, Sequence[str]]:
        """Read the config anew, in a thread, and adopt it: what then holds, and what waits for a restart.

        One at a time, so that the file as it was read last is what holds. Raises ConfigError; nothing has changed then.
        """
        async with self._reloading:
            restart = await self.adopt(await asyncio.to_thread(load))
            return self.settings, restart

    def follow_reloads(self, reread: Callable[[], Awaitable[object]]) -> None:
        """``reread``: to be called when another node was told to read its config anew."""
        self._reloads.follow(reread)

    async def tell_reload(self) -> None:
        """Let all other nodes read their config anew. Raises StoreError."""
        await self._reloads.tell()

    async def adopt(self, settings: Settings) -> Sequence[str]:
        """Serve by new settings from the next request on; what of them needs a restart. Raises ConfigError.

        What needs a restart stays as it is, in ``settings`` too: they are what holds.
        """
        await self.refresh_keys()
        records = await self.stores.budgets.list()
        refusals = refusals_at_reload(self.settings, settings, self.keyring.live(self.clock.now()))
        if refusals:
            raise ConfigError(refusals)
        restart = needs_restart(self.settings, settings)
        wanted = in_force(self.settings, settings)
        await self.treasury.adopt(budgets_in_force(wanted, records))
        if self.nodes is not None:
            self.nodes.adopt(wanted.shared)
        self.catalogue.adopt(wanted)
        self._serve()
        settings = self.settings
        self.keyring.adopt(settings.keys)
        self.keyring.stale_s = settings.server.keys_stale_s
        if not (self.keyring.open or settings.keys or self.keyring.live(self.clock.now())):
            log.warning("no key is left: every client is refused until there is one; what had keys does not open again")
        self.standing.adopt(settings)
        self.metrics.adopt(settings)
        self.telemetry.adopt(settings)
        await self._centres.follow(settings.providers)
        return restart

    async def take_offer(self, provider: str, offer: Offer) -> None:
        """Serve the models of a centre, and price by its lists. Raises ConfigError; nothing has changed then."""
        self.catalogue.take(provider, offer, await asyncio.to_thread(read_offered_prices, offer))
        self._serve()
        self.standing.fleet.adopt(self.settings.limits, deployments(self.settings))
        self.metrics.adopt(self.settings)
        self.telemetry.adopt(self.settings)

    def _serve(self) -> None:
        """By what the catalogue has now, from the next request on."""
        self.settings, self.book, self.offers = self.catalogue.settings, self.catalogue.book, self.catalogue.offers
        self.pipeline = self._composer.pipeline(self.catalogue)

    # --- while it serves

    def preview(self, exchange: Exchange) -> Plan[DeploymentSettings]:
        """The plan that an exchange would get now; it is nobody's turn."""
        return self._composer.preview(self.settings, exchange)

    async def probe(self) -> None:
        """Ask those that are out whether they are back, where the config says so."""
        for model in self.settings.models.values():
            await self._prober.look(model.deployments)

    async def _journal(self) -> None:
        """Note how far the calls have come that a crash would cut."""
        for note in tuple(self.standing.running.values()):
            note()

    async def _watch(self) -> None:
        """Look after calls that are overdue, and note how much there is to do."""
        self.standing.fleet.watch()
        self.metrics.note(self.clock.monotonic())

    async def _sweep(self) -> None:
        """Drop what has expired; say what the price book could not know."""
        await self.stores.sweep(self.clock.now())
        self.treasury.sweep()
        for warning in self.book.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                log.warning("price book", extra={"why": warning})

    @property
    def _lending(self) -> Lending | None:
        return None if self.nodes is None else self.nodes.lending

    def _place_of(self, entry: str) -> Place | None:
        return place_of(entry, self.settings)


def place_of(entry: str, settings: Settings) -> Place | None:
    """Where an answer that a centre hands over is kept; None = its model has no cache here. Raises ValueError."""
    key, name = read_entry(entry)
    model, cache = settings.models.get(name), settings.cache
    if model is None:
        return None
    ttl_s = cache.exact_ttl_s if model.exact is None else model.exact.ttl_s
    return Place(key, name, ttl_s + cache.stale_s) if ttl_s else None


def _payer(rows: Sequence[LedgerRow]) -> Payer:
    """Whose money an exchange was."""
    asked = next(row for row in rows if isinstance(row, ExchangeRow))
    tags = tuple(f"{name}={value}" for name, value in asked.tags.items())
    return Payer(asked.team, asked.key_name, asked.user, asked.model, tags)
