"""``penstock demo``: what Penstock saves, seen in half a minute. No key, no network, nothing left behind.

A gateway with the simulated provider is started in this process; the traffic of ``demo_workload.py`` goes through it
over HTTP on loopback and, at the same instants, straight to a second simulated provider of the same seed. What it cost
``after`` is read from the gateway's ledger.
"""

import asyncio
import logging
import os
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console, RenderableType

from penstock.cli.demo_display import Progress, capture, result
from penstock.cli.demo_gateway import CONFIG_FILE, MODEL, DemoGateway, demo_settings, serving
from penstock.cli.demo_regions import Options as RegionsOptions
from penstock.cli.demo_regions import run_regions
from penstock.cli.demo_report import Leg, by_lever
from penstock.cli.demo_traffic import DIALECT, Way, body_of, play
from penstock.cli.demo_workload import Ask, load_languages, workload
from penstock.cli.output import format_option
from penstock.clock import SystemClock, SystemRng
from penstock.compose import World
from penstock.observe.logs import configure_logs
from penstock.ports.clock import Clock
from penstock.ports.providers import Transport, UpstreamCall
from penstock.providers.http import HttpTransport
from penstock.providers.registry import adapter
from penstock.providers.sim import Sim
from penstock.server.listener import ListenError

RATE = 25.0
"""Questions per second of the traffic."""
BUSY_RATE = 0.01
"""Share of calls that the simulated provider turns away for lack of capacity."""
LOOK_S = 0.5
"""How often the ledger is read for the display."""


PORT = click.IntRange(1, 65535)
_WITH_REGIONS = {"seconds": "--seconds", "format_": "--format"}
_WITHOUT_REGIONS = {"requests": "--requests", "serve": "--serve/--no-serve"}


