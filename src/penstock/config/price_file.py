"""One price file: from its bytes to the models it prices, or every mistake in it with its line."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from math import inf
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from penstock.config.document import Document, Map, Path, Scalar, Seq, Tree
from penstock.config.price_format import (
    WEEKDAYS,
    AliasPart,
    EntryPart,
    FilePart,
    ModelPart,
    RatesPart,
    SchedulePart,
    sentence,
)
from penstock.config.reading import read_document
from penstock.core.pricebook import Alias, Entry, PricedModel, Tier, instant_text
from penstock.core.pricing import Rates
from penstock.core.schedule import Holidays, Schedule

Calendars = Mapping[str, Holidays]
"""Public holidays by the name that a schedule calls them by."""

_Part = TypeVar("_Part", bound=BaseModel)


class _Sold(NamedTuple):
    """A stretch of time in which a name stands for a model, and where the file says so."""

    name: str
    model: str
    since: float
    until: float
    path: Path


def read_price_file(book: str, source: str, data: bytes, calendars: Calendars) -> list[PricedModel]:
    """The models of ``book``. ``source``: the file's name in messages. Raises ConfigError with every mistake."""
    document = read_document(source, data, {})
    models = list(_Reader(book, document, calendars).models())
    if document.mistakes:
        raise document.error()
    return models


class _Reader:
    def __init__(self, book: str, document: Document, calendars: Calendars) -> None:
        self._book = book
        self._document = document
        self._calendars = calendars
        self._schedules: dict[str, Schedule | None] = {}
        self._sold: list[_Sold] = []

    def models(self) -> Iterator[PricedModel]:
        """What can be read; the mistakes go to the document."""
        file = self._part((), _plain(self._document.root), FilePart)
        if file is None:
            return
        if file.provider != self._book:
            self._document.wrong(("provider",), f"must be {self._book}, as the file is called; rename one of them")
        self._schedules = {name: self._schedule(name, plain) for name, plain in file.schedules.items()}
        for name, plain in file.models.items():
            model = self._part(("models", name), plain, ModelPart)
            if model is not None:
                yield self._model(name, model)
        self._check_names()

    def _part(self, path: Path, plain: object, kind: type[_Part]) -> _Part | None:
        try:
            return kind.model_validate(plain)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                self._document.wrong((*path, *detail["loc"]), sentence(detail))
            return None

    def _parts(self, path: Path, plain: list[Any], kind: type[_Part]) -> list[tuple[Path, _Part]]:
        parts = [((*path, index), self._part((*path, index), item, kind)) for index, item in enumerate(plain)]
        return [(at, part) for at, part in parts if part is not None]

    def _schedule(self, name: str, plain: object) -> Schedule | None:
        path = ("schedules", name)
        part = self._part(path, plain, SchedulePart)
        if part is None:
            return None
        if part.holidays is not None and part.holidays not in self._calendars:
            self._document.wrong((*path, "holidays"), f"is no calendar; there is {', '.join(self._calendars)}")
            return None
        return Schedule(
            name=name,
            zone=part.timezone,
            windows=tuple(part.peak or part.off_peak or ()),
            windows_are_peak=bool(part.peak),
            weekdays=frozenset(map(WEEKDAYS.index, part.weekdays)),
            holidays=None if part.holidays is None else self._calendars[part.holidays],
        )

    def _model(self, name: str, model: ModelPart) -> PricedModel:
        path = ("models", name)
        entries = sorted(self._parts((*path, "prices"), model.prices, EntryPart), key=lambda at: at[1].since)
        aliases = self._parts((*path, "aliases"), model.aliases, AliasPart)
        by_currency = {
            currency: tuple(self._closed(name, [(at, part) for at, part in entries if part.currency == currency]))
            for currency in sorted({part.currency for _, part in entries})
        }
        return PricedModel(self._book, name, by_currency, tuple(self._alias(name, at, part) for at, part in aliases))

    def _closed(self, name: str, parts: list[tuple[Path, EntryPart]]) -> Iterator[Entry]:
        """One currency's entries, each ended by the next where it does not say itself when it ends."""
        for (path, part), after in zip(parts, [*parts[1:], None], strict=True):
            entry = self._entry(name, path, part)
            if after is not None:
                next_path, following = after
                if entry.since == following.since or following.since < entry.until < inf:
                    line = self._document.line(path)
                    self._document.wrong(next_path, f"overlaps the entry on line {line}; give that an earlier `until`")
                entry = replace(entry, until=min(entry.until, following.since))
            self._sold.append(_Sold(name, name, entry.since, entry.until, path))
            yield entry

    def _entry(self, name: str, path: Path, part: EntryPart) -> Entry:
        schedule = None
        if part.schedule is not None:
            if part.schedule not in self._schedules:
                self._document.wrong((*path, "schedule"), "is not under `schedules`; add it there")
            schedule = self._schedules.get(part.schedule)
        label = f"{self._book}/{name} from {instant_text(part.since)}"
        return Entry(
            since=part.since,
            until=inf if part.until is None else part.until,
            peak=_tiers(part.peak or part.rates or [], part.currency, f"{label} peak" if part.peak else label),
            off_peak=_tiers(part.off_peak or [], part.currency, f"{label} off-peak"),
            schedule=schedule,
            source=part.source,
            date=part.date,
            note=part.note,
        )

    def _alias(self, model: str, path: Path, part: AliasPart) -> Alias:
        since = -inf if part.since is None else part.since
        until = inf if part.until is None else part.until
        if until <= since:
            self._document.wrong(path, "ends before it begins; write an `until` after its `from`")
        self._sold.append(_Sold(part.name, model, since, until, path))
        return Alias(part.name, since, until)

    def _check_names(self) -> None:
        """No name may stand for two models at once."""
        for one, other in combinations(self._sold, 2):
            if (
                one.name == other.name
                and one.model != other.model
                and max(one.since, other.since) < min(one.until, other.until)
            ):
                line = self._document.line(one.path)
                self._document.wrong(other.path, f"{one.name} stands for {one.model} then (line {line}); end one")


def _tiers(parts: list[RatesPart], currency: str, label: str) -> tuple[Tier, ...]:
    """Tiers with complete rates: a bucket without a price of its own costs what missed input costs."""
    tiers = []
    for part in parts:
        rates = Rates(
            input_miss=part.input,
            input_hit=part.input if part.cached_input is None else part.cached_input,
            cache_write=part.input if part.cache_write is None else part.cache_write,
            output=part.output,
            currency=currency,
            source=label if part.up_to is None else f"{label} up to {part.up_to} tokens",
        )
        tiers.append(Tier(inf if part.up_to is None else part.up_to, rates))
    return tuple(tiers)


def _plain(tree: Tree) -> Any:
    """The tree as pydantic reads it: every value the text it is written as."""
    if isinstance(tree, Map):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, Seq):
        return [_plain(item) for item in tree]
    return tree.text if isinstance(tree, Scalar) else None
