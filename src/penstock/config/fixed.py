"""What a process takes over from its start and no reload changes: its sockets, its store, the pepper of its keys."""

from dataclasses import replace
from operator import attrgetter
from typing import Final

from penstock.config.settings import Settings

_FIXED: Final = {
    "server.listen": "server.listen",
    "server.admin_listen": "server.admin_listen",
    "server.secret": "server.secret",
    "store": "store",
    "shared": "shared_url",
    "ledger.sync": "ledger.sync",
    "ledger.retention": "ledger.retention_s",
    "ledger.spool": "ledger.spool",
    "cache.exact.max_bytes": "cache.max_bytes",
}
"""A setting's path in the file -> in ``Settings``."""


def needs_restart(running: Settings, wanted: Settings) -> list[str]:
    """The paths of what ``wanted`` says otherwise than the process runs, and only a restart takes over."""
    return [path for path, place in _FIXED.items() if attrgetter(place)(running) != attrgetter(place)(wanted)]


def in_force(running: Settings, wanted: Settings) -> Settings:
    """``wanted``, with what a running process keeps as it is: what then holds, and may be judged and shown."""
    server = running.server
    return replace(
        wanted,
        server=replace(wanted.server, listen=server.listen, admin_listen=server.admin_listen, secret=server.secret),
        store=running.store,
        shared=None if running.shared is None else replace(wanted.shared or running.shared, url=running.shared_url),
        directory=running.directory,
        ledger=replace(running.ledger, on_failure=wanted.ledger.on_failure),
        cache=replace(wanted.cache, max_bytes=running.cache.max_bytes),
    )
