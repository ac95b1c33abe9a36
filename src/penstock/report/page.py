"""One page of HTML: it loads nothing, runs nothing, and says in its own policy that it may not.

Whatever a client named (models, keys, teams, tags) is escaped where it is put in: by the engine, not by care.
"""

from functools import cache, partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from penstock.core.budget_report import BudgetStanding
from penstock.core.money import DECIMALS, format_amount
from penstock.report import wording
from penstock.report.charts import AXIS, LABELS, ROW, WIDTH, draw_columns, draw_waterfall, position
from penstock.report.figures import TOPS, Figures

_TITLES: Final = {"model": "Models", "key": "Keys", "team": "Teams", "tag": "Tags"}


def render(figures: Figures, top: int) -> str:
    """The page. ``top``: how many keys, teams, models, tags and budgets it lists at most."""
    highest = max(figures.total.cost_nano, figures.total.baseline_nano)
    template = _environment(wording.digits_for(highest)).get_template("report.html")
    return template.render(_values(figures, top))


@cache
def _environment(digits: int) -> Environment:
    """``digits``: the decimals that amounts are shown with."""
    environment = Environment(
        loader=PackageLoader("penstock.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "money": partial(wording.money, digits=digits),
        "fine_money": wording.fine_money,
        "exact_money": partial(format_amount, digits=DECIMALS),
        "axis": wording.amount_on_axis,
        "count": wording.count,
        "seconds": wording.seconds,
        "named": wording.named,
        "step": wording.step,
        "position": position,
        "limit": limit_text,
    }
    environment.globals["percent"] = wording.percent
    return environment


def limit_text(standing: BudgetStanding, amount: int) -> str:
    """An amount in the budget's unit."""
    return wording.money(amount, 2) if standing.budget.unit == "money" else wording.count(amount)


def _values(figures: Figures, top: int) -> dict[str, Any]:
    query, total = figures.query, figures.total
    zone = ZoneInfo(query.timezone)
    return {
        "figures": figures,
        "total": total,
        "with_penstock": total.baseline_nano - total.saved_nano,
        "since": wording.instant(query.since, zone) if query.since else "",
        "until": wording.instant(query.until, zone),
        "made_at": wording.instant(figures.made_at, zone),
        "waterfall": draw_waterfall(figures.steps),
        "columns": draw_columns(figures.periods),
        "size": {"width": WIDTH, "labels": LABELS, "axis": AXIS, "row": ROW},
        "tops": [(_TITLES[by], by, figures.spend[by]) for by in TOPS],
        "top": top,
        "over": any(each.cost_nano > each.baseline_nano for each in figures.periods),
        "kept": sum(figures.outcomes.values()),
    }
