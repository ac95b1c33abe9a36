"""What ``penstock demo --regions`` shows: a timeline of both regions while it runs, then what the clients saw."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from penstock.cli.demo_regions_report import Marks, Report, Seen, heads, report, story, table
from penstock.cli.demo_report import quantile, time
from penstock.pipeline.fleet import MemberState

COLUMNS: Final = 48
"""Of the timeline."""
LATELY_S: Final = 4.0
"""What the figures beside it are of."""
LEVELS: Final = "▁▂▃▄▅▆▇█"
NONE: Final = "·"
_GAP: Final = 2
_GRID: Final[Sequence[JustifyMethod]] = ("left", "left", "right")
_COLOURS: Final = ("green", "cyan")
_STATES: Final = {
    "closed": ("in", "green"),
    "open": ("out", "bold red"),
    "half_open": ("asked again, one request at a time", "yellow"),
}
NOT_SHOWN: Final = (
    "The regions are two processes on this machine, and the kill is a SIGKILL: connections break, new ones are "
    "refused. The distance between regions is not simulated. A request counts in the column in which it ended: those "
    "under way when the clients went back were still answered elsewhere."
)


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see now."""

    now_s: float
    lasts_s: float
    """How long it takes, as far as one knows."""
    seen: Sequence[Seen]
    marks: Marks
    regions: Sequence[str]
    states: Sequence[MemberState]


class Screen:
    """The live display; plain lines where the output is no terminal."""

    def __init__(self, console: Console, look: Callable[[], Scene]) -> None:
        """``look``: what there is to see now; it may be asked from another thread."""
        self._console = console
        self._look = look
        self._told = ""

    def live(self) -> AbstractContextManager[object]:
        """Shown while the block runs."""
        if not self._console.is_terminal:
            return nullcontext()
        return Live(console=self._console, refresh_per_second=5, transient=True, get_renderable=self._frame)

    def step(self) -> None:
        """Without a terminal: a line whenever something has happened."""
        scene = self._look()
        told = headline(scene.marks)
        if not self._console.is_terminal and told != self._told:
            self._told = told
            self._console.print(line(scene), soft_wrap=True, highlight=False)

    def _frame(self) -> RenderableType:
        return frame(self._look())


def headline(marks: Marks) -> str:
    """What has happened last."""
    title = marks.region.title()
    if marks.returned_s is not None:
        return f"{title} is back, and its clients with it"
    if marks.healed_s is not None:
        return f"{title} is well again; its clients go back when it stays so"
    if marks.back_s is not None:
        return f"{title} is back; single requests find out whether it is well"
    if marks.ejected_s is not None:
        return f"{title} is out: its breakers are open, its clients are answered elsewhere"
    return f"{title} is killed" if marks.killed_s is not None else "Both regions serve their own clients"


def line(scene: Scene) -> str:
    """The state in one line."""
    failed = sum(bool(each.failure) for each in scene.seen)
    return f"{scene.now_s:5.1f} s  {headline(scene.marks)} ({len(scene.seen)} requests so far, {failed} failed)"


def frame(scene: Scene) -> RenderableType:
    """The whole screen."""
    out = scene.marks.killed_s is not None and scene.marks.healed_s is None
    head = Text.assemble(
        (f"{scene.now_s:4.0f} s  ", "dim"), (headline(scene.marks), "bold red" if out else "bold green")
    )
    return Group(head, timeline(scene), clients_table(scene), fleet_table(scene))


def timeline(scene: Scene) -> RenderableType:
    """Answers per second by each region, what failed, and what happened when."""
    step_s = max(scene.lasts_s, scene.now_s, 1.0) / COLUMNS
    shown = min(COLUMNS, int(scene.now_s / step_s) + 1)
    answered = [each for each in scene.seen if not each.failure]
    by_region = {
        region: _counted((each for each in answered if each.served_by == region), step_s) for region in scene.regions
    }
    failed = _counted((each for each in scene.seen if each.failure), step_s)
    most = max((count for counts in by_region.values() for count in counts.values()), default=1)
    labels = {region: f"answered by {region.title()}" for region in scene.regions}
    grid = Table.grid(padding=(0, _GAP))
    for justify in _GRID:
        grid.add_column(justify=justify)
    for region, colour in zip(scene.regions, _COLOURS, strict=False):
        bars = spark(by_region[region], shown, most)
        grid.add_row(labels[region], Text(bars.ljust(COLUMNS), colour), _amount(scene, region))
    bars = spark(failed, shown, most)
    grid.add_row("failed", Text(bars.ljust(COLUMNS), "red"), f"{failed.total():,}")
    below = Text(" " * (max(map(len, labels.values())) + _GAP), no_wrap=True).append_text(axis(scene.marks, step_s))
    return Group(grid, below)


