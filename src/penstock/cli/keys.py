"""``penstock keys``: create, list and revoke client keys.

Without an admin token a running server takes no orders once keys exist; they then go to its store, where it looks every
second.
"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from penstock.cli.admin import AdminClient, NoServer, NoToken
from penstock.cli.bad_input import BadInput
from penstock.cli.options import config_option, group_config_option
from penstock.cli.output import emit, format_option
from penstock.clock import SystemClock, TimeIds
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.config.units import parse_duration
from penstock.errors import StoreError
from penstock.pipeline.keyring import digest_key
from penstock.ports.keys import KeyRecord
from penstock.providers.registry import KINDS
from penstock.stores.location import describe
from penstock.stores.new_key import new_key
from penstock.stores.open import open_keys
from penstock.stores.pepper import open_pepper

_ADMIN_NEEDS_ONE = (
    "warning: keys exist now, so the admin API answers only to server.admin_token, which is not set: set it "
    "in the config, or PENSTOCK_ADMIN_TOKEN for the server and for commands"
)

_POSITIVE = click.IntRange(min=1)


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None


def _names(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name for name in map(str.strip, value.split(",")) if name)


@click.group()
@group_config_option
def keys() -> None:
    """Create, list and revoke client keys. The first key ends open mode for good."""


@keys.command()
@click.argument("name")
@click.option("--team", default="", help="The team it belongs to.")
@click.option("--models", default="", callback=_names, metavar="A,B", help="The models it may use; default all.")
@click.option("--rpm", type=_POSITIVE, help="Requests per minute; default unlimited.")
@click.option("--tpm", type=_POSITIVE, help="Tokens per minute; default unlimited.")
@click.option("--concurrency", type=_POSITIVE, help="Requests at once; default unlimited.")
@click.option("--expires", "expires_in_s", callback=_seconds, metavar="30d", help="How long it lives; default forever.")
@config_option
@format_option
def create(name: str, config: Path | None, format_: str, **wanted: Any) -> None:
    """Create a key named NAME and print it: it is shown this once and stored only as a keyed hash."""
    settings = load_here(config, registry=KINDS)
    for model in wanted["models"]:
        if model not in settings.models:
            click.echo(f"warning: no model {model!r} is configured", err=True)
    if (made := _ask(settings, "POST", "/admin/keys", {"name": name, **wanted})) is None:
        made = asyncio.run(_create(settings, name, wanted))
    shown = {"name": made["name"], "id": made["id"], "key": made["key"]}
    if format_ != "table":
        emit([shown], None, format_)
    else:  # on lines of their own, so that no terminal breaks the key
        click.echo("\n".join(f"{field:4}  {value}" for field, value in shown.items()))
        click.echo("Keep it now: it will not be shown again.", err=True)
    if settings.server.admin_token is None:
        click.echo(_ADMIN_NEEDS_ONE, err=True)


@keys.command("list")
@config_option
@format_option
def list_(config: Path | None, format_: str) -> None:
    """All keys, revoked and expired ones too."""
    settings = load_here(config, registry=KINDS)
    records = asyncio.run(_list(settings))
    now = SystemClock().now()
    minor = ("id", "concurrency", "tpm", "rpm", "created", "models", "team", "expires")
    emit([_row(record, now) for record in records], None, format_, minor=minor)


@keys.command()
@click.argument("name_or_id")
@config_option
def revoke(name_or_id: str, config: Path | None) -> None:
    """Revoke the live key of that name or id, at once and for good."""
    settings = load_here(config, registry=KINDS)
    if _ask(settings, "DELETE", f"/admin/keys/{quote(name_or_id, safe='')}") is None:
        asyncio.run(_revoke(settings, name_or_id))
    click.echo(f"Revoked {name_or_id}.")


def _ask(settings: Settings, method: str, path: str, body: object = None) -> Any:
    """The answer of a running server; None when it is the store that must be written."""
    try:
        return AdminClient(settings).ask(method, path, body) or {}
    except NoServer:
        return None
    except NoToken:
        click.echo(
            f"note: a server without an admin token runs; it will find this in {describe(settings.store)}", err=True
        )
        return None


async def _create(settings: Settings, name: str, wanted: dict[str, Any]) -> dict[str, str]:
    clock = SystemClock()
    async with open_keys(settings.store, settings.directory, write=True) as store:
        pepper = open_pepper(settings)
        if any(record.name == name and record.is_live(clock.now()) for record in await store.list()):
            raise BadInput(f"there is a live key {name!r}: revoke it first, or take another name")
        id_ = TimeIds(clock.now).new("key")
        try:
            key, record = new_key(name, id_=id_, digest=lambda key: digest_key(pepper, key), now=clock.now(), **wanted)
        except StoreError as error:  # only what was asked for is looked at there
            raise BadInput(error.public) from None
        await store.add(record)
    return {"name": name, "id": record.id, "key": key}


async def _list(settings: Settings) -> list[KeyRecord]:
    async with open_keys(settings.store, settings.directory, write=False) as store:
        return list(await store.list())


async def _revoke(settings: Settings, name_or_id: str) -> None:
    async with open_keys(settings.store, settings.directory, write=True) as store:
        if await store.revoke(name_or_id, SystemClock().now()) is None:
            raise click.ClickException(f"there is no live key {name_or_id!r}: `penstock keys list` shows them")


def _row(record: KeyRecord, now: float) -> dict[str, object]:
    return {
        "name": record.name,
        "id": record.id,
        "key": f"{record.prefix}...",
        "state": "live" if record.is_live(now) else "revoked" if record.revoked_at is not None else "expired",
        "team": record.team,
        "models": ", ".join(record.models) or "all",
        "rpm": record.rpm,
        "tpm": record.tpm,
        "concurrency": record.concurrency,
        "created": _instant(record.created_at),
        "expires": _instant(record.expires_at),
    }


def _instant(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
