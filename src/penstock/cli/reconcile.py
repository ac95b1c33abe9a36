"""``penstock spend reconcile``: the ledger against a provider's bill or balance, and prices that came late.

Reads the store, whether a server runs or not. A balance is kept in the store beside a running server; re-rating needs
the store for itself, because a server counts what its budgets have spent from its start on.
"""

import asyncio
from pathlib import Path
from typing import Any, Final

import click

from penstock.cli.balance_drift import balance_drift
from penstock.cli.bill_drift import bill_drift
from penstock.cli.options import config_option
from penstock.cli.output import format_option
from penstock.cli.rerate import rerate_ledger
from penstock.config.bills import parse_columns
from penstock.config.load import load_here
from penstock.providers.registry import KINDS

_GOES_WITH: Final = {
    "bill": frozenset({"provider", "columns", "rename", "currency", "timezone", "since", "until"}),
    "balance": frozenset({"provider", "topped_up"}),
    "rerate": frozenset({"yes"}),
}
"""What is asked for, and the options that go with it."""


def _columns(_context: click.Context, _parameter: click.Parameter, given: str | None) -> dict[str, str]:
    try:
        return parse_columns(given or "")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _rename(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if not all(name.strip() and model.strip() for name, _, model in pairs):
        raise click.BadParameter("write the name on the bill and the model, such as 'Doubao Pro=doubao-seed-2-1-pro'")
    return {name.strip(): model.strip() for name, _, model in pairs}


@click.command()
@click.option("--bill", type=click.Path(path_type=Path), metavar="FILE", help="Compare with this exported bill, a CSV.")
@click.option("--balance", is_flag=True, help="Ask the provider's balance; compare its change since the last time.")
@click.option("--rerate", is_flag=True, help="Price what had no price when it was settled.")
@click.option("--provider", help="Whose bill or balance it is; needed where the config has several that fit.")
@click.option("--columns", callback=_columns, metavar="ROLE=HEADING,...", help="Which column of the bill is which.")
@click.option("--rename", multiple=True, callback=_rename, metavar="NAME=MODEL", help="A model's name on the bill.")
@click.option("--currency", help="Which lines of a bill in several currencies; or of one that does not say.")
@click.option("--timezone", help="Whose days the bill's are: an IANA name; default: what such bills have, else UTC.")
@click.option("--since", help="2026-11-01, 7d or all; default: the bill's first day.")
@click.option("--until", help="The same; not included. Default: after the bill's last day.")
@click.option("--topped-up", metavar="AMOUNT", help="What was paid into the account since the last time: '100 CNY'.")
@click.option("--yes", is_flag=True, help="Write what --rerate found.")
@config_option
@format_option
def reconcile(*, config: Path | None, format_: str, **given: Any) -> None:
    """Hold the ledger against the provider's bill (--bill) or balance (--balance), or price it anew (--rerate)."""
    mode = _mode(given)
    settings = load_here(config, registry=KINDS)
    wanted = {name: given[name] for name in _GOES_WITH[mode]}
    if mode == "bill":
        asyncio.run(bill_drift(settings, given["bill"], format_, **wanted))
    elif mode == "balance":
        asyncio.run(balance_drift(settings, format_, **wanted))
    else:
        asyncio.run(rerate_ledger(settings, format_, **wanted))


def _mode(given: dict[str, Any]) -> str:
    """Which of the three. Raises UsageError for none, several, or options of another."""
    modes = [name for name in _GOES_WITH if given[name]]
    if len(modes) != 1:
        raise click.UsageError("say what to hold the ledger against: one of --bill FILE, --balance and --rerate")
    foreign = [name for name, value in given.items() if value and name not in {modes[0], *_GOES_WITH[modes[0]]}]
    if foreign:
        raise click.UsageError(f"--{foreign[0].replace('_', '-')} does not go with --{modes[0]}")
    return modes[0]
