"""``penstock budgets``: how much of each is used, and setting them.

What is shown comes from the store, whether a server runs or not: used is what was billed, pending what the calls under
way were held for when they were sent. Setting one goes to a running server, which holds to it at once, else to its
store.
"""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from penstock.cli.admin import AdminClient, NoServer, NoToken
from penstock.cli.budget_standings import read_budgets, read_standings
from penstock.cli.options import config_option, group_config_option
from penstock.cli.output import NONE, emit, format_option
from penstock.clock import SystemClock
from penstock.config.budget_records import changed_fields, is_there
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.core.budget import SCOPES, STEPS
from penstock.core.budget_report import BudgetStanding, budget_rows
from penstock.core.windows import WINDOWS
from penstock.ports.budgets import BudgetRecord
from penstock.providers.registry import KINDS
from penstock.stores.location import describe
from penstock.stores.open import open_budgets, open_reader

_MINOR = ("hard", "window", "scope", "currency", "pending", "unit", "resets_at")


def _steps(_context: click.Context, _parameter: click.Parameter, given: Iterable[str]) -> dict[str, float] | None:
    try:
        found = {step: float(fraction) for step, _, fraction in (each.partition("=") for each in given)}
    except ValueError:
        raise click.BadParameter(f"write a step and its fraction, such as {STEPS[0]}=0.8") from None
    return found or None


@click.group()
@group_config_option
def budgets() -> None:
    """How much of each budget is used, and setting them."""


@budgets.command()
@click.option("--name", help="This budget only.")
@click.option("--value", help="This team, key, user, model or tag=value only; '' = none named.")
@config_option
@format_option
def show(name: str | None, value: str | None, config: Path | None, format_: str) -> None:
    """Every budget and scope value in its window now: those that spent something, and those with an entry."""
    settings = load_here(config, registry=KINDS)
    found = asyncio.run(_show(settings, name, value))
    if value is not None:
        found = [standing for standing in found if standing.value == value and standing.budget.scope != "global"]
    rows = budget_rows(found, settings.currency)
    if format_ == "table":
        rows = [{**row, "value": row["value"] or ("" if row["scope"] == "global" else NONE)} for row in rows]
    emit(rows, None, format_, minor=_MINOR)


@budgets.command("set")
@click.argument("name")
@click.option("--limit", metavar="AMOUNT", help="'3000 CNY' or '100000 tokens'; '0 tokens' = nothing.")
@click.option("--value", help="Whose limit this is alone: a team, key, user, model or tag=value; '' = none named.")
@click.option("--scope", type=click.Choice(SCOPES), help="Who has a limit each; default global, which is all together.")
@click.option("--window", type=click.Choice(WINDOWS), help="When it begins anew; default month.")
@click.option("--timezone", help="Whose hours, days, weeks and months: an IANA name; default UTC.")
@click.option("--hard/--soft", default=None, help="Whether it refuses, or only warns; default it refuses.")
@click.option("--unlisted", type=click.Choice(("default", "deny")), help="Whether those without an entry may spend.")
@click.option("--alert", "alerts", type=float, multiple=True, help="A fraction to be told at; more than once.")
@click.option("--step", "ladder", multiple=True, callback=_steps, metavar="STEP=FRACTION", help="A rung of the ladder.")
@click.option("--remove", is_flag=True, help="Remove it; with --value, that entry.")
@config_option
def set_(name: str, config: Path | None, *, value: str | None, remove: bool, **wanted: Any) -> None:
    """Add a budget, or change what is given of the one named NAME. It holds at once, and before the config's."""
    change: dict[str, Any] = {field: given for field, given in wanted.items() if given not in (None, ())}
    if remove and change:
        raise click.UsageError("--remove goes with --value, or alone")
    if not remove and not change:
        raise click.UsageError("say what to set, such as --limit '3000 CNY', or --remove")
    if value is not None:
        change |= {"value": value, "limit": change.get("limit")} if remove or "limit" in change else {"value": value}
    settings = load_here(config, registry=KINDS)
    if not _asked(settings, "PUT" if change else "DELETE", _path(name), change or None):
        asyncio.run(_put(settings, name, change or None))
    click.echo(f"{'Removed' if remove else 'Set'} {name}{'' if value is None else f' for {value or NONE}'}.")


@budgets.command()
@click.argument("name")
@config_option
def reset(name: str, config: Path | None) -> None:
    """Forget what was set of the budget NAME, its removal too: what the config says of it holds again, at once."""
    settings = load_here(config, registry=KINDS)
    if not _asked(settings, "POST", f"{_path(name)}/reset"):
        asyncio.run(_reset(settings, name))
    click.echo(f"Reset {name}: what the config says of it holds.")


def _path(name: str) -> str:
    return f"/admin/budgets/{quote(name, safe='')}"


def _asked(settings: Settings, method: str, path: str, change: Mapping[str, Any] | None = None) -> bool:
    """Whether a running server took it; else it is the store that must be written."""
    try:
        AdminClient(settings).ask(method, path, change)
    except NoServer:
        return False
    except NoToken:
        click.echo(
            f"note: a server without an admin token runs; it will find this in {describe(settings.store)}", err=True
        )
        return False
    return True


async def _put(settings: Settings, name: str, change: Mapping[str, Any] | None) -> None:
    async with open_budgets(settings.store, settings.directory, write=True) as store:
        records = await store.list()
        if change:
            await store.put(BudgetRecord(name, changed_fields(name, change, settings, records)))
            return
        if not is_there(name, settings, records):
            raise _unknown(name)
        await store.put(BudgetRecord(name, {}, removed=True))


async def _reset(settings: Settings, name: str) -> None:
    async with open_budgets(settings.store, settings.directory, write=True) as store:
        if not await store.delete(name):
            raise click.ClickException(f"nothing was set of a budget {name!r}: what the config says of it holds")


async def _show(settings: Settings, name: str | None, value: str | None) -> list[BudgetStanding]:
    found = await read_budgets(settings)
    if name is not None:
        found = tuple(budget for budget in found if budget.name == name)
        if not found:
            raise _unknown(name)
    async with open_reader(settings.store, settings.directory) as reader:
        return await read_standings(reader, found, SystemClock().now(), value)


def _unknown(name: str) -> click.ClickException:
    return click.ClickException(f"there is no budget {name!r}: `penstock budgets show` lists them")