def _amount(scene: Scene, region: str) -> str:
    """How many it answers per second now; when it is over, how many it has answered."""
    answered = [each for each in scene.seen if each.served_by == region and not each.failure]
    if scene.marks.end_s is not None:
        return f"{len(answered):,}"
    return f"{sum(each.ended_s > scene.now_s - LATELY_S for each in answered) / LATELY_S:.1f}/s"


def _counted(seen: Iterable[Seen], step_s: float) -> Counter[int]:
    """How many ended in each step."""
    return Counter(int(each.ended_s / step_s) for each in seen)


def spark(counts: Counter[int], columns: int, most: int) -> str:
    """A column per step, as high as its count is of ``most``."""
    heights = (-(-len(LEVELS) * counts[column] // max(1, most)) for column in range(columns))
    return "".join(LEVELS[height - 1] if height else NONE for height in heights)


def axis(marks: Marks, step_s: float) -> Text:
    """What happened, below the column it happened in."""
    text = Text()
    for at_s, word, style in (
        (marks.killed_s, "▲ killed", "bold red"),
        (marks.back_s, "▲ back", "bold yellow"),
        (marks.healed_s, "▲ well", "bold green"),
        (marks.returned_s, "▲ clients back", "bold green"),
    ):
        if at_s is not None:
            text.append(" " * max(1, int(at_s / step_s) - len(text)) if text else " " * int(at_s / step_s))
            text.append(word, style)
    return text


def clients_table(scene: Scene) -> Table:
    """What the clients of each region saw in the last seconds."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("clients in", "req/s", "failed", "first byte P50", "P95", "answered by"):
        shown.add_column(name, justify="left" if name in {"clients in", "answered by"} else "right")
    for region in scene.regions:
        mine = [each for each in scene.seen if each.home == region]
        lately = [each for each in mine if each.ended_s > scene.now_s - LATELY_S]
        waits_s = [each.first_byte_s for each in lately if each.first_byte_s is not None]
        served = Counter(each.served_by for each in lately if not each.failure)
        shown.add_row(
            region.title(),
            f"{len(lately) / LATELY_S:.1f}",
            f"{sum(bool(each.failure) for each in mine)}",
            time(quantile(waits_s, 50)) if waits_s else "-",
            time(quantile(waits_s, 95)) if waits_s else "-",
            ", ".join(f"{each.title()} {served[each] / served.total():.0%}" for each in scene.regions if served[each]),
        )
    return shown


def fleet_table(scene: Scene) -> Table:
    """The deployments, as their breakers have them."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("deployment", "calls under way", "breaker"):
        shown.add_column(name, justify="right" if name == "calls under way" else "left")
    for state in scene.states:
        word, style = _STATES.get(state.state, (state.state, "yellow"))
        again = f", asked again in {state.back_in_s:.1f} s" if state.state == "open" and state.back_in_s else ""
        shown.add_row(state.id, f"{state.in_flight}", Text(word + again, style))
    return shown


def result(scene: Scene) -> list[RenderableType]:
    """The timeline once more, the table, the same in sentences, and the small print."""
    found = report(scene.seen, scene.marks, scene.regions)
    return [
        timeline(scene),
        Text(),
        clients_saw(found),
        *(Text(sentence) for sentence in story(found)),
        Text(f"\n{NOT_SHOWN}", style="dim"),
    ]


def clients_saw(found: Report) -> Table:
    """For the person who asks what an outage costs."""
    title = f"What the clients saw while {found.marks.region.title()} was killed and brought back"
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.ROUNDED)
    shown.add_column("")
    for name in heads(found):
        shown.add_column(name, justify="right")
    for position, line_ in enumerate(lines := table(found)):
        ends = position + 1 < len(lines) and not lines[position + 1].cells
        shown.add_row(line_.what, *line_.cells, end_section=ends, style="" if line_.cells else "bold")
    return shown
