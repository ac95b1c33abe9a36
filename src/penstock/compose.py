"""The composition root: settings -> stores, providers, stages -> Gateway. The only namer of concrete parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from penstock.background.patience import patiently
from penstock.clock import SystemClock, SystemRng, TimeIds
from penstock.config.offered import offered_prices
from penstock.config.prices import load_book
from penstock.config.settings import DeploymentSettings, ProviderSettings, Settings, TelemetrySettings
from penstock.core.pricebook import PriceBook
from penstock.core.reconcile import Balance
from penstock.core.records import LedgerRow
from penstock.core.regions import WELL_FOR_S
from penstock.core.routing import Plan
from penstock.errors import PenstockError, SharedUnavailable
from penstock.gateway.catalogue import Catalogue
from penstock.gateway.gateway import Gateway, Parts
from penstock.gateway.nodes import among_nodes
from penstock.gateway.standing import new_standing
from penstock.observe.logs import ledger_rows_lost
from penstock.observe.metrics import Metrics
from penstock.observe.telemetry import Telemetry
from penstock.pipeline.accounts import Accounts
from penstock.pipeline.across import Across
from penstock.pipeline.admit import Admit
from penstock.pipeline.attempt import Attempt
from penstock.pipeline.exact import Exact
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.identify import Identify
from penstock.pipeline.join import Join
from penstock.pipeline.keyring import KeyRing
from penstock.pipeline.lent_rates import LentRates
from penstock.pipeline.limit import Limit
from penstock.pipeline.once import Once
from penstock.pipeline.passing import Passing
from penstock.pipeline.question import Question
from penstock.pipeline.rates import OwnRates
from penstock.pipeline.record import Record, StatusOf
from penstock.pipeline.reserve import Reserve
from penstock.pipeline.route import Route, is_sensitive
from penstock.pipeline.run import Pipeline, Stage
from penstock.pipeline.sharing import Sharing
from penstock.pipeline.stored import Storing
from penstock.pipeline.teller import Teller, Tokenizer
from penstock.pipeline.trace import Mark, Measured, Traced
from penstock.pipeline.treasury import Treasury
from penstock.ports.answers import AnswerCache, Purge
from penstock.ports.centres import Centre
from penstock.ports.clock import Clock, Ids, Rng
from penstock.ports.faults import FailPoint
from penstock.ports.ledger import Ledger
from penstock.ports.providers import Incoming, Transport
from penstock.ports.shared import Shared
from penstock.ports.stores import Stores
from penstock.ports.telemetry import Collector
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
    collector: Collector | None = None
    """None = the one of ``telemetry.otlp``."""
    ledger: Callable[[Ledger], Ledger] = lambda ledger: ledger
    """What stands before the one of the store."""
    region_well_for_s: float = WELL_FOR_S
    """How long a region that was out has to be well before it is failed back to."""


class Senders:
    """Who sends to a provider: what the world gives for its kind, else the simulation or HTTP."""

    def __init__(self, world: World) -> None:
        """Connections are opened when they are needed."""
        self._clock = world.clock
        self._given = world.transports
        self._sim = Sim(world.clock, world.rng)
        self._http = HttpTransport(world.clock)

    def of(self, provider: ProviderSettings) -> Transport:
        """The one for that provider."""
        given = self._given.get(provider.kind)
        if given is not None:
            return given
        return self._sim if provider.kind == "sim" else self._http

    @property
    def incoming(self) -> Incoming:
        """What providers sent, on its way to who reads it."""
        return self._http.turns

    def collector(self, settings: Callable[[], TelemetrySettings]) -> Collector:
        """The one that these name."""
        return HttpCollector(self._http, self._clock, settings)

    async def ask(self, provider: ProviderSettings, path: str) -> object:
        """A GET below its chat base. Raises UpstreamError."""
        return await ask(self.of(provider), provider, path, self._clock)

    def centre(self, provider: ProviderSettings) -> Centre:
        """The centre at that provider."""
        return CentreReader(self.of(provider), provider, self._clock)

    async def balance(self, provider: ProviderSettings) -> Sequence[Balance]:
        """What its account holds, by currency. Raises UpstreamError."""
        path = KINDS[provider.kind].balance_path
        return await balance.ask_balance(self.of(provider), provider, path, self._clock)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()


@dataclass(frozen=True, slots=True)
class Stages:
    """Puts them in order. What is on follows from the settings of the day."""

    parts: Parts
    world: World
    senders: Senders
    rates: OwnRates | LentRates
    status_of: StatusOf

    def pipeline(self, catalogue: Catalogue) -> Pipeline:
        """The stages in order: a feature that is off is not in the list."""
        parts, settings = self.parts, catalogue.settings
        clock, stores, standing, shared = parts.clock, parts.stores, parts.standing, parts.shared
        accounts = Accounts(catalogue.book, settings.currency, settings.fx, offered_prices(catalogue.offers))
        sensitive = partial(is_sensitive, settings.sensitive)
        storing = Storing(clock, Sharing(settings.cache, sensitive))
        across = shared.answers if shared is not None and settings.cache.join else None
        guarded = stores.ledger if settings.ledger.on_failure == "refuse" else None
        teller = self._teller(settings, accounts)
        question = None
        if across is not None:
            held = stores.answers, standing.flights
            question = Question(clock, across, *held, storing=storing, foresee=teller.foresee)
        stages: list[Stage] = [
            Record(clock, stores.ledger, parts.metrics, accounts, self.status_of),
            Identify(parts.keyring, settings.server.edges),
            Admit(settings.models, parts.treasury),
            Once(clock, stores.results, standing.firsts),
            Limit(clock, standing.gate, self.rates, guarded, question),
        ]
        if _exact_is_on(settings):
            stale = settings.cache.stale_on_error
            stages.append(Exact(clock, stores.answers, storing, stale_on_error=stale, near=question is not None))
        if settings.cache.join:
            stages.append(Join(clock, standing.flights, storing))
        if question is not None:
            stages.append(Across(clock, question, stores.answers, storing))
        stages += [
            self._route(settings),
            Reserve(teller, parts.treasury),
            Attempt(
                clock=clock,
                rng=self.world.rng,
                transport=self.senders.of,
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

    def preview(self, settings: Settings, exchange: Exchange) -> Plan[DeploymentSettings]:
        """The plan that an exchange would get; it is nobody's turn."""
        return self._route(settings).preview(exchange)

    def _teller(self, settings: Settings, accounts: Accounts) -> Teller:
        parts = self.parts
        return Teller(
            clock=parts.clock,
            ids=parts.ids,
            ledger=parts.stores.ledger,
            accounts=accounts,
            treasury=parts.treasury,
            calibrations=parts.standing.calibrations,
            running=parts.standing.running,
            tokenizers=self.world.tokenizers,
            wait_s=settings.budget_wait_s,
            calibrated=settings.bound == "calibrated",
            strict=settings.ledger.on_failure == "refuse",
            reached=self.world.reached,
            owner=parts.owner,
        )

    def _route(self, settings: Settings) -> Route:
        standing = self.parts.standing
        return Route(
            clock=self.parts.clock,
            rng=self.world.rng,
            fleet=standing.fleet,
            geography=standing.geography,
            balancers=standing.balancers,
            sensitive=settings.sensitive,
        )

    def _observed(self, settings: Settings, stages: list[Stage]) -> list[Stage]:
        """The stages, and what telemetry sees them by."""
        seen, telemetry = self.parts.telemetry, settings.telemetry
        if telemetry.traces_on:
            marked = [(stage, Mark(self.parts.clock, type(stage).__name__.lower())) for stage in stages[1:-1]]
            traced = Traced(
                seen.traces,
                sample=telemetry.sample,
                tells=lambda exchange: telemetry.content and not is_sensitive(settings.sensitive, exchange),
            )
            stages = [traced, stages[0], *chain.from_iterable(marked), stages[-1]]
        return [Measured(seen.instruments), *stages] if telemetry.metrics_on else stages


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
    stores.ledger = world.ledger(stores.ledger)
    try:
        shared = world.shared or await _open_shared(settings, world, stores.answers)
    except PenstockError:
        await stores.close()
        raise
    return _gateway(settings, world, stores, shared, metrics=metrics, status_of=status_of)


