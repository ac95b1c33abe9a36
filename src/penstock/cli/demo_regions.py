"""``penstock demo --regions``: a region is killed and comes back, and what its clients saw of it.

Two simulated providers run in processes of their own, a real gateway in this one has a model at both
(``regions: caller``), and clients of both regions ask at a steady rate over HTTP. Then one process is killed and,
later, started again. Nothing is told to the gateway: its breakers find out. How long a region has to be well before it
is failed back to is shortened, or the demo would be mostly waiting; the breakers' times are those of any gateway.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import cycle
from math import inf
from pathlib import Path
from typing import Final

import click
from rich.console import Console, RenderableType

from penstock.cli.demo_clients import Clients
from penstock.cli.demo_display import capture
from penstock.cli.demo_gateway import CONFIG_FILE, MODEL, DemoGateway, serving
from penstock.cli.demo_region import HOST, Region
from penstock.cli.demo_regions_display import Scene, Screen, result
from penstock.cli.demo_regions_report import Marks, report, returned_at_s, rows, total
from penstock.cli.demo_traffic import DIALECT, body_of
from penstock.cli.demo_workload import Ask, load_languages, workload
from penstock.cli.output import emit
from penstock.clock import SystemClock, SystemRng
from penstock.compose import World
from penstock.config.load import load
from penstock.config.settings import Settings
from penstock.pipeline.fleet import MemberState
from penstock.ports.clock import Clock
from penstock.ports.providers import UpstreamCall
from penstock.providers.http import HttpTransport
from penstock.providers.registry import KINDS, adapter

REGIONS: Final = ("beijing", "shanghai")
KILLED: Final = REGIONS[0]
RATE: Final = 20.0
"""Questions per second, of both regions together."""
LOOK_S: Final = 0.05
BEFORE: Final = 0.2
"""Of the seconds given: how long all is well,"""
BEFORE_S: Final = 5.0
"""and at least so long: the budget of retries goes by what was asked before, and a kill breaks many calls at once;"""
OUT: Final = 0.2
"""how long the region is down,"""
WELL: Final = 0.1
"""how long it has to be well before its clients go back,"""
AFTER: Final = 0.15
"""how long to go on when they have,"""
LONGEST: Final = 1.5
"""and how long it takes at most."""

_CONFIG: Final = """\
# Written by `penstock demo --regions`; gone when it ends.
server: {{listen: "127.0.0.1:{port}", admin_listen: "127.0.0.1:{admin_port}", drain: 1s}}
store: sqlite:penstock.db
currency: CNY
providers:
{providers}
models:
  {model}:
    regions: caller
    deployments:
{deployments}
cache: {{exact: off, join: false}}
"""
_PROVIDER: Final = """\
  {name}: {{kind: openai, base_url: "{url}", prices: {{input: 1, cached_input: 0.2, output: 2}}}}
"""
_DEPLOYMENT: Final = """\
      - {{provider: {name}, model: {model}, region: {region}}}
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was given."""

    port: int
    admin_port: int
    seconds: float
    speed: float
    seed: int
    svg: Path | None
    format_: str


def regions_settings(directory: Path, options: Options, ports: Sequence[int]) -> Settings:
    """The settings of the file that this writes into ``directory``; two accounts in each region, at its port."""
    accounts = [
        (f"{region}-{number}", region, f"http://{HOST}:{port}/v1")
        for region, port in zip(REGIONS, ports, strict=True)
        for number in (1, 2)
    ]
    path = directory / CONFIG_FILE
    path.write_text(
        _CONFIG.format(
            port=options.port,
            admin_port=options.admin_port,
            model=MODEL,
            providers="".join(_PROVIDER.format(name=name, url=url) for name, _, url in accounts).rstrip(),
            deployments="".join(
                _DEPLOYMENT.format(name=name, model=MODEL, region=region) for name, region, _ in accounts
            ).rstrip(),
        )
    )
    return load(path, {}, registry=KINDS)


async def run_regions(options: Options, directory: Path, console: Console) -> None:
    """The whole demo. Raises Abort when a signal came before the result."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        regions = [Region(name, seed=options.seed + place, speed=options.speed) for place, name in enumerate(REGIONS)]
        for region in regions:
            stack.push_async_callback(region.kill)
        await asyncio.gather(*(region.start() for region in regions))
        settings = regions_settings(directory, options, [region.port for region in regions])
        world = World(clock=clock, rng=SystemRng(options.seed), region_well_for_s=WELL * options.seconds)
        gateway = await stack.enter_async_context(serving(settings, world))
        http = HttpTransport(clock)
        stack.push_async_callback(http.close)
        outage = Outage(options, gateway, clients_of(gateway, http, clock), regions[0])
        shown = asyncio.create_task(show(options, outage, console))
        await asyncio.wait([shown, gateway.served], return_when=asyncio.FIRST_COMPLETED)
        if not shown.done():
            shown.cancel()
            await asyncio.wait([shown])
            raise click.Abort
        await shown


