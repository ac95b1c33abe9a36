"""The price book: dated prices per provider, model and currency, and the tariff that holds at an instant.

A book is the list of one provider, named as in the settings (``price_book``). Entries are half-open intervals that
never overlap; an instant without an entry has no price, and saying so is the answer: unpriced is not free.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import Final, NamedTuple

from penstock.core.pricing import Rates, dearest
from penstock.core.schedule import Schedule
from penstock.errors import PriceError


class Tier(NamedTuple):
    """The rates of every token of a request whose prompt has at most ``up_to`` tokens."""

    up_to: float
    rates: Rates


@dataclass(frozen=True, slots=True)
class Entry:
    """Prices from ``since`` until before ``until``, seconds since the epoch."""

    since: float
    until: float
    peak: tuple[Tier, ...]
    """All of them, when there is no schedule. By ascending ``up_to``."""
    off_peak: tuple[Tier, ...]
    schedule: Schedule | None
    source: str
    """Where the figures stand."""
    date: str
    """When they were published or read there."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name under which the model is sold, within dates."""

    name: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class PricedModel:
    """A model of one book: its entries per currency, each list ascending and without overlap."""

    book: str
    name: str
    entries: Mapping[str, tuple[Entry, ...]]
    aliases: tuple[Alias, ...] = ()


class Tariff(NamedTuple):
    """What holds from ``since`` until before ``until`` for one name and currency."""

    since: float
    until: float
    name: str
    """``peak``, ``off-peak`` or ``flat``."""
    tiers: tuple[Tier, ...]
    entry: Entry
    book: str
    model: str
    """The model billed: another name than the one asked for, when that is an alias."""


Key = tuple[str, str, str]
"""Book, model, currency."""

_SPANS_AHEAD: Final = 200
"""How many spans to follow a tariff: a day has a few, the longest holidays nine days."""


