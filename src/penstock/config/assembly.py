"""From a checked ``File`` to ``Settings``: every default in its place. Nothing can be wrong any more."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from penstock.config.budgets import Around, budget_of, fields_of
from penstock.config.checks import rates
from penstock.config.endpoints import base_urls, billing_currency, price_book
from penstock.config.kinds import Kind
from penstock.config.schema import (
    DeploymentSection,
    ExactSection,
    File,
    KeySection,
    ModelSection,
    PricesSection,
    ProviderSection,
    SharedSection,
    SimulationSection,
    TelemetrySection,
    TimeoutsOverrideSection,
)
from penstock.config.settings import (
    Address,
    AlertSettings,
    BotSettings,
    CacheSettings,
    DeploymentSettings,
    ExactSettings,
    LedgerSettings,
    LimitSettings,
    ModelSettings,
    PriceOverride,
    ProviderSettings,
    RegionSettings,
    RetrySettings,
    SensitiveSettings,
    ServerSettings,
    Settings,
    SharedSettings,
    SimulationSettings,
    StaticKey,
    TelemetrySettings,
    TimeoutSettings,
)
from penstock.config.units import is_loopback

SYNC_S: Final = 300.0
"""How often an edge pulls changed answers, where the file does not say."""


def assemble(
    file: File, kinds: Mapping[str, Kind], *, source: str, directory: Path, takes_models: bool = False
) -> Settings:
    """The settings of a file in which ``check`` found nothing wrong; ``load`` alone knows whether they simulate.

    ``takes_models``: what a centre offers is served too.
    """
    providers = {name: _provider(name, section, kinds, file, directory) for name, section in file.providers.items()}
    models = _models(file, providers, kinds)
    settings = Settings(
        source=source,
        directory=directory,
        server=_server(file),
        store=file.store,
        currency=file.currency,
        fx=MappingProxyType(dict(rates(file))),
        ledger=_ledger(file, directory),
        providers=MappingProxyType(providers),
        models=MappingProxyType(models),
        cache=_cache(file),
        limits=LimitSettings(
            max_body=file.limits.max_body,
            max_concurrency=file.limits.max_concurrency,
            max_queue=file.limits.max_queue,
            queue_wait_s=file.limits.queue_wait,
            adaptive=file.limits.adaptive,
            capacity_per_s=None if file.limits.capacity is None else float(file.limits.capacity),
        ),
        timeouts=_timeouts(file),
        retry=RetrySettings(attempts=file.retry.attempts, backoff_s=file.retry.backoff, budget=file.retry.budget),
        keys=tuple(map(_key, file.keys)),
        simulated=False,
        budget_wait_s=file.budget_wait,
        bound=file.bound,
        regions=RegionSettings(
            keys=MappingProxyType(dict(file.regions.keys)), networks=MappingProxyType(dict(file.regions.networks))
        ),
        sensitive=SensitiveSettings(keys=frozenset(file.sensitive.keys), tags=frozenset(file.sensitive.tags)),
        shared=_shared(file.shared),
        takes_models=takes_models,
        alerts=_alerts(file),
        telemetry=_telemetry(file.telemetry),
        warnings=tuple(_warnings(file, providers, models, takes_models=takes_models)),
    )
    around = Around.of(settings)
    return replace(
        settings,
        budgets=tuple(budget_of(section, around) for section in file.budgets),
        written_budgets=MappingProxyType({section.name: fields_of(section) for section in file.budgets}),
    )


def _shared(section: SharedSection | None) -> SharedSettings | None:
    if section is None:
        return None
    return SharedSettings(section.url, section.slice, section.on_failure, MappingProxyType(dict(section.keys)))


def _ledger(file: File, directory: Path) -> LedgerSettings:
    ledger = file.ledger
    spool = directory / ledger.spool if ledger.spool else None
    return LedgerSettings(ledger.sync, ledger.on_failure, ledger.retention, spool)


def _server(file: File) -> ServerSettings:
    server = file.server
    return ServerSettings(
        listen=server.listen,
        admin_listen=server.admin_listen,
        admin_token=server.admin_token,
        secret=server.secret,
        drain_s=server.drain,
        trusted_proxies=server.trusted_proxies,
        cors=server.cors,
        edges=frozenset(server.edges),
        keys_stale_s=server.keys_stale,
    )


def _alerts(file: File) -> AlertSettings:
    alerts = file.alerts
    bots = {name: BotSettings(name, bot.kind, bot.url, bot.secret) for name, bot in alerts.relay.bots.items()}
    return AlertSettings(
        zone=alerts.timezone,
        listen=alerts.relay.listen,
        token=alerts.relay.token,
        bots=MappingProxyType(bots),
        digest_minute=alerts.digest.at,
        digest_bots=alerts.digest.bots,
        tokens_per_day=alerts.tokens_per_day,
    )


def _telemetry(section: TelemetrySection) -> TelemetrySettings:
    return TelemetrySettings(
        otlp=section.otlp,
        traces=section.traces,
        metrics=section.metrics,
        sample=section.sample,
        content=section.content,
        headers=MappingProxyType(section.headers),
        service_name=section.service_name,
    )


def _provider(
    name: str, section: ProviderSection, kinds: Mapping[str, Kind], file: File, directory: Path
) -> ProviderSettings:
    kind = kinds[section.kind]
    return ProviderSettings(
        name=name,
        kind=kind.name,
        base_urls=MappingProxyType(base_urls(section, kind)),
        api_key=section.api_key,
        prices=_prices(section.prices, file.currency) if section.prices else None,
        private=kind.private if section.private is None else section.private,
        after_disconnect=section.after_disconnect or kind.after_disconnect,
        billed_at=section.billed_at or kind.billed_at,
        price_book=price_book(section, kind),
        currency=billing_currency(section, kind, file.currency),
        proxy=section.proxy,
        ca_file=directory / section.ca_file if section.ca_file else None,
        headers=MappingProxyType(section.headers),
        concurrency=section.concurrency,
        simulation=_simulation(section.simulate) if section.simulate else None,
        probe_s=section.probe,
        charged_elsewhere=kind.charged_elsewhere,
        sync_s=(SYNC_S if section.sync is None else section.sync) if kind.charged_elsewhere else 0,
        balance_every_s=section.balance.every if section.balance else 0,
        balance_low=section.balance.low if section.balance else None,
    )


def _simulation(section: SimulationSection) -> SimulationSettings:
    return SimulationSettings(speed=float(section.speed), busy=section.busy, failing=section.failing)


def _prices(section: PricesSection, book: str) -> PriceOverride:
    return PriceOverride(
        input=section.input,
        cached_input=section.cached_input,
        output=section.output,
        currency=section.currency or book,
        cache_write=section.cache_write,
    )


def _models(
    file: File, providers: Mapping[str, ProviderSettings], kinds: Mapping[str, Kind]
) -> dict[str, ModelSettings]:
    models: dict[str, ModelSettings] = {}
    for name, section in file.models.items():
        models[name] = model = _model(
            name, section, file, [_deployment(name, each, providers, kinds) for each in section.deployments]
        )
        for alias, fields in section.aliases.items():
            models[alias] = _alias(model, alias, fields, sensitive=alias in file.sensitive.models)
    return models


def _deployment(
    name: str, section: DeploymentSection, providers: Mapping[str, ProviderSettings], kinds: Mapping[str, Kind]
) -> DeploymentSettings:
    provider, model = providers[section.provider], section.model or name
    return DeploymentSettings(
        provider=provider,
        model=model,
        weight=section.weight,
        region=section.region,
        priority=section.priority,
        concurrency=provider.concurrency or kinds[provider.kind].concurrency.get(model),
    )


def _model(name: str, section: ModelSection, file: File, deployments: Sequence[DeploymentSettings]) -> ModelSettings:
    return ModelSettings(
        name=name,
        deployments=tuple(deployments),
        balance=section.balance,
        baseline=next((each for each in deployments if each.id == section.baseline), deployments[0]),
        default_output=section.default_output,
        stream_upstream=section.stream_upstream,
        exact=_exact(section.cache.exact, file) if section.cache.exact else None,
        timeouts=_timeouts(file, section),
        cheaper=section.cheaper or "",
        hash_by=section.hash_by,
        regions=section.regions,
        hedge=section.hedge,
        sensitive=name in file.sensitive.models,
    )


def _alias(model: ModelSettings, alias: str, fields: Mapping[str, object], *, sensitive: bool) -> ModelSettings:
    return replace(model, name=alias, fields=fields, alias_of=model.name, sensitive=model.sensitive or sensitive)


def _cache(file: File) -> CacheSettings:
    cache = file.cache
    return CacheSettings(
        exact_ttl_s=cache.exact.ttl,
        max_bytes=cache.exact.max_bytes,
        join=cache.join,
        share=cache.share,
        by_key=MappingProxyType({name: _exact(section, file) for name, section in cache.by_key.items()}),
        by_tag=MappingProxyType({tag: _exact(section, file) for tag, section in cache.by_tag.items()}),
        stale_s=cache.exact.stale,
        stale_on_error=cache.exact.stale_on_error,
    )


def _exact(section: ExactSection, file: File) -> ExactSettings:
    return ExactSettings(file.cache.exact.ttl if section.ttl is None else section.ttl)


def _timeouts(file: File, model: ModelSection | None = None) -> TimeoutSettings:
    general, own = file.timeouts, model.timeouts if model else TimeoutsOverrideSection()
    return TimeoutSettings(
        connect_s=own.connect or general.connect,
        first_byte_s=own.first_byte or general.first_byte,
        between_s=own.between or general.between,
        total_s=own.total or general.total,
    )


def _key(section: KeySection) -> StaticKey:
    return StaticKey(
        name=section.name,
        key_sha256=section.key_sha256,
        team=section.team,
        models=section.models,
        rpm=section.rpm,
        tpm=section.tpm,
        concurrency=section.concurrency,
    )


def _warnings(
    file: File, providers: Mapping[str, ProviderSettings], models: Mapping[str, ModelSettings], *, takes_models: bool
) -> Iterator[str]:
    used = {deployment.provider.name for model in models.values() for deployment in model.deployments}
    for name, provider in providers.items():
        if name not in used and not (provider.charged_elsewhere and takes_models):
            yield f"providers.{name}: no model is served there"
        if provider.api_key and any(_in_the_clear(url) for url in provider.base_urls.values()):
            yield f"providers.{name}: its key travels unencrypted; use an https URL"
    for name, model in models.items():
        if model.sensitive and not any(each.provider.private for each in model.deployments):
            yield f"sensitive: {name} has no deployment at a private provider, so it is refused"
    if not takes_models:
        yield from _unserved(file, models)
    yield from _exposed(file)
    if file.cache.exact.stale_on_error and not file.cache.exact.stale:
        yield "cache.exact.stale_on_error: no stale answers are kept; set cache.exact.stale"
    for budget in file.budgets:
        if budget.ladder.stale is not None and not file.cache.exact.stale:
            yield f"budgets: {budget.name} accepts stale answers, and none are kept; set cache.exact.stale"


def _exposed(file: File) -> Iterator[str]:
    """Headers of the collector and tokens of bots that can be read on the way."""
    if file.telemetry.otlp and file.telemetry.headers and _in_the_clear(file.telemetry.otlp):
        yield "telemetry.headers: they travel unencrypted; use an https URL in telemetry.otlp"
    for name, bot in file.alerts.relay.bots.items():
        if _in_the_clear(bot.url.reveal()):
            yield f"alerts.relay.bots.{name}: its token travels unencrypted; use an https URL"


def _unserved(file: File, models: Mapping[str, ModelSettings]) -> Iterator[str]:
    """What of the config waits for a deployment that there is not."""
    deployments = [each for model in models.values() for each in model.deployments]
    if (file.sensitive.keys or file.sensitive.tags) and not any(each.provider.private for each in deployments):
        yield "sensitive: nothing is served at a private provider, so its keys and tags are refused"
    known = {each.region for each in deployments}
    for region in dict.fromkeys([*file.regions.keys.values(), *file.regions.networks.values()]):
        if region not in known:
            yield f"regions: nothing runs in {region!r}, so its callers have no region of their own"


def _in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(Address(parts.hostname or "", 80))