def clients_of(gateway: DemoGateway, http: HttpTransport, clock: Clock) -> Clients:
    """Who ask the gateway, over HTTP."""
    settings, kind = gateway.gateway.settings, adapter("openai")
    places = {each.id: each.region for each in settings.models[MODEL].deployments}

    def call(ask: Ask, home: str) -> UpstreamCall:
        fields, raw = body_of(ask, MODEL)
        encoded = kind.encode(DIALECT, fields, raw, gateway.deployment, {})
        headers = {**encoded.headers, "x-penstock-region": home}
        return replace(encoded, url=f"{gateway.url}/chat/completions", headers=headers)

    return Clients(http, kind, clock, clock.monotonic(), call, lambda name: places.get(name, ""))


async def show(options: Options, outage: "Outage", console: Console) -> None:
    """Let it happen, and print what came of it."""
    quiet = options.format_ != "table"
    if not quiet:
        console.print(f"A real gateway at {outage.url}, two simulated regions behind it.", highlight=False)
    screen = Screen(Console(stderr=True, quiet=not console.is_terminal) if quiet else console, outage.scene)
    with screen.live():
        await outage.happen(screen)
    scene = outage.scene()
    if quiet:
        found = report(scene.seen, scene.marks, scene.regions)
        emit(rows(found), total(found), options.format_)
    else:
        _print(console, result(scene))
    if options.svg:
        capture(options.svg, lambda picture: _print(picture, result(scene)), title="penstock demo --regions")


def _print(console: Console, shown: Sequence[RenderableType]) -> None:
    for part in shown:
        console.print(part, highlight=False)


class Outage:
    """What happens to a region, and what was seen of it."""

    def __init__(self, options: Options, gateway: DemoGateway, clients: Clients, region: Region) -> None:
        """``region``: the one that is killed."""
        self.url = gateway.url
        self._options = options
        self._fleet = gateway.gateway.standing.fleet
        self._deployments = gateway.gateway.settings.models[MODEL].deployments
        self._clients = clients
        self._region = region
        self._marks = Marks(region.name)

    def scene(self) -> Scene:
        """What there is to see now."""
        end_s = self._marks.end_s
        return Scene(
            now_s=self._clients.now_s if end_s is None else end_s,
            lasts_s=self._options.seconds if end_s is None else end_s,
            seen=self._clients.seen,
            marks=self._marks,
            regions=REGIONS,
            states=[self._fleet.state(each) for each in self._deployments],
        )

    async def happen(self, screen: Screen) -> None:
        """All is well, the region is killed, it comes back, its clients go back to it."""
        clients, marks, seconds = self._clients, self._marks, self._options.seconds
        asking = asyncio.create_task(clients.play(self._asks()))
        try:
            await self._watch_until(max(BEFORE * seconds, BEFORE_S), screen)
            marks.killed_s = clients.now_s
            await self._region.kill()
            await self._watch_until(marks.killed_s + OUT * seconds, screen)
            await self._region.start()
            marks.back_s = clients.now_s
            await self._watch_until(LONGEST * seconds, screen)
        finally:
            marks.end_s = clients.now_s
            clients.asking = False
        await asking

    async def _watch_until(self, at_s: float, screen: Screen) -> None:
        """Note when the breakers opened and closed; over early when the clients have been back for long enough."""
        clients = self._clients
        while clients.now_s < min(at_s, self._done_s()):
            self._note(clients.now_s)
            screen.step()
            await clients.clock.sleep(LOOK_S)

    def _note(self, now_s: float) -> None:
        marks = self._marks
        closed = [each.state == "closed" for each in self._states()]
        if marks.killed_s is not None and marks.ejected_s is None and not any(closed):
            marks.ejected_s = now_s
        if None not in {marks.back_s, marks.ejected_s} and marks.healed_s is None and any(closed):
            marks.healed_s = now_s
        if marks.returned_s is None:
            marks.returned_s = returned_at_s(self._clients.seen, marks)

    def _states(self) -> list[MemberState]:
        """Those of the region."""
        mine = [each for each in self._deployments if each.region == self._region.name]
        return [self._fleet.state(each) for each in mine]

    def _done_s(self) -> float:
        """When there is nothing more to wait for."""
        returned_s = self._marks.returned_s
        return inf if returned_s is None else returned_s + AFTER * self._options.seconds

    def _asks(self) -> Iterator[tuple[Ask, str]]:
        """Every question with the region it comes from, by turns."""
        rng = SystemRng(self._options.seed)
        asks = workload(load_languages(), int(LONGEST * self._options.seconds * RATE * 1.2), rng, rate=RATE)
        return zip(asks, cycle(REGIONS), strict=False)
