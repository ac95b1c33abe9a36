"""The composition root: settings -> stores, providers, stages -> Gateway. The only namer of concrete parts."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from penstock.background.balances import LOOK_S as BALANCES_S
from penstock.background.balances import Balances
from penstock.background.centres import Centres
from penstock.background.lending import BEAT_S, Lending, Terms
from penstock.background.probe import Prober
from penstock.background.purging import Purging
from penstock.background.recovery import recover
from penstock.background.sync import Edge, Place
from penstock.background.ticker import Ticker
from penstock.background.today import LOOK_S as TODAY_S
from penstock.background.today import Today
from penstock.background.undertaker import LOOK_S, Undertaker
from penstock.clock import SystemClock, SystemRng, TimeIds
from penstock.config.budget_records import budgets_in_force
from penstock.config.fixed import in_force, needs_restart
from penstock.config.offered import offered_prices, read_offered_prices, with_offers, with_prices
from penstock.config.prices import load_book
from penstock.config.refusals import refusals_at_reload
from penstock.config.settings import DeploymentSettings, ProviderSettings, Settings, SharedSettings
from penstock.core.budget import Payer
from penstock.core.offer import Offer
from penstock.core.pricebook import PriceBook, PricedModel
from penstock.core.reconcile import Balance
from penstock.core.records import OPEN, ExchangeRow, LedgerRow
from penstock.core.regions import WELL_FOR_S
from penstock.core.retry import RetryBudget
from penstock.core.routing import Plan
from penstock.errors import ConfigError, PenstockError, SharedUnavailable, StoreError
from penstock.observe.logs import ledger_rows_lost
from penstock.observe.metrics import Metrics
from penstock.observe.telemetry import METRICS_S, TRACES_S, Telemetry
from penstock.pipeline.accounts import Accounts
from penstock.pipeline.across import Across
from penstock.pipeline.admit import Admit
from penstock.pipeline.attempt import Attempt
from penstock.pipeline.exact import Exact
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.first import FirstName, Firsts, end
from penstock.pipeline.fleet import WATCH_S, Fleet
from penstock.pipeline.fleet_memory import memory_of, remember
from penstock.pipeline.gate import Gate
from penstock.pipeline.geography import Geography
from penstock.pipeline.identify import Identify
from penstock.pipeline.join import Flights, Join
from penstock.pipeline.keyring import KeyRing
from penstock.pipeline.known import Known, rates_of, restore_firsts, restore_rates
from penstock.pipeline.lent_rates import LOOK_S as RATES_S
from penstock.pipeline.lent_rates import LentRates
from penstock.pipeline.limit import Limit
from penstock.pipeline.member import Member
from penstock.pipeline.once import Once
from penstock.pipeline.passing import Passing, read_entry
from penstock.pipeline.rates import OwnRates
from penstock.pipeline.record import Record, StatusOf
from penstock.pipeline.reserve import Reserve
from penstock.pipeline.route import Balancers, Route, is_sensitive
from penstock.pipeline.run import Pipeline, Stage
from penstock.pipeline.sharing import Sharing
from penstock.pipeline.standing import Standings
from penstock.pipeline.stored import Storing
from penstock.pipeline.teller import Calibrations, Running, Teller, Tokenizer
from penstock.pipeline.trace import Mark, Measured, Traced
from penstock.pipeline.treasury import Cost, Moved, Treasury
from penstock.ports import (
    AnswerCache,
    Clock,
    Collector,
    FailPoint,
    Ids,
    Purge,
    Rng,
    Shared,
    StoredResult,
    Stores,
    Transport,
)
from penstock.providers import balance
from penstock.providers.ask import ask
from penstock.providers.centre import CentreReader
from penstock.providers.collector import HttpCollector
from penstock.providers.http import HttpTransport
from penstock.providers.registry import KINDS, adapter
from penstock.providers.sim import Sim
from penstock.stores.centre_notes import open_notes
from penstock.stores.open import open_shared, open_stores
from penstock.stores.pepper import open_pepper

log = logging.getLogger(__name__)

REFRESH_KEYS_S = 1.0
JOURNAL_S = 1.0
PROBE_S = 1.0
SWEEP_S = 30.0
CONFIG = "config"
"""The topic of reloads."""
_OWNER_DIGITS = 8
"""Of chance: there are no more than two owners at a time."""


@dataclass(slots=True)
class World:
    """What the live gateway is given and a test or the lab replaces: time, chance, names, senders by kind, prices."""

    clock: Clock = field(default_factory=SystemClock)
    rng: Rng = field(default_factory=SystemRng)
    ids: Ids | None = None
    transports: Mapping[str, Transport] = field(default_factory=dict)
    book: PriceBook | None = None
    """None = the shipped price lists."""
    reached: FailPoint = lambda _step: None
    """Where a test ends the process."""
    tokenizers: Mapping[str, Tokenizer] = field(default_factory=dict)
    """Exact prompt tokens, by provider kind."""
    shared: Shared | None = None
    """None = what is at the URL of ``shared``."""
    metrics: Callable[[Settings], Metrics] = Metrics
    """Who counts."""
    region_well_for_s: float = WELL_FOR_S
    """How long a region that was out has to be well before it is failed back to."""
    collector: Collector | None = None
    """None = the one of ``telemetry.otlp``."""


@dataclass(slots=True)
class Standing:
    """What outlives a reload: requests in flight, slots, counters, what is known of deployments."""

    budget: RetryBudget
    gate: Gate
    fleet: Fleet
    geography: Geography
    balancers: Balancers = field(default_factory=dict)
    flights: Flights = field(default_factory=dict)
    firsts: Firsts = field(default_factory=dict)
    keys: Standings = field(default_factory=dict)
    calibrations: Calibrations = field(default_factory=dict)
    running: Running = field(default_factory=dict)

    def adopt(self, settings: Settings) -> None:
        """Go by these from now on."""
        self.budget.share = settings.retry.budget
        self.gate.adopt(settings.limits)
        self.fleet.adopt(settings.limits, _deployments(settings))
        self.geography.adopt(settings.regions)


def _standing(settings: Settings, world: World, late_s: Callable[[], float]) -> Standing:
    fleet = Fleet(world.clock, world.rng, settings.limits)
    fleet.adopt(settings.limits, _deployments(settings))
    return Standing(
        budget=RetryBudget(settings.retry.budget),
        gate=Gate(world.clock, settings.limits, late_s),
        fleet=fleet,
        geography=Geography(world.clock, fleet, settings.regions, well_for_s=world.region_well_for_s),
    )


def _deployments(settings: Settings) -> Iterator[DeploymentSettings]:
    """Of all models."""
    return (each for model in settings.models.values() for each in model.deployments)


class Gateway:
    """A running Penstock: what the servers, the console and the commands hold."""

    def __init__(
        self,
        settings: Settings,
        *,
        stores: Stores,
        book: PriceBook,
        pepper: bytes,
        metrics: Metrics,
        world: World,
        status_of: StatusOf,
        shared: Shared | None = None,
    ) -> None:
        """Use ``open_gateway``."""
        self.settings = settings
        self.stores = stores
        self.book = book
        self.pepper = pepper
        self.clock = world.clock
        self.ids: Ids = world.ids or TimeIds(world.clock.now)
        self.owner = self.ids.new("own")[-_OWNER_DIGITS:]
        """The name of this process in rows that are open."""
        self._http = HttpTransport(world.clock)
        self.standing = _standing(settings, world, lambda: self._http.turns.late_s)
        self.keyring = KeyRing(pepper, settings.keys, settings.server.keys_stale_s)
        self.shared = shared
        self._rates = OwnRates(world.clock, self.standing.keys)
        self._lent = None if shared is None else LentRates(self._rates, shared.rates, world.clock, self.owner)
        self._lending = self._lender(metrics)
        self._purging = self._purger()
        if settings.shared is not None:
            self._follow_terms(_terms(settings.shared))
        self.treasury = Treasury(world.clock, stores.ledger, settings.currency, metrics.budget_alert, self._lending)
        self.metrics = metrics
        self._world = world
        self._status_of = status_of
        self._warned: set[str] = set()
        self._budgets_version = -1
        self._reloading = asyncio.Lock()
        self._written = settings
        """As the config has them, without what centres offer."""
        self._own_book = book
        self.offers: Mapping[str, Offer] = {}
        """Of our centres, by provider."""
        self._offered_lists: dict[str, list[PricedModel]] = {}
        self._sim = Sim(world.clock, world.rng)
        collector = world.collector or HttpCollector(self._http, self.clock, lambda: self.settings.telemetry)
        self.telemetry = Telemetry(settings, collector, self.clock, world.rng, self.owner)
        metrics.watch("penstock_traces_waiting", (), lambda: len(self.telemetry.traces))
        metrics.watch_all("penstock_traces_total", self.telemetry.traces.tally.by_outcome)
        self.pipeline = self._pipeline(settings)
        notes = open_notes(settings)
        edge = Edge(self.clock, stores.answers, notes, lambda entry: place_of(entry, self.settings), self._take_offer)
        self._centres = Centres(edge, lambda each: CentreReader(self._transport(each), each, self.clock))
        metrics.watch_all("penstock_centre_up", self._centres.up)
        self._prober = Prober(
            world.clock,
            self.standing.fleet,
            lambda provider, path: ask(self._transport(provider), provider, path, world.clock),
        )
        self.today = Today(self.clock, stores.reader, lambda: self.settings.alerts.zone, stores.leader)
        charges = None if stores.audit is None else stores.audit.charges
        self.balances = Balances(self.clock, lambda: self.settings, self._ask_balance, charges, stores.leader)
        self._reread: Callable[[], Awaitable[object]] | None = None
        self._told_to_reread = 0
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
            *self._tickers_of_nodes(),
        ]

    async def start(self, moved: Moved | None = None) -> None:
        """Settle what a dead process left, read the keys and the budgets, and start the background loops.

        ``moved``: the bank of the process that this one takes over from, which is still at work on what it has begun;
        when it has ended, ``bury`` it.
        """
        if self._lending is not None:
            await self._lending.start(self.treasury)
        elif moved is None:
            await recover(self.stores.ledger, self.clock)
        else:
            self.treasury.take_over(moved)
        await self.refresh_keys(always=True)
        await self.refresh_budgets(always=True)
        if self.stores.signals is not None:
            self._told_to_reread = await self.stores.signals.told(CONFIG)
            self.stores.signals.listen(self._hear)
        await self._centres.start(self.settings.providers)
        self.metrics.note(self.clock.monotonic())
        with suppress(StoreError):
            await self._look_behind()  # before anything is stored
        for ticker in self._tickers:
            ticker.start()

    def known(self) -> Known:
        """What a successor need not learn again."""
        standing, now = self.standing, self.clock.monotonic()
        firsts = [(name, first.body_digest) for name, first in standing.firsts.items()]
        return Known(rates_of(standing.keys, now), memory_of(self._members(), now), firsts)

    def inherit(self, known: Known) -> None:
        """Go on with what the process before this one knows."""
        restore_rates(self.standing.keys, known.rates)
        restore_firsts(self.standing.firsts, known.firsts)
        remember(self._members(), known.fleet)

    def end_first(self, name: FirstName, result: StoredResult | None) -> None:
        """What the process before this one answered under an Idempotency-Key has come to this; None = to nothing."""
        end(self.standing.firsts, name, self.standing.firsts.get(name), result)

    def _members(self) -> list[Member]:
        """Of the fleet, by the config."""
        models = self.settings.models.values()
        return [self.standing.fleet.member(each) for model in models for each in model.deployments]

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

    async def close(self) -> None:
        """Stop the loops, flush the ledger, close every connection."""
        await self._centres.stop()
        for ticker in self._tickers:
            await ticker.stop()
        await self.telemetry.close()
        await self._http.close()
        if self._lending is not None:
            with suppress(StoreError):  # then it ends by itself
                await self._lending.close()
        if self.shared is not None:
            await self.shared.close()
        await self.stores.close()

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
        if self._purging is not None:
            await self._purging.look()
        elif self.stores.refresh is not None:
            await self.stores.refresh()

    async def refresh_budgets(self, *, always: bool = False) -> None:
        """Hold everyone to the config's budgets, and to what any process set in the store."""
        version = await self.stores.budgets.version()
        if always or version != self._budgets_version:
            await self.treasury.adopt(budgets_in_force(self.settings, await self.stores.budgets.list()))
            self._budgets_version = version

    async def reload(self, load: Callable[[], Settings]) -> tuple[Settings, Sequence[str]]:
        """Read the config anew, in a thread, and adopt it: what then holds, and what waits for a restart.

        One at a time, so that the file as it was read last is what holds. Raises ConfigError; nothing has changed then.
        """
        async with self._reloading:
            restart = await self.adopt(await asyncio.to_thread(load))
            return self.settings, restart

    def follow_reloads(self, reread: Callable[[], Awaitable[object]]) -> None:
        """``reread``: to be called when another node was told to read its config anew."""
        self._reread = reread

    async def tell_reload(self) -> None:
        """Let all other nodes read their config anew. Raises StoreError."""
        if self.stores.signals is not None:
            told = await self.stores.signals.tell(CONFIG)
            if told == self._told_to_reread + 1:  # else another one was told meanwhile
                self._told_to_reread = told

    async def _refresh_config(self) -> None:
        told = self._told_to_reread if self.stores.signals is None else await self.stores.signals.told(CONFIG)
        if told != self._told_to_reread:
            self._told_to_reread = told
            if self._reread is not None:
                await self._reread()

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
        self._written, self.book = wanted, self._priced_by(wanted)
        if wanted.shared is not None:
            self._follow_terms(_terms(wanted.shared))
        self.settings = settings = with_offers(wanted, self.offers)
        self.keyring.adopt(settings.keys)
        self.keyring.stale_s = settings.server.keys_stale_s
        if not (self.keyring.open or settings.keys or self.keyring.live(self.clock.now())):
            log.warning("no key is left: every client is refused until there is one; what had keys does not open again")
        self.standing.adopt(settings)
        self.metrics.adopt(settings)
        self.telemetry.adopt(settings)
        self.pipeline = self._pipeline(settings)
        await self._centres.follow(settings.providers)
        return restart

    async def _take_offer(self, provider: str, offer: Offer) -> None:
        """Serve the models of a centre, and price by its lists. Raises ConfigError; nothing has changed then."""
        self._offered_lists[provider] = await asyncio.to_thread(read_offered_prices, offer)
        self.offers = {**self.offers, provider: offer}
        self.book = self._priced_by(self._written)
        self.settings = with_offers(self._written, self.offers)
        self.standing.fleet.adopt(self.settings.limits, _deployments(self.settings))
        self.metrics.adopt(self.settings)
        self.pipeline = self._pipeline(self.settings)

    def _priced_by(self, settings: Settings) -> PriceBook:
        """Our lists, and in their place those of the centres that these settings name."""
        book = self._own_book
        for name in reversed([*settings.providers]):  # the first of several has the last word
            book = with_prices(book, self._offered_lists.get(name, []))
        return book

    def preview(self, exchange: Exchange) -> Plan[DeploymentSettings]:
        """The plan that an exchange would get now; it is nobody's turn."""
        return self._route(self.settings).preview(exchange)

    # --- composition

    def _lender(self, metrics: Metrics) -> Lending | None:
        """Who lends this node its parts of the budgets, where there are others."""
        shared, leases, fence = self.shared, self.stores.leases, self.stores.fence
        if shared is None or leases is None or fence is None:
            return None
        return Lending(
            rooms=shared.rooms,
            leases=leases,
            clock=self.clock,
            node=self.owner,
            fence=fence,
            on_overspent=metrics.overspent,
        )

    def _purger(self) -> Purging | None:
        """Who says to the other nodes what was purged, where there are any."""
        shared, stores = self.shared, self.stores
        if shared is None or stores.refresh is None or stores.leader is None:
            return None
        return Purging(stores.refresh, stores.leader, shared.answers)

    def _follow_terms(self, terms: Terms) -> None:
        if self._lending is not None:
            self._lending.terms = terms
        if self._lent is not None:
            self._lent.opens = terms.opens

    def _signalled_jobs(self) -> Iterator[tuple[str, Ticker]]:
        """What is done each second, and at once when its topic is signalled."""
        yield "keys", Ticker(self.clock, REFRESH_KEYS_S, self.refresh_keys, "refresh keys")
        yield "budgets", Ticker(self.clock, REFRESH_KEYS_S, self.refresh_budgets, "refresh budgets")
        if self.stores.refresh is not None:
            yield "purges", Ticker(self.clock, REFRESH_KEYS_S, self.refresh_answers, "forget what was purged")
        if self.stores.signals is not None:
            yield CONFIG, Ticker(self.clock, REFRESH_KEYS_S, self._refresh_config, "reload as other nodes do")

    def _hear(self, topic: str) -> None:
        """Another node changed that, or this one; ``*`` = anything."""
        for each, ticker in self._signalled.items():
            if topic in (each, "*"):
                ticker.hurry()

    def _tickers_of_nodes(self) -> Iterator[Ticker]:
        """What is to be done again and again where there are many nodes."""
        stores = self.stores
        if self._lent is not None:
            yield Ticker(self.clock, RATES_S, self._lent.look, "give rates back")
        if self._lending is not None:
            yield Ticker(self.clock, BEAT_S, self._lending.beat, "renew the lease")
        if self.shared is not None and stores.last_end is not None:
            yield Ticker(self.clock, BEAT_S, self._look_behind, "know what only the store has")
        if self._lending is not None and stores.leases is not None and stores.leader is not None:
            undertaker = Undertaker(stores.leases, stores.leader, stores.ledger, self.clock)
            yield Ticker(self.clock, LOOK_S, undertaker.look, "settle what the dead left")

    async def _look_behind(self) -> None:
        """Know what only the store has, where nodes share their answers. Raises SharedUnavailable, StoreError."""
        if self.shared is not None and self.stores.last_end is not None:
            await self.shared.answers.look_behind(self.stores.last_end)

    def _pipeline(self, settings: Settings) -> Pipeline:
        """The stages in order: a feature that is off is not in the list."""
        clock, stores, standing = self.clock, self.stores, self.standing
        accounts = Accounts(self.book, settings.currency, settings.fx, offered_prices(self.offers))
        sensitive = partial(is_sensitive, settings.sensitive)
        storing = Storing(clock, Sharing(settings.cache, sensitive))
        across = self.shared.answers if self.shared is not None and settings.cache.join else None
        guarded = stores.ledger if settings.ledger.on_failure == "refuse" else None
        teller = Teller(
            clock=clock,
            ids=self.ids,
            ledger=stores.ledger,
            accounts=accounts,
            treasury=self.treasury,
            calibrations=standing.calibrations,
            running=standing.running,
            tokenizers=self._world.tokenizers,
            wait_s=settings.budget_wait_s,
            calibrated=settings.bound == "calibrated",
            strict=settings.ledger.on_failure == "refuse",
            reached=self._world.reached,
            owner=self.owner,
        )
        stages: list[Stage] = [
            Record(clock, stores.ledger, self.metrics, accounts, self._status_of),
            Identify(self.keyring, settings.server.edges),
            Admit(settings.models, self.treasury),
            Once(clock, stores.results, standing.firsts),
            Limit(clock, standing.gate, self._lent or self._rates, guarded),
        ]
        if _exact_is_on(settings):
            stale = settings.cache.stale_on_error
            stages.append(Exact(clock, stores.answers, storing, stale_on_error=stale, near=across is not None))
        if settings.cache.join:
            stages.append(Join(clock, standing.flights, storing))
        if across is not None:
            stages.append(Across(clock, across, stores.answers, storing))
        stages += [
            self._route(settings),
            Reserve(teller, self.treasury),
            Attempt(
                clock=clock,
                rng=self._world.rng,
                transport=self._transport,
                adapters={kind: adapter(kind) for kind in KINDS},
                kinds=KINDS,
                accounts=accounts,
                teller=teller,
                retry=settings.retry,
                budget=standing.budget,
                fleet=standing.fleet,
                passing=Passing(sensitive, standing.geography.region_of),
            ),
        ]
        return Pipeline(self._observed(settings, stages))

    def _observed(self, settings: Settings, stages: list[Stage]) -> list[Stage]:
        """The stages, and what telemetry sees them by."""
        telemetry = settings.telemetry
        if telemetry.traces_on:
            marked = [(stage, Mark(self.clock, type(stage).__name__.lower())) for stage in stages[1:-1]]
            traced = Traced(
                self.telemetry.traces,
                sample=telemetry.sample,
                tells=lambda exchange: telemetry.content and not is_sensitive(settings.sensitive, exchange),
            )
            stages = [traced, stages[0], *chain.from_iterable(marked), stages[-1]]
        return [Measured(self.telemetry.instruments), *stages] if telemetry.metrics_on else stages

    def _route(self, settings: Settings) -> Route:
        standing = self.standing
        return Route(
            clock=self.clock,
            rng=self._world.rng,
            fleet=standing.fleet,
            geography=standing.geography,
            balancers=standing.balancers,
            sensitive=settings.sensitive,
        )

    def _transport(self, provider: ProviderSettings) -> Transport:
        given = self._world.transports.get(provider.kind)
        if given is not None:
            return given
        return self._sim if provider.kind == "sim" else self._http

    async def _journal(self) -> None:
        """Note how far the calls have come that a crash would cut."""
        for note in tuple(self.standing.running.values()):
            note()

    async def probe(self) -> None:
        """Ask those that are out whether they are back, where the config says so."""
        for model in self.settings.models.values():
            await self._prober.look(model.deployments)

    async def _ask_balance(self, provider: ProviderSettings) -> Sequence[Balance]:
        """What its account holds, by currency. Raises UpstreamError."""
        return await balance.ask_balance(
            self._transport(provider), provider, KINDS[provider.kind].balance_path, self.clock
        )

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


