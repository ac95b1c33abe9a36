"""The life of a serving process, with real signals and ports."""

import asyncio
import io
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from penstock.config.settings import Address, Settings
from penstock.errors import ConfigError
from penstock.server.admin_api import admin_app
from penstock.server.health import Phase
from penstock.server.listener import ListenError, bind
from penstock.server.serve import serve
from tests.support.small_gateway import SmallGateway, small_gateway, small_settings
from tests.support.tiny_app import RawClient, TinyApp, until

HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"


class Served:
    """A process that serves, seen from outside."""

    def __init__(self, gateway: SmallGateway, load: Callable[[], Settings]) -> None:
        self.gateway = gateway
        self.phase = Phase()
        self.app = TinyApp()
        self.banner = io.StringIO()
        self.task = asyncio.ensure_future(
            serve(
                gateway,
                self.app,
                admin_app(gateway, self.phase, load),
                phase=self.phase,
                load_settings=load,
                banner=self.banner,
            )
        )

    async def up(self) -> None:
        """Wait until it listens."""
        await until(lambda: self.task.done() or self.banner.getvalue())

    async def client(self, plane: str) -> RawClient:
        """A connection to ``base_url`` or ``admin``."""
        line = next(line for line in self.banner.getvalue().splitlines() if plane in line)
        port = int(line.split("127.0.0.1:")[1].split("/")[0].split()[0])
        return RawClient(*await asyncio.open_connection("127.0.0.1", port))

    async def ready(self) -> int:
        """What ``/readyz`` says."""
        client = await self.client("admin")
        await client.send(b"GET /readyz" + HEAD + b"\r\n")
        status, _ = await client.answer()
        client.writer.close()
        return status


def run(scenario: Callable[[Served], Any], settings: Settings | None = None, load: Any = None) -> Served:
    """Serve for as long as the scenario plays, bounded."""

    async def play() -> Served:
        used = settings or small_settings()
        served = Served(await small_gateway(used), load or (lambda: used))
        async with asyncio.timeout(8):
            await served.up()
            await scenario(served)
            await served.task
        return served

    return uvloop.run(play())


def kill(number: signal.Signals) -> None:
    """This process, as an init system does it."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_closes(number: signal.Signals) -> None:
    """The request under way is answered, /readyz says 503 meanwhile, and the gateway is closed at last."""

    async def scenario(served: Served) -> None:
        assert await served.ready() == 200
        client = await served.client("base_url")
        await client.send(b"GET /hold" + HEAD + b"\r\n")
        await until(lambda: served.app.paths)
        kill(number)
        await until(lambda: served.phase.draining)
        assert await served.ready() == 503
        assert not served.gateway.closed
        served.app.release.set()
        assert (await client.rest()).startswith(b"HTTP/1.1 200 ")
        client.writer.close()

    assert run(scenario).gateway.closed


def test_a_second_signal_cuts() -> None:
    """Without waiting for the window, and still closing the gateway."""
    settings = small_settings()
    settings = replace(settings, server=replace(settings.server, drain_s=60))

    async def scenario(served: Served) -> None:
        client = await served.client("base_url")
        await client.send(b"GET /hold" + HEAD + b"\r\n")
        await until(lambda: served.app.paths)
        kill(signal.SIGINT)
        await until(lambda: served.phase.draining)
        kill(signal.SIGINT)
        assert (await client.rest()).startswith(b"HTTP/1.1 503 ")
        client.writer.close()

    served = run(scenario, settings)
    assert served.gateway.closed
    assert served.app.cancelled == ["/hold"]


def test_sighup_reloads_and_an_invalid_config_changes_nothing() -> None:
    """The process serves on either way."""
    configs: list[Settings | ConfigError] = [ConfigError(["x"]), small_settings()]

    def load() -> Settings:
        config = configs.pop(0)
        if isinstance(config, ConfigError):
            raise config
        return config

    async def scenario(served: Served) -> None:
        before = served.gateway.settings
        kill(signal.SIGHUP)
        await until(lambda: len(configs) == 1)
        await asyncio.sleep(0.02)
        assert served.gateway.settings is before
        kill(signal.SIGHUP)
        await served.gateway.adopted.wait()
        assert await served.ready() == 200
        kill(signal.SIGTERM)

    run(scenario, load=load)


def test_the_window_of_the_drain_is_the_one_that_holds_when_it_begins() -> None:
    """A reload may have changed it."""
    settings = small_settings()
    settings = replace(settings, server=replace(settings.server, drain_s=60))

    async def scenario(served: Served) -> None:
        client = await served.client("base_url")
        await client.send(b"GET /hold" + HEAD + b"\r\n")
        await until(lambda: served.app.paths)
        await served.gateway.reload(lambda: replace(settings, server=replace(settings.server, drain_s=0.1)))
        kill(signal.SIGTERM)
        assert (await client.rest()).startswith(b"HTTP/1.1 503 ")
        client.writer.close()

    assert run(scenario, settings).app.cancelled == ["/hold"]


def test_the_start_is_told() -> None:
    """Where to point base_url, and what is open or simulated."""

    async def scenario(_: Served) -> None:
        kill(signal.SIGTERM)

    settings = small_settings()
    alias = replace(settings.models["sim-chat"], name="old", alias_of="sim-chat")
    settings = replace(settings, models={**settings.models, "old": alias})
    told = run(scenario, settings).banner.getvalue()
    assert "base_url  http://127.0.0.1:" in told
    assert "OPEN: no key exists" in told
    assert "SIMULATED" in told
    assert "sim-chat, sim-embed and 1 alias\n" in told


def test_open_mode_does_not_leave_this_machine() -> None:
    """Neither the data plane without keys nor the admin plane without a token; the gateway is closed."""
    settings = small_settings()
    wide = Address("0.0.0.0", 0)  # noqa: S104 - what must be refused
    for server in (replace(settings.server, listen=wide), replace(settings.server, admin_listen=wide)):

        async def scenario(served: Served) -> None:
            with pytest.raises(ConfigError):
                await served.task
            assert served.gateway.closed

        with pytest.raises(ConfigError):
            run(scenario, replace(settings, server=server))


def test_a_port_in_use_ends_the_start() -> None:
    """By name, with everything closed again."""
    with bind(Address("127.0.0.1", 0)) as taken:
        taken.listen()
        settings = small_settings()
        listen = Address("127.0.0.1", taken.getsockname()[1])

        async def scenario(served: Served) -> None:
            with pytest.raises(ListenError, match="in use"):
                await served.task
            assert served.gateway.closed

        with pytest.raises(ListenError):
            run(scenario, replace(settings, server=replace(settings.server, listen=listen)))
