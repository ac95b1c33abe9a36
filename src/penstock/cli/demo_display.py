"""What the demo shows: its progress while the traffic runs, then the result."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import StringIO
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from penstock.cli.demo_report import Leg, Line, Month, comparison, money, month, percent, time, whole_money
from penstock.cli.demo_traffic import Tally

PLAIN_STEPS = 10
"""Progress lines where there is no terminal."""
CAPTURE_COLUMNS = 92

_WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)

NOT_CLAIMED = (
    "Only repeated questions are counted here. Prompt layout, cheaper models, off-peak hours and batches are other "
    "levers: what they can save is not claimed."
)


class Progress:
    """The live display: a bar and both ways side by side; plain lines where the output is no terminal."""

    def __init__(self, console: Console, requests: int, before: Tally, after: Tally) -> None:
        """``after.cost_nano`` is kept up to date by whoever reads the ledger."""
        self._console = console
        self._requests = requests
        self._before = before
        self._after = after
        self._printed = 0

    def live(self) -> AbstractContextManager[object]:
        """Shown while the block runs."""
        if not self._console.is_terminal:
            return nullcontext()
        return Live(get_renderable=self.picture, console=self._console, refresh_per_second=8, transient=True)

    def step(self) -> None:
        """Without a terminal: a line for every tenth of the traffic."""
        if self._console.is_terminal:
            return
        steps = PLAIN_STEPS * self._after.done // max(1, self._requests)
        if steps > self._printed:
            self._printed = steps
            self._console.print(self.line(), soft_wrap=True, highlight=False)

    def line(self) -> str:
        """The state in one line."""
        before, after = self._before, self._after
        saved_nano = before.cost_nano - after.cost_nano
        return (
            f"{after.done}/{self._requests} questions, {percent(after.hits, after.done)} from the cache, "
            f"cost {money(after.cost_nano)} instead of {money(before.cost_nano)} "
            f"({percent(saved_nano, before.cost_nano)} saved), P95 {time(after.p95_s)}"
        )

    def picture(self) -> RenderableType:
        """The state as a bar and a table."""
        before, after = self._before, self._after
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("", "without Penstock", "with Penstock"):
            table.add_column(name, justify="right" if name else "left")
        for row in (
            ("answered", f"{before.answered}", f"{after.answered}"),
            ("cost", money(before.cost_nano), money(after.cost_nano)),
            ("saved", "", percent(before.cost_nano - after.cost_nano, before.cost_nano)),
            ("from the cache", "", percent(after.hits, after.done)),
            ("P95 time to answer", time(before.p95_s), time(after.p95_s)),
            ("errors", f"{before.errors}", f"{after.errors}"),
        ):
            table.add_row(*row)
        bar = ProgressBar(total=self._requests, completed=after.done, width=60)
        return Group(bar, Text(f"{after.done} of {self._requests} questions"), table)


def result(before: Leg, after: Leg, repeats_nano: int, levers: str) -> list[RenderableType]:
    """The table, the month, and the small print. ``repeats_nano``: what repeated questions cost before."""
    return [
        comparison_table(comparison(before, after), before.requests),
        month_text(month(before, after)),
        Text(small_print(percent(repeats_nano, before.cost_nano), levers or "no lever"), style="dim"),
        Text(NOT_CLAIMED, style="dim"),
    ]


def small_print(share_of_bill: str, levers: str) -> str:
    """Why two questions of five are not two fifths of the bill, and what the ledger says."""
    return (
        f"Repeated questions were {share_of_bill} of the bill, not 40 %: they carry no order record, and the "
        f"provider's own prefix cache makes a repeat cheaper. The ledger books the saving to {levers}; it prices a "
        "repeat like its first asking."
    )


def comparison_table(lines: Sequence[Line], requests: int) -> Table:
    """Before and after, for the person who pays."""
    title = f"{requests:,} questions to a shop's help desk, two of five asked before"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.ROUNDED)
    table.add_column("")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    table.add_column("change", justify="right")
    for line in lines:
        colour = "green" if line.gain > 0 else "red" if line.gain < 0 else ""
        table.add_row(line.what, line.before, Text(line.after, colour), line.change)
    return table


def month_text(found: Month) -> Text:
    """What the measured ratio makes of the founding story's month."""
    return Text.assemble(
        f"\nA month of {whole_money(found.before)} ({found.requests / 1e6:.1f} million questions like these) becomes ",
        (whole_money(found.after), "bold green"),
        f": {whole_money(found.saved)} saved, every month.\n",
    )


def capture(path: Path, draw: Callable[[Console], None], title: str = "penstock demo") -> None:
    """Write what ``draw`` prints as a picture (SVG) that loads nothing from anywhere."""
    console = Console(
        record=True, width=CAPTURE_COLUMNS, force_terminal=True, color_system="truecolor", file=StringIO()
    )
    draw(console)
    picture = console.export_svg(title=title)
    path.write_text(_WEB_FONT.sub("", picture), "utf-8")
