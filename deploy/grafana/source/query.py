"""PromQL as panels ask it: filtered by what is chosen above, rates over the interval that Grafana finds fitting."""

from typing import Final, NamedTuple

JOB: Final = 'job=~"$job"'
MODEL: Final = f'{JOB},model=~"$model"'
INSTANCE: Final = f'{JOB},instance=~"$instance"'
DEPLOYMENT: Final = f'{JOB},deployment=~"$deployment"'
BUDGET: Final = f'{JOB},budget=~"$budget"'

_SERVES: Final = f'max by (model, deployment) (penstock_deployment_info{{{MODEL},deployment=~"$deployment"}})'
"""1 for each deployment of each model that is chosen."""

RANGE: Final = "[$__range]"
"""The time that the dashboard shows. What is asked over it has one value, not one at each moment."""

_PER_HOUR: Final = 3600


class Query(NamedTuple):
    """One expression. ``legend``: of each series of it; ``exemplars``: with single requests as dots."""

    expr: str
    legend: str
    exemplars: bool = False


def rate(counter: str, where: str, by: str = "") -> str:
    """Per second, summed by ``by``."""
    return f"sum{_by(by)} (rate({counter}{{{where}}}[$__rate_interval]))"


def per_hour(counter: str, where: str, by: str = "") -> str:
    """The same per hour: of money."""
    return f"{rate(counter, where, by)} * {_PER_HOUR}"


def in_range(counter: str, where: str, by: str = "") -> str:
    """What was added in the time that the dashboard shows."""
    return f"sum{_by(by)} (increase({counter}{{{where}}}{RANGE}))"


def or_zero(expr: str) -> str:
    """0 where there is nothing at all: of what seldom happens, or never."""
    return f"{expr} or on () vector(0)"


def share(part: str, whole: str) -> str:
    """A ratio, and nothing while ``whole`` is 0."""
    return f"({part}) / ({whole} > 0)"


def money_share(money: str, count: str) -> str:
    """Money by currency per one of something without a currency."""
    return f"({money}) / on () group_left () ({count} > 0)"


def of_models(by_deployment: str) -> str:
    """A figure of deployments, for each model that they serve."""
    return f"{_SERVES} * on (deployment) group_left () ({by_deployment})"


def by_model(by_deployment: str) -> str:
    """The same, summed over the deployments of each model."""
    return f"sum by (model) ({of_models(by_deployment)})"


def quantile(at: float, histogram: str, where: str, by: str = "") -> str:
    """Of the observations in the interval; nothing while there are none."""
    inside = f"sum{_by(f'{by}, le' if by else 'le')} (rate({histogram}_bucket{{{where}}}[$__rate_interval]))"
    return f"histogram_quantile({at}, {inside}) >= 0"


def quantiles(histogram: str, where: str) -> tuple[Query, ...]:
    """P50, P95 and P99, with exemplars: single requests that took so long."""
    return tuple(
        Query(quantile(at, histogram, where), f"P{at * 100:.0f}", exemplars=at == EXEMPLARS_AT)
        for at in (0.5, EXEMPLARS_AT, 0.99)
    )


EXEMPLARS_AT: Final = 0.95
"""One query of a panel asks for exemplars: the three have the same."""


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