class PriceBook:
    """Looks prices up; remembers per name the tariff that holds now, so that asking again costs next to nothing."""

    def __init__(self, models: Iterable[PricedModel]) -> None:
        """``models``: of every book, in any order."""
        self._models = {(model.book, model.name): model for model in models}
        self._aliases: dict[tuple[str, str], list[tuple[Alias, PricedModel]]] = {}
        for model in self._models.values():
            for alias in model.aliases:
                self._aliases.setdefault((model.book, alias.name), []).append((alias, model))
        self._current: dict[Key, Tariff] = {}
        self._warnings: dict[tuple[str, int], str] = {}

    @property
    def all(self) -> tuple[PricedModel, ...]:
        """Every model of every book."""
        return tuple(self._models.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What has been priced on a guess so far, each said once: a calendar year nobody has published."""
        return tuple(self._warnings.values())

    def models(self, book: str) -> tuple[str, ...]:
        """The models of ``book``, aliases left out."""
        return tuple(name for owner, name in self._models if owner == book)

    def known(self, book: str, model: str, currency: str) -> bool:
        """Whether the name has had a price in ``currency`` at any time."""
        return any(currency in owner.entries for owner in self._owners(book, model))

    def rates(self, book: str, model: str, currency: str, at: float, prompt_tokens: int) -> Rates:
        """The rates at ``at`` for a prompt of that length. Raises PriceError when no entry covers it."""
        tariff = self._tariff_now(book, model, currency, at)
        for tier in tariff.tiers:
            if prompt_tokens <= tier.up_to:
                return tier.rates
        raise _unpriced(
            f"{book}/{model} in {currency} for a prompt of {prompt_tokens} tokens at {instant_text(at)}",
            f"its price list ends at {tariff.tiers[-1].up_to:.0f} tokens",
            book,
        )

    def bound(self, book: str, model: str, currency: str, *, since: float, until: float, prompt_tokens: int) -> Rates:
        """Rates that nothing costs more under from ``since`` to ``until``, with a prompt of at most so many tokens.

        Raises PriceError when some of that time has no price.
        """
        reached: list[Rates] = []
        at = since
        while at <= until:
            tariff = (
                self._tariff_now(book, model, currency, at) if at == since else self.tariff(book, model, currency, at)
            )
            for tier in tariff.tiers:
                reached.append(tier.rates)
                if prompt_tokens <= tier.up_to:
                    break
            at = tariff.until
        return dearest(reached)

    def tariff(self, book: str, model: str, currency: str, at: float) -> Tariff:
        """The tariff at ``at``, looked up afresh. Raises PriceError when no entry covers it."""
        since, until, owner = self._sold_as(book, model, currency, at)
        entry = next(entry for entry in owner.entries[currency] if entry.since <= at < entry.until)
        since, until = max(since, entry.since), min(until, entry.until)
        if entry.schedule is None:
            return Tariff(since, until, "flat", entry.peak, entry, book, owner.name)
        span = entry.schedule.span(at)
        if span.unknown_year is not None:
            self._warn(entry.schedule, span.unknown_year)
        name, tiers = ("peak", entry.peak) if span.peak else ("off-peak", entry.off_peak)
        return Tariff(max(since, span.since), min(until, span.until), name, tiers, entry, book, owner.name)

    def _tariff_now(self, book: str, model: str, currency: str, at: float) -> Tariff:
        """As ``tariff``, remembered."""
        tariff = self._current.get((book, model, currency))
        if tariff is None or not tariff.since <= at < tariff.until:
            tariff = self._current[book, model, currency] = self.tariff(book, model, currency, at)
        return tariff

    def holds_until(self, book: str, model: str, currency: str, tariff: Tariff) -> float:
        """When ``tariff`` gives way to another, followed over midnights for some weeks."""
        for _ in range(_SPANS_AHEAD):
            try:
                following = self.tariff(book, model, currency, tariff.until) if tariff.until < inf else None
            except PriceError:
                following = None
            if following is None or (following.entry, following.name) != (tariff.entry, tariff.name):
                break
            tariff = following
        return tariff.until

    def _owners(self, book: str, model: str) -> list[PricedModel]:
        own = self._models.get((book, model))
        sold = [owner for _, owner in self._aliases.get((book, model), ())]
        return [own, *sold] if own else sold

    def _sold_as(self, book: str, model: str, currency: str, at: float) -> tuple[float, float, PricedModel]:
        """The model that the name means at ``at``, and from when until when it means that."""
        own = self._models.get((book, model))
        if own is not None and _covers(own, currency, at):
            return -inf, inf, own
        for alias, owner in self._aliases.get((book, model), ()):
            if alias.since <= at < alias.until and _covers(owner, currency, at):
                return alias.since, alias.until, owner
        raise _unpriced(f"{book}/{model} in {currency} at {instant_text(at)}", self._why(book, model, currency), book)

    def _why(self, book: str, model: str, currency: str) -> str:
        """What the book does know of the name: the reader's next step."""
        owners = self._owners(book, model)
        if not owners:
            known = ", ".join(self.models(book))
            return f"the book {book} knows {known}" if known else f"there is no book {book}"
        times = self._times(book, model, currency)
        if not times:
            return "it has prices in " + ", ".join(sorted({code for owner in owners for code in owner.entries}))
        return "it has prices " + ", ".join(f"from {instant_text(a)} to {instant_text(b) or 'now'}" for a, b in times)

    def _times(self, book: str, model: str, currency: str) -> list[tuple[float, float]]:
        """When the name has prices, runs merged."""
        own = self._models.get((book, model))
        sold = [(-inf, inf, own)] if own else []
        sold += [(alias.since, alias.until, owner) for alias, owner in self._aliases.get((book, model), ())]
        spans = sorted(
            (max(since, entry.since), min(until, entry.until))
            for since, until, owner in sold
            for entry in owner.entries.get(currency, ())
            if max(since, entry.since) < min(until, entry.until)
        )
        merged: list[tuple[float, float]] = []
        for since, until in spans:
            begun = merged.pop()[0] if merged and merged[-1][1] == since else since
            merged.append((begun, until))
        return merged

    def _warn(self, schedule: Schedule, year: int) -> None:
        self._warnings.setdefault(
            (schedule.name, year),
            f"the public holidays of {year} are unknown: holidays that fall on weekdays are priced at peak "
            f"(schedule {schedule.name}); update the calendar library",
        )


def instant_text(at: float) -> str:
    """``2026-09-10T04:00Z``."""
    if at in (inf, -inf):
        return ""
    precision = "seconds" if at % 60 else "minutes"
    return datetime.fromtimestamp(at, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def _covers(model: PricedModel, currency: str, at: float) -> bool:
    return any(entry.since <= at < entry.until for entry in model.entries.get(currency, ()))


def _unpriced(what: str, why: str, book: str) -> PriceError:
    todo = f"add a dated entry with its source to prices/{book}.yaml, or set `prices:` for the provider"
    return PriceError(f"no price covers {what}", detail=f"{why}; {todo}")
