"""``penstock alerts``: told to chats, the daily digest, and which of them are noise."""

import asyncio
from functools import partial
from pathlib import Path

import click
import uvloop

from penstock.background.digest import DailyDigest
from penstock.cli.alerts_review import review
from penstock.cli.money_digest import as_text, read_digest
from penstock.cli.options import config_option, group_config_option
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.core.notice import Notice
from penstock.observe.logs import configure_logs
from penstock.providers.chat import Chat, open_chat
from penstock.providers.registry import KINDS
from penstock.server.listener import ListenError
from penstock.server.relay import Relay
from penstock.server.serve_relay import serve_relay
from penstock.stores.open import open_digest_notes


@click.group(commands=[review])
@group_config_option
def alerts() -> None:
    """Tell chats of alerts and of yesterday's money; find the alerts that are noise."""


@alerts.command()
@config_option
def relay(config: Path | None) -> None:
    """Take Alertmanager's webhook at /alerts/BOT and tell the bot; tell the daily digest. Until SIGTERM or Ctrl-C."""
    settings = load_here(config, registry=KINDS)
    if not settings.alerts.bots:
        raise click.ClickException("there is nobody to tell: name bots in alerts.relay.bots")
    configure_logs(worker=None)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_relay(settings))
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


async def _relay(settings: Settings) -> None:
    clock = SystemClock()
    async with open_chat(settings.alerts.bots, clock) as chat:
        daily = _daily(settings, chat, clock).run() if settings.alerts.digest_bots else None
        app = Relay(chat, settings.alerts.token).app()
        await serve_relay(app, settings.alerts.listen, clock, daily)


def _daily(settings: Settings, chat: Chat, clock: SystemClock) -> DailyDigest:
    told = settings.alerts
    return DailyDigest(
        clock,
        partial(open_digest_notes, settings.store, settings.directory),
        zone=told.zone,
        minute=told.digest_minute,
        bots=told.digest_bots,
        make=partial(read_digest, settings),
        tell=chat.tell,
    )
