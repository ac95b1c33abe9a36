"""What ``penstock top`` shows: the gateway in a few lines, and a row for each deployment."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from penstock.cli.fitted import GAP, Column
from penstock.core.breaker import State
from penstock.core.fleet_report import DeploymentRow, FleetReport, FleetTotal, Rates
from penstock.core.recent import per_s

NOTHING: Final = "-"
_OTHER_LINES: Final = 7
"""That a frame has beside its figures and its rows: the head, the table's, what is left out, and trouble."""
_LEAST_ROWS: Final = 3
_MANY: Final = 0.1
"""The share of failed calls that is worth a colour."""
_BETWEEN: Final = "   "
_WIDEST: Final = 100
"""The columns of the terminal that figures may take in a line."""
_MINOR: Final = ("region", "share", "failed", "latency", "calls")
"""The columns that a narrow terminal goes without, the first of them first."""

Pair = tuple[str, str]
"""A figure's name and its value."""


def frame(
    report: FleetReport, where: str, width: int, *, height: int | None = None, trouble: str = ""
) -> RenderableType:
    """One picture. ``width``, ``height``: of the terminal, None = as many lines as it takes.

    ``trouble``: why it is an old picture.
    """
    total, seconds = report.total, report.total.last.seconds
    head = Text.assemble(("penstock", "bold"), f"  {where}  ", (f"last {seconds:.0f} s", "dim"))
    figures = [*_packed(_rates(total.last), width), *_packed(_load(total), width)]
    rows = _fitting(report.rows, None if height is None else height - len(figures) - _OTHER_LINES)
    parts: list[RenderableType] = [head, *figures, Text("")]
    parts.append(_table(rows, seconds, width) if rows else Text("No deployment is configured.", "dim"))
    if len(rows) < len(report.rows):
        parts.append(Text(f"and {len(report.rows) - len(rows)} more", "dim"))
    if trouble:
        parts.append(Text(f"\n{trouble}", "bold red"))
    return Group(*parts)


def state_text(row: DeploymentRow) -> str:
    """For people, to whom a breaker's ``closed`` sounds like its opposite."""
    state = State(row.state.removeprefix("account_"))
    if state is State.CLOSED:
        return "up"
    what = f"out {max(1, round(row.back_in_s or 0))} s" if state is State.OPEN else "on trial"
    return f"account {what}" if row.state.startswith("account_") else what


def _rates(last: Rates) -> list[Pair]:
    cost, saved = Decimal(last.cost_per_hour), Decimal(last.saved_per_hour)
    share = f" ({_percent(float(saved / (cost + saved)))})" if saved else ""
    return [
        ("requests", f"{_count(last.requests_per_s)}/s"),
        ("tokens", f"{_count(last.tokens_per_s)}/s"),
        ("cost", f"{_money(cost)} {last.currency}/h"),
        ("saved", f"{_money(saved)} {last.currency}/h{share}"),
        ("hits", NOTHING if last.hit_rate is None else _percent(last.hit_rate)),
    ]


def _load(total: FleetTotal) -> list[Pair]:
    last = total.last
    share = f" ({_percent(last.errors_per_s / last.requests_per_s)})" if last.errors_per_s else ""
    return [
        ("errors", f"{_count(last.errors_per_s)}/s{share}"),
        ("refused", f"{_count(last.shed_per_s)}/s"),
        ("active", f"{total.active}"),
        ("serving", f"{total.serving} of {total.limit}"),
        ("waiting", f"{total.waiting}"),
    ]


def _packed(pairs: Sequence[Pair], width: int) -> list[Text]:
    """As many to a line as fit, and no pair broken."""
    lines = [Text()]
    for name, value in pairs:
        pair = Text.assemble((f"{name} ", "dim"), (value, "bold"))
        if lines[-1] and len(lines[-1]) + len(_BETWEEN) + len(pair) > min(width, _WIDEST):
            lines.append(Text())
        lines[-1].append_text(Text(_BETWEEN if lines[-1] else "").append_text(pair))
    return lines


def _fitting(rows: Sequence[DeploymentRow], room: int | None) -> Sequence[DeploymentRow]:
    """All, in the order of the config; where there is no room for all, those in trouble and the busiest first."""
    if room is None or len(rows) <= room:
        return rows
    ordered = sorted(rows, key=lambda row: (row.state == State.CLOSED, -row.calls))
    return ordered[: max(_LEAST_ROWS, room)]


def _table(rows: Sequence[DeploymentRow], seconds: float, width: int) -> Table:
    """Without the columns that it is too narrow for, and that of regions where there are none."""
    columns = _columns(rows, seconds)
    absent = [name for name in _MINOR if not any(columns[name].cells)]
    for name in (*absent, *_MINOR):
        if name in absent or sum(each.widest + GAP for each in columns.values()) - GAP > width:
            columns.pop(name, None)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, GAP - 1, 0, 0))
    for name, column in columns.items():
        table.add_column(name, justify="right" if column.numeric else "left", no_wrap=True)
    for place, row in enumerate(rows):
        table.add_row(*(Text(column.cells[place]) for column in columns.values()), style=_colour(row))
    return table


def _columns(rows: Sequence[DeploymentRow], seconds: float) -> dict[str, Column]:
    texts = {
        "deployment": [row.deployment for row in rows],
        "region": [row.region for row in rows],
        "state": [state_text(row) for row in rows],
    }
    figures = zip(*(_figures(row, seconds) for row in rows), strict=True)
    numbers = dict(zip(("in flight", "latency", "calls", "share", "failed"), figures, strict=True))
    return {name: Column(name, cells, "", name in numbers) for name, cells in {**texts, **numbers}.items()}


def _figures(row: DeploymentRow, seconds: float) -> tuple[str, ...]:
    return (
        f"{row.in_flight}/{row.limit}",
        NOTHING if row.latency_s is None else _time(row.latency_s),
        f"{_count(per_s(row.calls, seconds))}/s",
        NOTHING if row.share is None else _percent(row.share),
        _percent(row.failures / row.calls) if row.calls else NOTHING,
    )


def _colour(row: DeploymentRow) -> str:
    state = State(row.state.removeprefix("account_"))
    if state is State.OPEN:
        return "red"
    return "yellow" if state is State.HALF_OPEN or row.failures > _MANY * row.calls else ""


def _count(value: float) -> str:
    """Small ones with a decimal, large ones in groups of three digits."""
    return f"{value:,.0f}" if value >= 100 or not value else f"{value:.1f}"  # noqa: PLR2004 - three digits say enough


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.4f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