def _picture(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """A path that can be written: half a minute later would be late to find out."""
    if value is not None and not (
        value.parent.is_dir() and os.access(value if value.exists() else value.parent, os.W_OK)
    ):
        raise click.BadParameter(f"{str(value)!r} cannot be written: is its directory there, and yours?")
    return value


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was given."""

    port: int
    admin_port: int
    requests: int
    speed: float
    seed: int
    serve: bool
    svg: Path | None


@click.command()
@click.option("--port", default=8787, show_default=True, type=PORT, help="Where the gateway listens, on loopback.")
@click.option("--admin-port", type=PORT, help="Where the admin plane listens; default: the port after --port.")
@click.option("--requests", default=600, show_default=True, type=click.IntRange(min=5), help="How many questions.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 100), help="Times real speed.")
@click.option("--seed", default=1, show_default=True, help="Another seed, another traffic.")
@click.option("--serve/--no-serve", default=True, show_default=True, help="Go on serving after the result.")
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_picture,
    help="Also write the result as a picture.",
)
@click.option("--regions", is_flag=True, help="See an outage instead: one of two regions is killed, and comes back.")
@click.option(
    "--seconds",
    default=55.0,
    show_default=True,
    type=click.FloatRange(5, 60),
    help="With --regions: about how long it takes; at most half as much again.",
)
@format_option
@click.pass_context
def demo(context: click.Context, /, *, regions: bool, admin_port: int | None, **given: Any) -> None:
    """See what it saves: simulated traffic, no key, no network.

    A help desk's questions, two of five asked before, are sent through the gateway and, for comparison, straight to the
    same simulated provider. Then come the bill before and after, and what that makes of a month.

    With --regions, clients of two regions ask at a steady rate, one region is killed and comes back: what do the
    clients see of it?
    """
    _refuse_idle(context, regions=regions)
    given["admin_port"] = admin_port or given["port"] + 1
    configure_logs(level=logging.CRITICAL if regions else logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="penstock-demo-") as directory:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_run(given, Path(directory), regions=regions))
        except ListenError as error:
            raise click.ClickException(f"{error} (--port, --admin-port)") from None


def _refuse_idle(context: click.Context, *, regions: bool) -> None:
    """Raises UsageError for an option that would do nothing."""
    for name, option in _WITHOUT_REGIONS.items() if regions else _WITH_REGIONS.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} does nothing {'with' if regions else 'without'} --regions")


def _run(given: Mapping[str, Any], directory: Path, *, regions: bool) -> Coroutine[Any, Any, None]:
    """The one or the other demo."""
    if regions:
        return run_regions(RegionsOptions(**_of(RegionsOptions, given)), directory, Console())
    return run(Options(**_of(Options, given)), directory, Console())


def _of(options: type, given: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: given[each.name] for each in fields(options)}


async def run(options: Options, directory: Path, console: Console) -> None:
    """The whole demo, until a signal ends it; ``directory`` takes the config and the ledger.

    Raises Abort when the signal came before the result.
    """
    clock = SystemClock()
    settings = demo_settings(directory, options.port, options.admin_port)
    world = World(clock=clock, rng=SystemRng(options.seed), transports={"sim": simulated(options, clock)})
    async with serving(settings, world) as gateway:
        shown = asyncio.create_task(show(options, gateway, clock, console))
        await asyncio.wait([shown, gateway.served], return_when=asyncio.FIRST_COMPLETED)
        if not shown.done():
            shown.cancel()
            await asyncio.wait([shown])
            raise click.Abort
        await shown
        if options.serve:
            console.print(closing(gateway, directory), highlight=False, soft_wrap=True)
            await gateway.served


async def show(options: Options, gateway: DemoGateway, clock: Clock, console: Console) -> None:
    """Play the traffic, and print what came of it."""
    asks = workload(load_languages(), options.requests, SystemRng(options.seed), rate=RATE)
    console.print(f"A real gateway at {gateway.url}, a simulated provider behind it.", highlight=False)
    found = await compare(options, asks, gateway, clock, console)
    draw(console, found)
    if options.svg:
        capture(options.svg, lambda picture: draw(picture, found))


def simulated(options: Options, clock: Clock) -> Sim:
    """A provider; those of equal options behave alike."""
    return Sim(clock, SystemRng(options.seed), speed=options.speed, busy_rate=BUSY_RATE)


async def compare(
    options: Options, asks: Sequence[Ask], gateway: DemoGateway, clock: Clock, console: Console
) -> list[RenderableType]:
    """Play the traffic on both ways under the live display; the result."""
    http = HttpTransport(clock)
    before, after = straight(simulated(options, clock), gateway), through(http, gateway)
    progress = Progress(console, len(asks), before.tally, after.tally)
    watching = asyncio.create_task(watch(gateway, after, progress, clock))
    try:
        with progress.live():
            await play(asks, [before, after], clock, speed=options.speed)
    finally:
        watching.cancel()
        await http.close()
    await gateway.settle()
    spent = await gateway.spent()
    booked = Leg(spent.requests, spent.errors, spent.hits, spent.cost_nano, after.tally.latencies_s)
    return result(before.tally.leg(), booked, before.tally.repeats_nano, by_lever(spent.saved_nano))


def straight(provider: Transport, gateway: DemoGateway) -> Way:
    """Without the gateway: every answer is priced as the provider bills it."""
    deployment, kind = gateway.deployment, adapter(gateway.deployment.provider.kind)

    def call(ask: Ask) -> UpstreamCall:
        fields, raw = body_of(ask, MODEL)
        return kind.encode(DIALECT, fields, raw, deployment, {})

    return Way(provider, kind, call, gateway.price_nano)


def through(http: Transport, gateway: DemoGateway) -> Way:
    """Through the gateway: the ledger knows the cost, the client need not."""
    other = straight(http, gateway)
    url = f"{gateway.url}/chat/completions"
    return replace(other, call=lambda ask: replace(other.call(ask), url=url), price=lambda _: 0)


async def watch(gateway: DemoGateway, after: Way, progress: Progress, clock: Clock) -> None:
    """Keep the display's costs at what the ledger says."""
    while True:
        after.tally.cost_nano = (await gateway.spent()).cost_nano
        progress.step()
        await clock.sleep(LOOK_S)


def draw(console: Console, shown: Sequence[RenderableType]) -> None:
    """Print the result."""
    for part in shown:
        console.print(part)


def closing(gateway: DemoGateway, directory: Path) -> str:
    """Where it goes on."""
    return (
        f"\nStill serving, with the simulated provider: OPENAI_BASE_URL={gateway.url}, any key, model {MODEL}.\n"
        f"Metrics: {gateway.admin_url}/metrics. The ledger: penstock spend --by lever -c {directory / CONFIG_FILE}\n"
        "Ctrl-C ends it."
    )
