"""The daily money digest of these settings, read from the store, whether a server runs or not."""

from collections.abc import Iterator

from penstock.cli.budget_standings import read_budgets, read_standings
from penstock.config.settings import Settings
from penstock.core.notice import Notice
from penstock.report.digest import Digest, day_of, notice_of, queries, yesterday
from penstock.stores.open import open_reader


async def read_digest(settings: Settings, now: float) -> Notice:
    """What is told of the day before ``now``, epoch seconds, in ``alerts.timezone``. Raises StoreError."""
    zone = settings.alerts.zone
    day = yesterday(now, zone)
    budgets = await read_budgets(settings)
    async with open_reader(settings.store, settings.directory) as reader:
        of_day, before, week, levers = [await reader.spend(query) for query in queries(day, zone)]
        standings = await read_standings(reader, budgets, now)
    return notice_of(
        Digest(
            day=day,
            zone=zone,
            of_day=day_of(*of_day),
            day_before=day_of(*before),
            week_before=day_of(*week),
            saved={row.group: row.saved_nano for row in levers[0]},
            budgets=sorted(standings, key=lambda standing: -standing.ratio),
            currency=settings.currency,
        )
    )


def as_text(notice: Notice) -> str:
    """For a terminal, which obeys what it prints: without control characters."""
    return "\n".join("".join(char if char.isprintable() else "?" for char in line) for line in _lines(notice))


def _lines(notice: Notice) -> Iterator[str]:
    yield notice.title
    for part in notice.parts:
        yield ""
        yield part.heading
        yield from (f"  {line}" for line in part.lines)
