"""Pricing what had no price when it was settled, with the price book and the config of today."""

from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final

import click

from penstock.cli.bad_input import BadInput
from penstock.cli.output import emit
from penstock.config.prices import load_book
from penstock.config.settings import DeploymentSettings, Settings
from penstock.core.money import DECIMALS, format_amount
from penstock.core.pricing import Charge
from penstock.core.records import AttemptRow, ExchangeRow
from penstock.core.rerate import Entry, is_unpriced, rerated
from penstock.core.usage import Usage
from penstock.errors import PriceError
from penstock.pipeline.accounts import Accounts
from penstock.ports.ledger import AuditStore
from penstock.stores.open import open_audit, sole_use

BATCH: Final = 1000
"""Exchanges per transaction, each of them whole."""


@dataclass(slots=True)
class _Tally:
    """What is found of one deployment's calls."""

    calls: int = 0
    amount_nano: int = 0
    unpriced: int = 0
    why: str = ""


@dataclass(slots=True)
class _Found:
    tallies: dict[str, _Tally] = field(default_factory=dict)
    baselines: int = 0
    exchanges: int = 0

    def add(self, entry: Entry, changed: Entry | None, prices: "_TodaysPrices") -> None:
        """Count one exchange."""
        for row in changed.attempts if changed else ():
            tally = self.tallies.setdefault(row.deployment, _Tally())
            tally.calls += 1
            tally.amount_nano += row.charged_book_nano or 0
        done = {row.id for row in changed.attempts} if changed else set()
        for row in entry.attempts:
            if is_unpriced(row) and row.id not in done:
                tally = self.tallies.setdefault(row.deployment, _Tally())
                tally.unpriced += 1
                tally.why = prices.why.get(row.deployment, "")
        if changed is not None:
            self.exchanges += 1
            self.baselines += entry.exchange.baseline_nano is None and changed.exchange.baseline_nano is not None


async def rerate_ledger(settings: Settings, format_: str, *, yes: bool) -> None:
    """Print what would change, per deployment; with ``yes`` write it. Raises StoreError, also while a server runs."""
    async with sole_use(settings.store, settings.directory) if yes else nullcontext():
        prices = _TodaysPrices(settings)
        async with open_audit(settings.store, settings.directory, write=False) as store:
            found = await _look(store, settings, prices)
        _show(found, settings.currency, format_)
        if not found.exchanges:
            click.echo("note: nothing is to be changed", err=True)
        elif not yes:
            click.echo("note: nothing was written: repeat it with --yes, without a running server", err=True)
        else:
            async with open_audit(settings.store, settings.directory, write=True) as store:
                async for batch in _batches(store):
                    await store.rerate([changed for entry in batch if (changed := rerated(entry, prices))])
            click.echo(f"note: {found.exchanges} requests were written", err=True)


async def _look(store: AuditStore, settings: Settings, prices: "_TodaysPrices") -> _Found:
    currency = await store.currency()
    if currency not in {None, settings.currency}:
        raise BadInput(f"the ledger is kept in {currency}, the config's currency is {settings.currency}: correct it")
    found = _Found()
    async for batch in _batches(store):
        for entry in batch:
            found.add(entry, rerated(entry, prices), prices)
    return found


async def _batches(store: AuditStore) -> AsyncIterator[Sequence[Entry]]:
    after = (float("-inf"), "")
    while batch := await store.unpriced(after, BATCH):
        yield batch
        after = batch[-1].exchange.at, batch[-1].exchange.id


def _show(found: _Found, currency: str, format_: str) -> None:
    rows = [
        {
            "deployment": deployment,
            "calls": tally.calls,
            "amount": format_amount(tally.amount_nano, DECIMALS),
            "currency": currency,
            "still_unpriced": tally.unpriced,
            "why": tally.why,
        }
        for deployment, tally in sorted(found.tallies.items())
    ]
    tallies = found.tallies.values()
    total = {
        "calls": sum(tally.calls for tally in tallies),
        "amount": format_amount(sum(tally.amount_nano for tally in tallies), DECIMALS),
        "still_unpriced": sum(tally.unpriced for tally in tallies),
    }
    emit(rows, total, format_, title="Calls that had no price, and what they cost", minor=("currency",))
    if found.baselines:
        click.echo(f"note: {found.baselines} requests get the baseline that they lacked", err=True)


class _TodaysPrices:
    """The prices that ``core/rerate`` asks for; ``why``: of each deployment that has none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._accounts = Accounts(load_book(), settings.currency, settings.fx)
        self.why: dict[str, str] = {}

    def attempt(self, row: AttemptRow, usage: Usage) -> tuple[Charge, str] | None:
        """Under the tariff of the attempt's own instant."""
        provider = self._settings.providers.get(row.provider)
        if provider is None:
            self.why[row.deployment] = f"the config has no provider {row.provider!r} any more"
            return None
        model = row.deployment.partition("/")[2]
        at = row.started_at if provider.billed_at == "start" else row.ended_at
        return self._priced(DeploymentSettings(provider, model, 1, row.region), usage, at)

    def baseline(self, row: ExchangeRow) -> int | None:
        """At the model's baseline deployment, at arrival; None also where there is no such model any more."""
        model = self._settings.models.get(row.model)
        if model is None:
            return None
        if model.baseline is None or not row.usage.total:
            return 0
        priced = self._priced(model.baseline, row.usage, row.at)
        return None if priced is None else priced[0].book_nano

    def lever(self, exchange: ExchangeRow, attempt: AttemptRow) -> str:
        """Whether it paid its baseline's price, or another's."""
        model = self._settings.models.get(exchange.model)
        baseline = None if model is None else model.baseline
        return "direct" if baseline is None or baseline.id == attempt.deployment else "routing"

    def _priced(self, deployment: DeploymentSettings, usage: Usage, at: float) -> tuple[Charge, str] | None:
        try:
            return self._accounts.priced(deployment, usage, at)
        except PriceError as error:
            self.why[deployment.id] = error.public
            return None
