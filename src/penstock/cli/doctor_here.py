"""What the doctor finds on this machine: keys and their secret, addresses, prices, calendars, time zones."""

from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from importlib.metadata import PackageNotFoundError, version
from math import inf
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from penstock.cli.check import NOT_PRICED, deployment_rows, unpriced
from penstock.config.prices import load_book
from penstock.config.refusals import refusals_at_start
from penstock.config.settings import Address, Settings
from penstock.core.findings import Finding, fail, ok, warn
from penstock.core.pricebook import PriceBook
from penstock.errors import StoreError
from penstock.server.listener import ListenError, bind
from penstock.stores.location import MEMORY, is_postgres
from penstock.stores.pepper import find_pepper, secret_file

_OTHERS: Final = 0o077
_SHORT: Final = 16
_PATIENT_S: Final = 3.0
_DECEMBER: Final = 12
_OK: Final = 200


def examine_here(settings: Settings, keys: int | None, now: float) -> Iterator[Finding]:
    """``keys``: how many live ones the store has, None = it cannot say. ``now``: epoch seconds."""
    yield from _secret(settings, keys)
    yield from _keys(settings, keys)
    yield from _ports(settings)
    book = load_book()
    yield from _prices(settings, book, now)
    yield from _holidays(settings, book, datetime.fromtimestamp(now, UTC))
    yield _zones(settings)


def _secret(settings: Settings, keys: int | None) -> Iterator[Finding]:
    """What keys are hashed with."""
    secret = settings.server.secret
    if secret is not None:
        if len(secret.reveal()) < _SHORT:
            yield warn("secret", "server.secret is short", "take 32 random bytes: openssl rand -hex 32")
        else:
            yield ok("secret", "server.secret is set")
        return
    if settings.store == MEMORY:
        return
    if is_postgres(settings.store):
        cure = "set PENSTOCK_SECRET, the same on all nodes: openssl rand -hex 32 makes one"
        yield fail("secret", "server.secret is not set, and nodes share what keys are hashed with", cure)
        return
    yield from _secret_file(settings, keys)


def _secret_file(settings: Settings, keys: int | None) -> Iterator[Finding]:
    file = secret_file(settings)
    if not file.exists():
        if keys:
            yield fail("secret", f"{file} is missing, and {keys} keys are hashed with it", "put it back")
        else:
            yield ok("secret", f"{file} is not there yet: the first start makes it")
        return
    try:
        find_pepper(settings)
    except StoreError as error:
        yield fail("secret", error.public)
        return
    if file.stat().st_mode & _OTHERS:
        yield warn("secret", f"others on this machine may read {file}", f"chmod 600 {file}")
    else:
        yield ok("secret", f"{file}, for its owner only")


def _keys(settings: Settings, keys: int | None) -> Iterator[Finding]:
    if keys is None:
        yield warn("keys", "the store could not be asked for them", "see above")
        return
    refusals = refusals_at_start(settings, keys)
    yield from (fail("keys", refusal) for refusal in refusals)
    if refusals:
        return
    if keys or settings.keys:
        yield ok("keys", f"{keys} live in the store, {len(settings.keys)} in the config")
        if settings.server.admin_token is None:
            cure = "set PENSTOCK_ADMIN_TOKEN for the server and for commands"
            yield warn("keys", "keys exist and server.admin_token is not set: nobody may administer it", cure)
    else:
        yield ok("keys", "open: no key exists, so any is accepted, from this machine only")


def _ports(settings: Settings) -> Iterator[Finding]:
    server = settings.server
    serves = _is_ours(server.admin_listen)
    for name, address in (("listen", server.listen), ("admin_listen", server.admin_listen)):
        try:
            bind(address).close()
        except ListenError as error:
            if serves:
                yield ok("ports", f"{name} {address}: a Penstock serves there")
            else:
                yield fail("ports", f"{name}: {error}")
        else:
            yield ok("ports", f"{name} {address} is free")


def _is_ours(address: Address) -> bool:
    connection = HTTPConnection(address.host, address.port, timeout=_PATIENT_S)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        return response.status == _OK and response.read(64).replace(b" ", b"").startswith(b'{"status":"ok"')
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _prices(settings: Settings, book: PriceBook, now: float) -> Iterator[Finding]:
    rows = deployment_rows(settings, book, now)
    reasons = unpriced(settings, book, now)
    without = {
        str(row["deployment"]): f"{row['deployment']} is not priced" for row in rows if row["price"] == NOT_PRICED
    }
    for reason in reasons:
        without[reason.partition(" ")[0]] = reason
    if not without:
        yield ok("prices", "every deployment has one")
    level = fail if settings.budgets else warn
    what = "under a budget it is refused" if settings.budgets else "it is served, and counted as unpriced"
    for each in without.values():
        yield level("prices", each, f"add `prices` to its provider: {what}")


def _holidays(settings: Settings, book: PriceBook, today: datetime) -> Iterator[Finding]:
    """Of the price lists in use that spare them."""
    books = {provider.price_book for provider in settings.providers.values() if provider.prices is None}
    spared = [
        entries[-1].schedule.holidays
        for model in book.all
        for entries in model.entries.values()
        if model.book in books and entries[-1].until == inf and entries[-1].schedule is not None
    ]
    calendars = [holidays for holidays in spared if holidays is not None]
    if not calendars:
        return
    wanted = {today.year} | ({today.year + 1} if today.month == _DECEMBER else set())
    missing = sorted(year for year in wanted if any(year not in holidays for holidays in calendars))
    if missing:
        years = " and ".join(map(str, missing))
        yield warn("holidays", f"those of {years} are unknown: they are priced at peak", "upgrade chinesecalendar")
    else:
        yield ok("holidays", f"those of {today.year} are known")


def _zones(settings: Settings) -> Finding:
    names = {"UTC", "Asia/Shanghai", *(budget.zone.key for budget in settings.budgets)}
    try:
        for name in names:
            ZoneInfo(name)
        source = f"tzdata {version('tzdata')}"
    except ZoneInfoNotFoundError as error:
        return fail("time zones", f"{error}", "pip install tzdata")
    except PackageNotFoundError:
        source = "the system's"
    return ok("time zones", source)
