"""``penstock alerts relay`` from one reload to the next.

A reload takes bots, token and digest over; where it listens needs a restart. An invalid file, or one that names nobody
to tell, is refused, and the old one goes on.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from penstock.background.digest import DailyDigest
from penstock.cli.money_digest import read_digest
from penstock.clock import SystemClock
from penstock.config.settings import Settings
from penstock.config.units import is_loopback
from penstock.errors import ConfigError
from penstock.ports.clock import Clock
from penstock.providers.chat import Chat, open_chat
from penstock.server.relay import Relay
from penstock.server.serve_relay import Beside, serve_relay
from penstock.stores.open import open_digest_notes

log = logging.getLogger(__name__)

NOBODY: Final = "there is nobody to tell: name bots in alerts.relay.bots"


async def relay_alerts(settings: Settings, load: Callable[[], Settings]) -> None:
    """Until a signal ends it. ``load``: for SIGHUP; raises ConfigError. Raises ListenError."""
    clock = SystemClock()
    async with open_chat(settings.alerts.bots, clock) as chat:
        relaying = Relaying(settings, load, chat, clock)
        await relaying.begin()
        listen = settings.alerts.listen
        await serve_relay(relaying.relay.app(), listen, clock, relaying.beside, relaying.reload)


class Relaying:
    """What it goes by now."""

    def __init__(self, settings: Settings, load: Callable[[], Settings], chat: Chat, clock: Clock) -> None:
        self.relay = Relay(chat, settings.alerts.token)
        self.beside = Beside()
        """The daily digest."""
        self._settings, self._listens = settings, settings.alerts.listen
        self._load, self._chat, self._clock = load, chat, clock
        self._told = set[str]()

    async def begin(self) -> None:
        """Tell the digest."""
        alerts = self._settings.alerts
        daily = DailyDigest(
            self._clock,
            partial(open_digest_notes, self._settings.store, self._settings.directory),
            zone=alerts.zone,
            minute=alerts.digest_minute,
            bots=alerts.digest_bots,
            make=lambda now: read_digest(self._settings, now),
            tell=self._chat.tell,
            told=self._told,
        )
        await self.beside.put(daily.run() if alerts.digest_bots else None)

    async def reload(self) -> None:
        """Read the config anew."""
        try:
            settings = await asyncio.to_thread(self._load)
            self._check(settings)
        except ConfigError as error:
            log.error("the new config is refused; the old one goes on", extra={"mistakes": error.mistakes})  # noqa: TRY400 - no traceback: the mistakes say all
            return
        before, self._settings = self._settings, settings
        self._chat.adopt(settings.alerts.bots)
        self.relay.token = settings.alerts.token
        if _digest_of(settings) != _digest_of(before):
            await self.begin()
        moved = [] if settings.alerts.listen == self._listens else ["alerts.relay.listen"]
        log.info("the config is reloaded", extra={"source": settings.source, "needs_restart": moved})

    def _check(self, wanted: Settings) -> None:
        """Raises ConfigError. What counts is where it listens, whatever address the new file has."""
        if not wanted.alerts.bots:
            raise ConfigError([NOBODY])
        if wanted.alerts.token is None and not is_loopback(self._listens):
            what = f"{self._listens} is reachable from other machines, and it is not set any more"
            raise ConfigError([f"alerts.relay.token: {what}; restore it, or restart to listen on 127.0.0.1"])


def _digest_of(settings: Settings) -> tuple[object, ...]:
    """All that the loop of the digest is made of."""
    alerts = settings.alerts
    return alerts.zone.key, alerts.digest_minute, alerts.digest_bots, settings.store, settings.directory
