"""``penstock migrate``: everything the config's SQLite store holds, moved to PostgreSQL, and both sides compared."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from penstock.cli.options import config_option
from penstock.cli.output import Row, emit, format_option
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.core.money import DECIMALS, format_amount
from penstock.providers.registry import KINDS
from penstock.stores.location import describe, is_postgres
from penstock.stores.move import SUMS, Compared, Moved, move
from penstock.stores.open import open_keys
from penstock.stores.pepper import find_pepper, secret_file, sign_of

_MINOR: Final = ("target_tokens", "tokens")

_BEGUN: Final = {
    "on": "note: it went on where an earlier run had ended",
    "again": "note: the store was written to since an earlier run, so everything was moved again",
}


@click.command()
@click.option("--to", required=True, metavar="URL", help="postgresql://USER:PASSWORD@HOST/DATABASE, an empty one.")
@config_option
@format_option
def migrate(*, to: str, config: Path | None, format_: str) -> None:
    """Move everything from the config's SQLite store to PostgreSQL, and compare both sides month by month.

    No server may use either. Ended before it was done, by whatever, it goes on where it was; the SQLite file stays as
    it is. Exit code 1 when the two sides differ.
    """
    settings = load_here(config, registry=KINDS)
    if not is_postgres(to):
        raise click.UsageError("--to: write postgresql://USER:PASSWORD@HOST/DATABASE")
    secret = asyncio.run(_sign(settings))
    with _Shown() as shown:
        moved = asyncio.run(move(settings.store, settings.directory, to, settings.currency, secret, shown.tell))
    if moved.begun == "done":
        click.echo(f"note: this store was moved to {describe(to)} on {moved.ended_at} UTC; nothing to do", err=True)
        return
    emit([_row(each, settings.currency) for each in moved.compared], None, format_, title="", minor=_MINOR)
    _say([*_summed_up(moved, shown.copied_s), *(_next_steps(settings, to) if moved.same else [])])
    if not moved.same:
        raise click.ClickException(
            "the two sides differ, see the last column: nothing serves from the target. Empty that database and run "
            "it again; the SQLite store is as it was"
        )


async def _sign(settings: Settings) -> str:
    """Of the secret that the store's keys are hashed with. Raises ClickException when it is not there."""
    async with open_keys(settings.store, settings.directory, write=False) as store:
        keys = len(await store.list())
    pepper = find_pepper(settings)
    if pepper is None and keys:
        raise click.ClickException(
            f"the {keys} keys of the store are hashed with a secret that is not there: put {secret_file(settings)} "
            "back, or set server.secret (PENSTOCK_SECRET) as it was when they were made"
        )
    return "" if pepper is None else sign_of(pepper)


class _Shown:
    """A bar for each part, on standard error."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[str, TaskID] = {}
        self._began = SystemClock.monotonic()
        self.copied_s = 0.0
        """How long the rows took."""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bars.stop()

    def tell(self, part: str, rows: int, total: int) -> None:
        """A bar has come further."""
        if part not in self._tasks:
            self._tasks[part] = self._bars.add_task(part, total=total, completed=rows, rate="")
        if part != SUMS:
            self.copied_s = SystemClock.monotonic() - self._began
        task = self._tasks[part]
        speed = self._bars.tasks[task].speed
        self._bars.update(task, completed=rows, total=total, rate=f"{speed:,.0f}/s" if speed else "")


def _row(each: Compared, currency: str) -> Row:
    here, there = each.here, each.there
    return {
        "part": each.part,
        "month": each.month,
        "rows": here.rows,
        "tokens": here.tokens,
        "amount": format_amount(here.amount_nano, DECIMALS),
        "currency": currency,
        "target_rows": there.rows,
        "target_tokens": there.tokens,
        "target_amount": format_amount(there.amount_nano, DECIMALS),
        "differs": ", ".join(each.differs) or "no",
    }


def _summed_up(moved: Moved, seconds: float) -> Sequence[str]:
    speed = f"note: {moved.rows:,} rows in {seconds:.1f} s, {moved.rows / max(seconds, 0.001):,.0f} a second"
    return [*([_BEGUN[moved.begun]] if moved.begun in _BEGUN else []), speed]


def _next_steps(settings: Settings, to: str) -> Sequence[str]:
    """What else has to go with it."""
    store = (
        f"note: both sides are the same. Set `store: {describe(to)}` (with its password) on every node; "
        f"{settings.store} is not read any more"
    )
    if settings.server.secret is not None:
        return [store, "note: keys are hashed with server.secret: every node needs the one that this config has"]
    file = secret_file(settings)
    if not file.exists():
        return [store, "note: there is no key yet: give all nodes one PENSTOCK_SECRET before you make the first"]
    secret = (
        f"note: keys are hashed with the secret in {file}, and are strangers without it: on every node set "
        f'PENSTOCK_SECRET="$(cat {file})"; `penstock doctor` there says whether it is the right one'
    )
    return [store, secret]


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(line, err=True)
