"""Whether the store and what nodes share are well: asked beside a server or without one, and nothing is changed."""

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from penstock.config.settings import Settings
from penstock.config.units import format_size
from penstock.core.findings import Finding, fail, ok, warn
from penstock.errors import StoreError
from penstock.ports.clock import Clock, Rng
from penstock.ports.leases import Epoch
from penstock.stores.checkup_postgres import epoch_of, examine_postgres
from penstock.stores.checkup_redis import examine_redis
from penstock.stores.checkup_sqlite import examine_sqlite
from penstock.stores.location import MEMORY, is_postgres, sqlite_path
from penstock.stores.postgres import Postgres
from penstock.stores.redis_link import RedisLink
from penstock.stores.redis_url import read_redis_url

PATIENT_S: Final = 3.0
"""A doctor waits longer than a gateway does, to say how long it took."""
LITTLE_BYTES: Final = 1 << 30
TOO_LITTLE_BYTES: Final = 64 << 20


async def examine_store(settings: Settings, clock: Clock) -> list[Finding]:
    """The store of these settings, and the disk it needs on this machine."""
    if settings.store == MEMORY:
        return [warn("store", "memory: is gone with its process", "set `store: sqlite:penstock.db`")]
    if not is_postgres(settings.store):
        path = sqlite_path(settings.store, settings.directory)
        return [*examine_sqlite(path), *_disk(path.parent)]
    try:
        pool = Postgres(settings.store, size=1, deadline_s=PATIENT_S)
    except StoreError as error:
        return [fail("store", error.public)]
    try:
        spool = settings.ledger.spool or settings.directory
        return [*await examine_postgres(pool, settings, clock), *_spool(spool), *_disk(settings.directory)]
    finally:
        await pool.close()


async def examine_shared(settings: Settings, clock: Clock, rng: Rng) -> list[Finding]:
    """What the nodes of these settings share."""
    if settings.shared is None:
        return [ok("shared", "nothing: one process serves")]
    try:
        async with _linked(settings.shared_url, clock, rng) as link:
            return await examine_redis(link, clock, await _epoch(settings.store))
    except StoreError as error:
        said = f"{error.public}{f': {error.detail}' if error.detail else ''}"
        return [fail("shared", said, "check host, port and password in `shared`, and that the server runs")]


@asynccontextmanager
async def _linked(url: str, clock: Clock, rng: Rng) -> AsyncIterator[RedisLink]:
    link = RedisLink(read_redis_url(url), clock, rng, deadline_s=PATIENT_S)
    try:
        await link.open(PATIENT_S)
        yield link
    finally:
        await link.close()


async def _epoch(store: str) -> Epoch | None:
    """As PostgreSQL has it; None = it cannot say."""
    pool = Postgres(store, size=1, deadline_s=PATIENT_S)
    try:
        return await epoch_of(pool)
    except StoreError:
        return None
    finally:
        await pool.close()


def _spool(directory: Path) -> Iterator[Finding]:
    left = list(directory.glob("penstock-*.spool"))
    if left:
        size = format_size(sum(path.stat().st_size for path in left))
        yield warn(
            "spool",
            f"{len(left)} files in {directory} keep {size} of rows for the store",
            "a server here is using them, or start one in this directory: it writes them",
        )


def _disk(directory: Path) -> Iterator[Finding]:
    place = next((each for each in (directory, *directory.parents) if each.exists()), directory)
    free = shutil.disk_usage(place).free
    found = f"{free / (1 << 30):,.1f} GiB free at {place}"
    if free >= LITTLE_BYTES:
        yield ok("disk", found)
    elif free >= TOO_LITTLE_BYTES:
        yield warn("disk", found, "make room: a request whose row cannot be written is refused")
    else:
        yield fail("disk", found, "make room: a request whose row cannot be written is refused")
