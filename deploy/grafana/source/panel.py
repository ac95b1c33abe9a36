"""The kinds of panels: each with a title, a description, a unit and named series."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    FieldColorModeId,
    Panel,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

from deploy.grafana.source.limit import GREEN, RED, Limits, steps
from deploy.grafana.source.query import RANGE, Query
from deploy.grafana.source.unit import COUNT, MONEY, SECONDS, signs

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
AnyPanel = Builder[Panel]

_P = TypeVar("_P", bargauge.Panel, heatmap.Panel, stat.Panel, statetimeline.Panel, timeseries.Panel)

_GRAPH_H: Final = 8
_FIGURE_H: Final = 4
_UP_OR_OUT: Final[list[ValueMapping]] = [
    ValueMap(options={
        "0": ValueMappingResult(text="out", color=RED, index=0),
        "1": ValueMappingResult(text="up", color=GREEN, index=1),
    })
]  # fmt: skip


def graph(
    title: str, text: str, unit: str, *queries: Query, span: int = 12, limits: Limits = (), stacked: bool = False
) -> AnyPanel:
    """Lines over time; ``limits`` are dashed lines."""
    panel = _made(timeseries.Panel(), title, text, unit, queries).span(span).height(_GRAPH_H)
    panel.min(0).line_width(1).fill_opacity(30 if stacked else 8).show_points(VisibilityMode.NEVER).legend(_legend())
    panel.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if limits:
        panel.thresholds(steps(limits))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    return panel


def figure(title: str, text: str, unit: str, *queries: Query, span: int = 4, limits: Limits = ()) -> AnyPanel:
    """The last value, large, coloured by ``limits``, before a small line of its past."""
    panel = _made(stat.Panel(), title, text, unit, queries).span(span).height(_FIGURE_H)
    panel.graph_mode(BigValueGraphMode.AREA).reduce_options(_last())
    if limits:
        return panel.thresholds(steps(limits)).color_mode(BigValueColorMode.VALUE)
    return panel.color_mode(BigValueColorMode.NONE)


def bars(title: str, text: str, unit: str, *queries: Query, span: int = 8, limits: Limits = ()) -> AnyPanel:
    """The last value of each series as a bar, ``limits`` colour it."""
    panel = _made(bargauge.Panel(), title, text, unit, queries).span(span).height(_GRAPH_H)
    panel.min(0).orientation(VizOrientation.HORIZONTAL).reduce_options(_last())
    if limits:
        return panel.thresholds(steps(limits))
    return panel.color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))


def states(title: str, text: str, *queries: Query, span: int = 12) -> AnyPanel:
    """Up or out, over time."""
    panel = _made(statetimeline.Panel(), title, text, "bool_on_off", queries).span(span).height(_GRAPH_H)
    return panel.mappings(_UP_OR_OUT).merge_values(merge_values=True).show_value(VisibilityMode.NEVER)


def spread(title: str, text: str, histogram: str, where: str, *, span: int = 12) -> AnyPanel:
    """All observations of a histogram of seconds: the darker, the more."""
    expr = f"sum by (le) (increase({histogram}_bucket{{{where}}}[$__rate_interval]))"
    panel = _made(heatmap.Panel(), title, text, COUNT, ()).span(span).height(_GRAPH_H)
    panel.with_target(_target("A", Query(expr, "{{le}}")).format(PromQueryFormat.HEATMAP))
    return panel.calculate(calculate=False).y_axis(heatmap.YAxisConfig().unit(SECONDS))


def _made(panel: _P, title: str, text: str, unit: str, queries: Sequence[Query]) -> _P:
    panel.title(title).description(text).datasource(SOURCE).unit(unit).no_value("none")
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(_target(letter, query))
    if unit == MONEY:
        for pattern, properties in signs():
            panel.override_by_regexp(pattern, properties)
    return panel


def _target(letter: str, query: Query) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(letter).datasource(SOURCE).expr(query.expr).legend_format(query.legend)
    target.exemplar(query.exemplars).editor_mode(QueryEditorMode.CODE)
    return target.instant() if RANGE in query.expr else target.range()


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    return legend.show_legend(show_legend=True)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().values(values=False).calcs(["lastNotNull"])