def _gateway(
    settings: Settings, world: World, stores: Stores, shared: Shared | None, *, metrics: Metrics, status_of: StatusOf
) -> Gateway:
    """All of it put together."""
    clock = world.clock
    ids = world.ids or TimeIds(clock.now)
    owner = ids.new("own")[-_OWNER_DIGITS:]
    pepper = open_pepper(settings)
    senders = Senders(world)
    standing = new_standing(settings, clock, world.rng, senders.incoming, well_for_s=world.region_well_for_s)
    rates = OwnRates(clock, standing.keys)
    nodes = None
    if shared is not None:
        nodes = among_nodes(shared, stores, rates, clock=clock, owner=owner, on_overspent=metrics.overspent)
        nodes.adopt(settings.shared)
    lending = None if nodes is None else nodes.lending
    catalogue = Catalogue(settings, world.book or load_book())
    collector = world.collector or senders.collector(lambda: catalogue.settings.telemetry)
    parts = Parts(
        clock=clock,
        ids=ids,
        owner=owner,
        catalogue=catalogue,
        stores=stores,
        nodes=nodes,
        standing=standing,
        keyring=KeyRing(pepper, settings.keys, settings.server.keys_stale_s),
        treasury=Treasury(clock, stores.ledger, settings.currency, metrics.budget_alert, lending),
        metrics=metrics,
        telemetry=Telemetry(settings, collector, clock, world.rng, owner),
        pepper=pepper,
        notes=open_notes(settings),
        outside=senders,
    )
    return Gateway(parts, Stages(parts, world, senders, rates if nodes is None else nodes.rates, status_of))


async def _open_shared(settings: Settings, world: World, answers: AnswerCache) -> Shared | None:
    """What nodes share, if there are nodes. Raises SharedUnavailable."""
    if settings.shared is None:
        return None
    url, clock, ids = settings.shared.url, world.clock, world.ids or TimeIds(world.clock.now)

    def forget(purge: Purge) -> None:
        answers.forget(model=purge.model, tenant=purge.tenant, tag=purge.tag, deployments=purge.deployments)

    try:
        return await patiently(partial(open_shared, url, clock=clock, rng=world.rng, ids=ids, forget=forget), clock)
    except SharedUnavailable as error:
        said = error.detail or error.public
        raise SharedUnavailable(
            f"shared: Redis cannot be used, and a node does not start without it: {said}"
        ) from error


async def ask_balance(provider: ProviderSettings, clock: Clock) -> Sequence[Balance]:
    """What the account at ``provider`` holds now, whose kind has a ``balance_path``. Raises UpstreamError."""
    senders = Senders(World(clock))
    try:
        return await senders.balance(provider)
    finally:
        await senders.close()
