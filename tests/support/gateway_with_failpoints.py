"""``penstock serve`` with an end: the same code path, in a world that dies at a fail-point.

python -m tests.support.gateway_with_failpoints CONFIG [POINT PASSING]

An empty POINT never comes. With one argument more it knows the tokens of the bill provider: a word is one, exactly.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from penstock.compose import World, open_gateway
from penstock.config.load import load_here
from penstock.config.settings import Settings
from penstock.observe.logs import configure_logs
from penstock.pipeline.exchange import Exchange
from penstock.providers.registry import KINDS
from penstock.server.admin_api import admin_app
from penstock.server.app import DataPlane
from penstock.server.health import Phase
from penstock.server.replies import row_of
from penstock.server.serve import serve
from tests.support.bill_provider_words import read_wish
from tests.support.failpoints import KillAt


class Words:
    """The bill provider's tokenizer, as the pipeline asks for it."""

    def prompt(self, exchange: Exchange) -> int:
        """A word is a token."""
        return read_wish(exchange.asked.dialect, exchange.fields).prompt

    def said(self, text: str) -> int:
        """Likewise."""
        return len(text.split())


async def main(config: Path, world: World) -> None:
    """Serve by ``config`` until a signal, or the world, ends it."""

    def load_settings() -> Settings:
        return load_here(config, registry=KINDS)

    gateway = await open_gateway(load_settings(), lambda error: row_of(error).status, world)
    phase = Phase()
    admin = admin_app(gateway, phase, load_settings)
    await serve(gateway, DataPlane(gateway), admin, phase=phase, load_settings=load_settings)


def world_of(point: str = "", passing: str = "1", words: str = "") -> World:
    """As the command line says."""
    world = World(tokenizers={"openai": Words()} if words else {})
    if point:
        world.reached = KillAt(point, int(passing))
    return world


if __name__ == "__main__":
    configure_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), world_of(*sys.argv[2:])))
