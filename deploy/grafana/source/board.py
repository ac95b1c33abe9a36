"""A dashboard: rows of panels under the same choices, links and marks as all the others."""

import json
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana.source.limit import RED
from deploy.grafana.source.panel import SOURCE, AnyPanel
from deploy.grafana.source.query import JOB

TAG: Final = "penstock"
_ALL: Final = VariableOption(selected=True, text=["All"], value=["$__all"])


_SAYS: Final = {"titleFormat": "{{alertname}}", "textFormat": "{{severity}}", "tagKeys": "severity"}
"""What a mark of an alert says. Prometheus's data source reads it; the SDK's annotations have no such fields."""


class Choice(NamedTuple):
    """What may be chosen above the panels: values that a label has."""

    name: str
    label: str
    series: str


INSTALLATION: Final = Choice("job", "Installation", "penstock_build_info")
"""``job`` in Prometheus: one installation, its nodes summed."""
NODE: Final = Choice("instance", "Node", f"penstock_build_info{{{JOB}}}")
MODEL: Final = Choice("model", "Model", f"penstock_requests_total{{{JOB}}}")
DEPLOYMENT: Final = Choice("deployment", "Deployment", f'penstock_deployment_info{{{JOB},model=~"$model"}}')
"""Of the models that are chosen."""
BUDGET: Final = Choice("budget", "Budget", f"penstock_budget_used_ratio{{{JOB}}}")


class Board(NamedTuple):
    """One dashboard. ``uid`` is its file's name and the end of its address."""

    uid: str
    title: str
    text: str
    choices: tuple[Choice, ...]
    rows: tuple[tuple[str, tuple[AnyPanel, ...]], ...]

    def json(self) -> str:
        """As Grafana reads it; the same board gives the same text."""
        made = json.loads(json.dumps(self._made(), cls=JSONEncoder))
        for mark in made["annotations"]["list"]:
            mark.update(_SAYS)
        return json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def _made(self) -> dashboard.Dashboard:
        board = Dashboard(self.title).uid(self.uid).description(self.text).tags([TAG]).timezone("browser").readonly()
        board.time("now-6h", "now").refresh("30s").tooltip(DashboardCursorSync.CROSSHAIR).version(1)
        board.link(_other_boards()).annotation(_alerts()).with_variable(_source())
        for choice in (INSTALLATION, *self.choices):
            board.with_variable(_variable(choice))
        for title, panels in self.rows:
            board.with_row(Row(title))
            for panel in panels:
                board.with_panel(panel)
        built = board.build()
        for number, each in enumerate(built.panels or (), 1):
            each.id_val = number
        return built


def _other_boards() -> DashboardLink:
    """From each dashboard to the others, with what is chosen and the same time."""
    link = DashboardLink("Penstock").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(as_dropdown=False)
    return link.include_vars(include_vars=True).keep_time(keep_time=True)


def _alerts() -> AnnotationQuery:
    """A mark where an alert fires."""
    firing = 'ALERTS{alertname=~"Penstock.*",alertstate="firing",severity=~"critical|warning"}'
    expr = f"sum by (alertname, severity) ({firing})"
    return AnnotationQuery().name("Alerts").datasource(SOURCE).enable(enable=True).icon_color(RED).expr(expr)


def _source() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _variable(choice: Choice) -> QueryVariable:
    query: dict[str, object] = {"query": f"label_values({choice.series}, {choice.name})", "refId": choice.name}
    variable = QueryVariable(choice.name).label(choice.label).datasource(SOURCE).query(query).current(_ALL)
    variable.multi(multi=True).include_all(include_all=True).all_value(".*").sort(VariableSort.ALPHABETICAL_ASC)
    return variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
