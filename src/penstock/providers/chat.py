"""Telling the bots of group chats: in order, not too often, again when it failed, and the same news once.

At least once: a bot that takes a message and whose answer is lost is told again. No error tells a webhook's URL: it is
the credential.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from penstock.config.settings import BotSettings
from penstock.core.notice import Notice
from penstock.errors import BadAnswer, ProviderBusy, ProviderRefused, UpstreamError
from penstock.ports.clock import Clock
from penstock.ports.providers import Transport
from penstock.providers.http import HttpTransport
from penstock.providers.outside import Answer, Outsider
from penstock.wire.bots import MANNERS, Fault, read, write

log = logging.getLogger(__name__)

PATIENCE_S: Final = 9.0
"""Alertmanager waits for at least 10 s, whatever its group_interval."""
BACKOFF_S: Final = (1.0, 2.0, 4.0)
MAX_WAITING: Final = 64
"""Messages that wait for one bot; more are refused, and Alertmanager comes again."""
SAME_NEWS_S: Final = 240.0
"""For so long the same news is a repetition by who did not hear our answer, or by the other one of two Alertmanagers.
Below the shortest ``group_interval`` that is advised (5 min): after that it is a reminder, which is wanted."""
_MAX_TOLD: Final = 1000
_MINUTE_S: Final = 60.0
_MAX_ANSWER: Final = 64 * 1024
_LEAST_SECRET: Final = 6
_OK: Final = range(200, 300)
_TOO_MANY: Final = 429
_FAILING: Final = 500


@dataclass(slots=True)
class _Desk:
    """What is known of one bot."""

    bot: BotSettings
    outsider: Outsider
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    sent: deque[float] = field(default_factory=deque)
    """When, monotonic, of the last minute's messages."""
    told: dict[str, float] = field(default_factory=dict)
    """News -> when, monotonic."""
    trouble: UpstreamError | None = None
    """Why the message that is being sent was not taken."""

    def knows(self, news: str, now: float) -> bool:
        """Whether this was told just now."""
        for each in [each for each, at in self.told.items() if at + SAME_NEWS_S <= now][:_MAX_TOLD]:
            del self.told[each]
        return bool(news) and news in self.told

    def remember(self, news: str, now: float) -> None:
        """It is told; of very many the oldest are forgotten."""
        if news:
            self.told[news] = now
            if len(self.told) > _MAX_TOLD:
                del self.told[next(iter(self.told))]

    def pause_s(self, now: float) -> float:
        """How long until it may be sent one more."""
        while self.sent and self.sent[0] + _MINUTE_S <= now:
            self.sent.popleft()
        full = len(self.sent) >= MANNERS[self.bot.kind].per_minute
        return self.sent[0] + _MINUTE_S - now if full else 0.0


class Chat:
    """All the bots of a config."""

    def __init__(self, bots: Mapping[str, BotSettings], transport: Transport, clock: Clock) -> None:
        """``bots``: by their names."""
        self._clock, self._transport = clock, transport
        self._desks: dict[str, _Desk] = {}
        self.adopt(bots)

    def adopt(self, bots: Mapping[str, BotSettings]) -> None:
        """Tell these from now on. Of one that stays it is kept what it was told; what is under way goes on."""
        for name in self._desks.keys() - bots.keys():
            del self._desks[name]
        for name, bot in bots.items():
            if name in self._desks:
                self._desks[name].bot = bot
            else:
                self._desks[name] = _Desk(bot, Outsider(f"the bot {name}", self._transport, self._clock))

    def __contains__(self, name: object) -> bool:
        return name in self._desks

    async def tell(self, name: str, notice: Notice, *, news: str = "", patience_s: float = PATIENCE_S) -> bool:
        """Return when the bot has taken it; False when it was told the same ``news`` just now. Raises UpstreamError.

        ``patience_s``: how long it is tried.
        """
        desk = self._desks[name]
        if desk.waiting >= MAX_WAITING:
            raise ProviderBusy(f"{MAX_WAITING} messages wait for the bot {name}", retry_after_s=_MINUTE_S)
        desk.waiting += 1
        deadline = self._clock.deadline()
        try:
            with deadline.until(self._clock.monotonic() + patience_s):
                async with desk.lock:
                    return await self._tell_once(desk, notice, news)
        except TimeoutError:
            raise desk.trouble or ProviderBusy(f"the bot {name} may not be told more this minute") from None
        finally:
            deadline.close()
            desk.waiting -= 1

    async def _tell_once(self, desk: _Desk, notice: Notice, news: str) -> bool:
        if desk.knows(news, self._clock.monotonic()):
            return False
        desk.trouble = None
        for pause_s in (*BACKOFF_S, None):
            await self._wait_for_room(desk)
            try:
                await self._send(desk, notice)
            except UpstreamError as error:
                desk.trouble = error
                if pause_s is None or isinstance(error, ProviderRefused):
                    raise
                await self._clock.sleep(pause_s)
            else:
                desk.remember(news, self._clock.monotonic())
                return True
        return True

    async def _wait_for_room(self, desk: _Desk) -> None:
        if pause_s := desk.pause_s(self._clock.monotonic()):
            log.warning("a bot was told as much as it takes in a minute", extra={"bot": desk.bot.name})
            await self._clock.sleep(pause_s)

    async def _send(self, desk: _Desk, notice: Notice) -> None:
        bot, url = desk.bot, desk.bot.url.reveal()
        post = write(bot.kind, notice, bot.secret.reveal() if bot.secret else None, self._clock.now())
        desk.sent.append(self._clock.monotonic())
        signed = f"{url}{'&' if '?' in url else '?'}{post.query}" if post.query else url
        answer = await desk.outsider.post(signed, post.body, most_bytes=_MAX_ANSWER, timeout_s=PATIENCE_S)
        _check(bot, answer)


@asynccontextmanager
async def open_chat(bots: Mapping[str, BotSettings], clock: Clock) -> AsyncIterator[Chat]:
    """The bots, over HTTP."""
    transport = HttpTransport(clock)
    try:
        yield Chat(bots, transport, clock)
    finally:
        await transport.close()


def _check(bot: BotSettings, answer: Answer) -> None:
    """Raises ProviderBusy, ProviderRefused, BadAnswer unless it was taken."""
    if answer.status == _TOO_MANY or answer.status >= _FAILING:
        raise ProviderBusy(f"the bot {bot.name} answered with status {answer.status}", status=answer.status)
    if answer.status not in _OK:
        raise ProviderRefused(f"the bot {bot.name} refused with status {answer.status}", status=answer.status)
    try:
        fault = read(bot.kind, answer.body)
    except ValueError as error:
        raise BadAnswer(
            f"the bot {bot.name} did not answer as one of {bot.kind}: {error}", status=answer.status
        ) from None
    if fault is not None:
        kind = ProviderBusy if fault.busy else ProviderRefused
        raise kind(f"the bot {bot.name} refused: {fault.code} {_hidden(bot, fault)}".rstrip(), status=answer.status)


def _hidden(bot: BotSettings, fault: Fault) -> str:
    """Its words, in which no part of its webhook may stand."""
    words, parts = fault.words, urlsplit(bot.url.reveal())
    secrets = [parts.path.rpartition("/")[2], *(each.partition("=")[2] for each in parts.query.split("&"))]
    for secret in [*secrets, bot.secret.reveal() if bot.secret else ""]:
        if len(secret) >= _LEAST_SECRET:
            words = words.replace(secret, "***")
    return words
