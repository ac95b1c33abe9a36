"""The store of keys is away for hours: known keys work for as long as is said, then nobody is believed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from penstock.background.ticker import Ticker
from penstock.errors import StoreUnreachable
from penstock.gateway.gateway import REFRESH_KEYS_S
from penstock.ports.keys import KeyRecord, KeyStore
from penstock.server.gauges import watch
from tests.support.house import END_S, House, chat, open_house
from tests.support.metrics_text import samples

pytestmark = pytest.mark.looptime(end=END_S)


class AwayKeys:
    """A store of keys whose server can go away."""

    def __init__(self, behind: KeyStore) -> None:
        self.away = False
        self._behind = behind

    async def list(self) -> Sequence[KeyRecord]:
        """As the one behind."""
        self._ask()
        return await self._behind.list()

    async def version(self) -> int:
        """Likewise."""
        self._ask()
        return await self._behind.version()

    def __getattr__(self, name: str) -> Any:
        """What is written."""
        return getattr(self._behind, name)

    def _ask(self) -> None:
        if self.away:
            raise StoreUnreachable("the server does not answer")


@asynccontextmanager
async def asked(**config: Any) -> AsyncIterator[tuple[House, str, AwayKeys]]:
    """A house, a key, and the store of keys, which can go away and is asked each second."""
    async with open_house(**config) as house:
        gateway = house.gateway
        key = await house.add_key("app")
        gateway.stores.keys = keys = AwayKeys(gateway.stores.keys)
        ticker = Ticker(gateway.clock, REFRESH_KEYS_S, gateway.refresh_keys, "refresh keys")
        ticker.start()
        try:
            yield house, key, keys
        finally:
            await ticker.stop()


async def status(house: House, key: str) -> int:
    """Of one request, whose answer nobody shares."""
    return (await house.answer(chat(str(house.now)), key=key)).status


async def test_known_keys_work_for_an_hour_without_their_store() -> None:
    """Then 503 with a time to ask again, for all; not 401. When the store is back they work at once."""
    async with asked() as (house, key, keys):
        await asyncio.sleep(2)
        keys.away = True
        await asyncio.sleep(3590)
        assert await status(house, key) == 200
        assert await status(house, "ps-a-strangers") == 401
        await asyncio.sleep(15)
        refused = await house.answer(chat("late"), key=key)
        assert (refused.status, refused.error["code"]) == (503, "keys_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert await status(house, "ps-a-strangers") == 503
        assert house.exchanges[-1].outcome == "keys_unavailable"
        keys.away = False
        await asyncio.sleep(2)
        assert await status(house, key) == 200
        assert await status(house, "ps-a-strangers") == 401


async def test_what_was_revoked_meanwhile_is_known_when_the_store_is_back() -> None:
    """Within a second or so."""
    async with asked() as (house, key, keys):
        keys.away = True
        await asyncio.sleep(100)
        await keys.revoke("app", house.gateway.clock.now())
        assert await status(house, key) == 200
        keys.away = False
        await asyncio.sleep(2)
        assert await status(house, key) == 401


async def test_how_long_is_a_setting_that_a_reload_changes() -> None:
    """Here a minute; and how old they are is a metric."""
    server = {"secret": "a-pepper-of-at-least-thirty-two-bytes", "keys_stale": "1m"}
    async with asked(server=server) as (house, key, keys):
        watch(house.gateway)
        await asyncio.sleep(1.5)
        keys.away = True
        await asyncio.sleep(65)
        assert await status(house, key) == 503
        text = (await house.gateway.metrics.scrape()).decode()
        assert 60 < samples(text)["penstock_keys_age_seconds", ()] < 70
        keys.away = False
        running = house.gateway.settings
        longer = replace(running, server=replace(running.server, keys_stale_s=3600.0))
        await house.gateway.adopt(longer)
        keys.away = True
        await asyncio.sleep(65)
        assert await status(house, key) == 200
