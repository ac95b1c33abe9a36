"""``penstock alerts``: told to chats, the daily digest, and which of them are noise."""

import asyncio
from functools import partial
from pathlib import Path

import click
import uvloop

from penstock.cli.alerts_relay import NOBODY, relay_alerts
from penstock.cli.alerts_review import review
from penstock.cli.money_digest import as_text, read_digest
from penstock.cli.options import config_option, group_config_option
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.core.notice import Notice
from penstock.observe.logs import configure_logs
from penstock.providers.chat import open_chat
from penstock.providers.registry import KINDS
from penstock.server.listener import ListenError


@click.group(commands=[review])
@group_config_option
def alerts() -> None:
    """Tell chats of alerts and of yesterday's money; find the alerts that are noise."""


@alerts.command()
@config_option
def relay(config: Path | None) -> None:
    """Take Alertmanager's webhook at /alerts/BOT and tell the bot; tell the daily digest.

    Until SIGTERM or Ctrl-C; SIGHUP reloads the config.
    """
    load = partial(load_here, config, registry=KINDS)
    settings = load()
    if not settings.alerts.bots:
        raise click.ClickException(NOBODY)
    configure_logs(worker=None)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(relay_alerts(settings, load))
    except ListenError as error:
        raise click.ClickException(str(error)) from None


@alerts.command()
@click.option("--dry-run", is_flag=True, help="Print it, and tell nobody.")
@click.option("--to", metavar="NAME", help="Tell this bot of alerts.relay.bots now.")
@config_option
def digest(*, dry_run: bool, to: str | None, config: Path | None) -> None:
    """What yesterday cost, by team, what rose most, what was saved, and which budgets are near their end."""
    if dry_run == (to is not None):
        raise click.UsageError("say where: --dry-run prints it, --to NAME tells a bot")
    settings = load_here(config, registry=KINDS)
    bots = settings.alerts.bots
    if to is not None and to not in bots:
        raise click.UsageError(f"alerts.relay.bots has no {to!r}; it has {', '.join(bots) or 'none'}")
    notice = asyncio.run(_digest(settings, to))
    click.echo(as_text(notice) if to is None else f"Told {to}.")


async def _digest(settings: Settings, to: str | None) -> Notice:
    clock = SystemClock()
    notice = await read_digest(settings, clock.now())
    if to is not None:
        async with open_chat(settings.alerts.bots, clock) as chat:
            await chat.tell(to, notice)
    return notice