def _exact_is_on(settings: Settings) -> bool:
    """Somewhere at least: a model, key or tag may have what the rest has not."""
    cache = settings.cache
    overrides = [*cache.by_key.values(), *cache.by_tag.values()]
    overrides += [model.exact for model in settings.models.values() if model.exact is not None]
    return bool(cache.exact_ttl_s or any(exact.ttl_s for exact in overrides))


async def open_gateway(
    settings: Settings,
    status_of: StatusOf,
    world: World | None = None,
    *,
    lock: int | None = None,
    succeeds: bool = False,
) -> Gateway:
    """Open the stores and build the gateway; call ``start`` before and ``close`` after serving.

    ``status_of``: the HTTP status of an error, for the ledger. ``lock``: the file of the store's lock, when the process
    before this one shares it; ``succeeds``: there is one. Raises ConfigError, StoreError.
    """
    world = world or World()
    metrics = world.metrics(settings)

    def on_lost(rows: Sequence[LedgerRow], reason: str) -> None:
        metrics.rows_lost(len(rows))
        ledger_rows_lost(rows, reason)

    stores = await open_stores(
        settings.store,
        settings.directory,
        max_answer_bytes=settings.cache.max_bytes,
        sync=settings.ledger.sync,
        on_lost=on_lost,
        clock=world.clock,
        currency=settings.currency,
        inherited=lock,
        sole=settings.shared is None,
        succeeds=succeeds,
        retention_s=settings.ledger.retention_s,
        spool=settings.ledger.spool,
    )
    try:
        shared = world.shared or await _open_shared(settings, world, stores.answers)
    except PenstockError:
        await stores.close()
        raise
    return Gateway(
        settings,
        stores=stores,
        book=world.book or load_book(),
        pepper=open_pepper(settings),
        metrics=metrics,
        world=world,
        status_of=status_of,
        shared=shared,
    )


