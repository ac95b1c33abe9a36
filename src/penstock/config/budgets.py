"""Budgets as written -> ``core.budget.Budget``: what one must fit, every mistake about it, limits in the book currency.

The same for those of the file and those set by command or admin API (``budget_records.py``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from penstock.config.allowance import MOST_MONEY, TOKENS, Allowance, format_allowance
from penstock.config.document import Document, Path
from penstock.config.fields import nearest
from penstock.config.formats import parse_tag
from penstock.config.schema import BudgetSection, LadderSection
from penstock.config.settings import Settings
from penstock.core.budget import STEPS, Budget
from penstock.core.money import NANO

_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class Around:
    """What stands around a budget. None = not known, because of a mistake noted before."""

    currency: str
    fx: Mapping[str, Decimal] | None
    models: Sequence[str] | None
    """What clients may ask for."""
    steps_down: bool
    """Some model has a ``cheaper`` one."""

    @classmethod
    def of(cls, settings: Settings) -> "Around":
        """As the settings have it."""
        steps_down = any(model.cheaper for model in settings.models.values())
        return cls(settings.currency, settings.fx, tuple(settings.models), steps_down)

    def rate(self, unit: str) -> Decimal | None:
        """Book currency per unit; None where nobody says."""
        return _ONE if unit == self.currency else (self.fx or {}).get(unit)


def check_budget(document: Document, section: BudgetSection, around: Around) -> None:
    """Note every mistake about one budget."""
    limit = None if document.damaged((*section.place, "limit")) else section.limit
    scope = "" if document.damaged((*section.place, "scope")) else section.scope
    if limit is not None:
        _check_allowance(document, (*section.place, "limit"), limit, around)
    for value, allowance in section.entries.items():
        path = (*section.place, "entries", value)
        if limit is not None and allowance.counts != limit.counts:
            what = f"is in {allowance.counts}, and the budget's limit in {limit.counts}; write both in one unit"
            document.wrong(path, what)
        _check_allowance(document, path, allowance, around)
        _check_value(document, path, scope, value, around)
    if scope == "global" and section.unlisted == "deny":
        what = "denies everything: global has no entries; remove it, or use another scope"
        document.wrong((*section.place, "unlisted"), what)
    _check_ladder(document, section, around)


def budget_of(section: BudgetSection, around: Around) -> Budget:
    """The budget of a section in which nothing is wrong."""
    return Budget(
        name=section.name,
        scope=section.scope,
        unit=section.limit.counts,
        limit=in_book(section.limit, around),
        window=section.window,
        zone=section.timezone,
        hard=section.hard,
        alerts=tuple(sorted(set(section.alerts))),
        unlisted=section.unlisted,
        entries=MappingProxyType({value: in_book(each, around) for value, each in section.entries.items()}),
        ladder=MappingProxyType(dict(_rungs(section.ladder))),
    )


def fields_of(section: BudgetSection) -> dict[str, Any]:
    """What ``budget_records.read_budget`` reads as this budget again, whatever the rates are then."""
    return {
        "scope": section.scope,
        "limit": format_allowance(section.limit),
        "window": section.window,
        "timezone": section.timezone.key,
        "hard": section.hard,
        "alerts": list(section.alerts),
        "unlisted": section.unlisted,
        "entries": {value: format_allowance(each) for value, each in section.entries.items()},
        "ladder": dict(_rungs(section.ladder)),
    }


def in_book(allowance: Allowance, around: Around) -> int:
    """Tokens, or nano-units of the book currency, exactly; what no nano-unit pays for is left out of the limit."""
    if allowance.unit == TOKENS:
        return int(allowance.amount)
    rate = around.rate(allowance.unit) or _ONE
    return int(Fraction(allowance.amount) * Fraction(rate) * NANO)


def _check_allowance(document: Document, path: Path, allowance: Allowance, around: Around) -> None:
    if allowance.unit == TOKENS or around.fx is None:
        return
    unit, book = allowance.unit, around.currency
    if around.rate(unit) is None:
        what = f"is in {unit}, and the book is in {book}; add `fx: {{{unit}: ...}}`, {book} per {unit}"
        document.wrong(path, what)
    elif in_book(allowance, around) > MOST_MONEY * NANO:
        document.wrong(path, f"is too large; {MOST_MONEY} {book} is the most")


def _check_value(document: Document, path: Path, scope: str, value: str, around: Around) -> None:
    """Whether a value can be one of its scope at all; keys, teams and users need not be known yet."""
    if scope == "global":
        document.wrong(path, "is an entry of a global budget, which has only one limit; use another scope")
    elif scope == "model" and around.models is not None and value not in around.models:
        known = tuple(around.models)
        document.wrong(path, f"names no model; there is {', '.join(known)}{nearest(value, known)}")
    elif scope == "tag":
        try:
            parse_tag(value)
        except ValueError as error:
            document.wrong(path, f"this name {error}")


def _check_ladder(document: Document, section: BudgetSection, around: Around) -> None:
    at = (*section.place, "ladder")
    for (gentler, before), (step, fraction) in pairwise(_rungs(section.ladder)):
        if fraction < before:
            document.wrong(
                (*at, step), f"is below {gentler}; steps are taken in the order {', '.join(STEPS)}: raise it"
            )
    if section.ladder.cheaper is not None and not around.steps_down and around.models is not None:
        document.wrong((*at, "cheaper"), "has nothing to step down to; give a model a `cheaper: ...`, or remove it")
    if section.ladder.refuse is not None and not section.hard:
        document.wrong((*at, "refuse"), "is never taken: a soft budget refuses nothing; remove it, or `hard: false`")


def _rungs(ladder: LadderSection) -> Iterator[tuple[str, float]]:
    """The steps that are taken, gentlest first."""
    for step in STEPS:
        if (fraction := getattr(ladder, step)) is not None:
            yield step, fraction
