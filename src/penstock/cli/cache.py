"""``penstock cache``: what the exact cache holds, and emptying it."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from penstock.cli.admin import AdminClient, NoServer
from penstock.cli.bad_input import BadInput
from penstock.cli.options import config_option, group_config_option
from penstock.cli.output import emit, format_option
from penstock.clock import SystemClock
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.config.units import format_size
from penstock.providers.registry import KINDS
from penstock.stores.new_key import key_ids
from penstock.stores.open import open_stores, read_stored_answers


@click.group()
@group_config_option
def cache() -> None:
    """Look at the exact cache, or empty it."""


@cache.command()
@config_option
@format_option
def stats(config: Path | None, format_: str) -> None:
    """What the store holds that has not expired, by model."""
    settings = load_here(config, registry=KINDS)
    held = asyncio.run(read_stored_answers(settings.store, settings.directory, SystemClock().now()))
    rows: list[dict[str, object]] = [
        {
            "model": model.model,
            "entries": model.entries,
            "bytes": model.body_bytes,
            "oldest": _instant(model.oldest_at),
            "last_expires": _instant(model.expires_at),
        }
        for model in held
    ]
    total = {"entries": sum(model.entries for model in held), "bytes": sum(model.body_bytes for model in held)}
    emit(rows, total, format_, title=f"Stored answers, of at most {format_size(settings.cache.max_bytes)}")


@cache.command()
@click.option("--model", help="Answers to this model only.")
@click.option("--key", help="Answers to this key only: its name or id, or anonymous.")
@click.option("--tag", metavar="NAME=VALUE", help="Answers to requests with this tag only.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@config_option
def purge(*, model: str | None, key: str | None, tag: str | None, everything: bool, config: Path | None) -> None:
    """Forget stored answers that match all that is given. They stay forgotten after a restart."""
    what = {name: value for name, value in {"model": model, "key": key, "tag": tag}.items() if value is not None}
    if everything == bool(what):
        raise click.UsageError("say what to purge: --model, --key, --tag, or --all alone")
    settings = load_here(config, registry=KINDS)
    try:
        purged = AdminClient(settings).ask("POST", "/admin/cache/purge", what)["purged"]
    except NoServer:
        purged = asyncio.run(_purge(settings, model, key, tag))
    click.echo(f"Purged {purged} answers.")


async def _purge(settings: Settings, model: str | None, key: str | None, tag: str | None) -> int:
    stores = await open_stores(
        settings.store,
        settings.directory,
        max_answer_bytes=settings.cache.max_bytes,
        sync=settings.ledger.sync,
        on_lost=lambda _rows, _reason: None,  # a purge writes no ledger rows
        clock=SystemClock(),
    )
    try:
        if key is None:
            return await stores.answers.purge(model=model, tag=tag)
        tenants = key_ids(key, await stores.keys.list(), [static.name for static in settings.keys])
        if not tenants:
            raise BadInput(f"there is no key {key!r}: `penstock keys list` shows them")
        return sum([await stores.answers.purge(model=model, tag=tag, tenant=tenant) for tenant in tenants])
    finally:
        await stores.close()


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