async def _open_shared(settings: Settings, world: World, answers: AnswerCache) -> Shared | None:
    """What nodes share, if there are nodes. Raises SharedUnavailable."""
    if settings.shared is None:
        return None

    def forget(purge: Purge) -> None:
        answers.forget(model=purge.model, tenant=purge.tenant, tag=purge.tag, deployments=purge.deployments)

    ids = world.ids or TimeIds(world.clock.now)
    try:
        return await open_shared(settings.shared.url, clock=world.clock, rng=world.rng, ids=ids, forget=forget)
    except SharedUnavailable as error:
        said = error.detail or error.public
        raise SharedUnavailable(
            f"shared: Redis cannot be used, and a node does not start without it: {said}"
        ) from error


def _terms(shared: SharedSettings) -> Terms:
    return Terms(
        shared.slice,
        frozenset(name for name, mode in shared.keys.items() if mode == "answer"),
        open_default=shared.on_failure == "answer",
    )


async def ask_balance(provider: ProviderSettings, clock: Clock) -> Sequence[Balance]:
    """What the account at ``provider`` holds now, whose kind has a ``balance_path``. Raises UpstreamError."""
    http = HttpTransport(clock)
    try:
        return await balance.ask_balance(http, provider, KINDS[provider.kind].balance_path, clock)
    finally:
        await http.close()
