"""The shipped price lists and the calendars they need, as one price book."""

from datetime import date
from itertools import count, takewhile
from pathlib import Path
from typing import Final

import chinese_calendar  # type: ignore[import-untyped] # the package has no types

from penstock.config.price_file import Calendars, read_price_file
from penstock.core.pricebook import PriceBook, PricedModel
from penstock.core.schedule import Holidays
from penstock.errors import ConfigError

_FIRST_YEAR: Final = 2024
"""The year of the first price in any file."""


def load_book(directory: Path | None = None, calendars: Calendars | None = None) -> PriceBook:
    """Every ``*.yaml`` of ``directory``, by default the shipped lists. Raises ConfigError with every mistake in all."""
    directory = directory or price_directory()
    calendars = calendars or {"CN": chinese_holidays()}
    models: list[PricedModel] = []
    mistakes: list[str] = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            models += read_price_file(path.stem, f"{directory.name}/{path.name}", path.read_bytes(), calendars)
        except ConfigError as error:
            mistakes += error.mistakes
    if not models and not mistakes:
        mistakes = [f"{directory}: holds no price file; reinstall penstock"]
    if mistakes:
        raise ConfigError(mistakes)
    return PriceBook(models)


def price_books() -> tuple[str, ...]:
    """The names of the shipped price lists."""
    return tuple(sorted(path.stem for path in price_directory().glob("*.yaml")))


def price_texts() -> dict[str, str]:
    """The shipped price lists as they stand in their files, by name."""
    return {path.stem: path.read_text("utf-8") for path in sorted(price_directory().glob("*.yaml"))}


def price_directory() -> Path:
    """``prices/`` inside the installed package, else at the root of the repository."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "prices"
    return installed if installed.is_dir() else package.parent.parent / "prices"


def chinese_holidays() -> Holidays:
    """China's public holidays, bridge days included, for every year whose list the State Council has published."""
    return {year: _holidays_of(year) for year in takewhile(_published, count(_FIRST_YEAR))}


def _published(year: int) -> bool:
    try:
        chinese_calendar.is_holiday(date(year, 1, 1))
    except NotImplementedError:
        return False
    return True


def _holidays_of(year: int) -> frozenset[date]:
    first, last = date(year, 1, 1), date(year, 12, 31)
    return frozenset(chinese_calendar.get_holidays(first, last, include_weekends=False))
