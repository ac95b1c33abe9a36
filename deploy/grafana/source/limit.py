"""Where a panel turns yellow or red: where the alert of deploy/prometheus/rules does."""

from typing import Final, NamedTuple

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.dashboard import Threshold, ThresholdsMode

GREEN: Final = "green"
YELLOW: Final = "yellow"
RED: Final = "red"


class Limit(NamedTuple):
    """A figure that an alert looks at. A test holds the number to the alert's expression, or to thresholds.yaml."""

    alert: str
    above: float
    color: str = YELLOW


Limits = tuple[Limit, ...]

ERROR_RATIO: Final[Limits] = (Limit("PenstockErrorRatioHigh", 0.05, RED),)
AVAILABILITY_BURN: Final[Limits] = (
    Limit("PenstockAvailabilityBurnSlow", 3),
    Limit("PenstockAvailabilityBurnFast", 14.4, RED),
)
FIRST_BYTE_BURN: Final[Limits] = (
    Limit("PenstockFirstByteBurnSlow", 3),
    Limit("PenstockFirstByteBurnFast", 14.4, RED),
)
LATENCY: Final[Limits] = (Limit("PenstockLatencyHigh", 5),)
FIRST_BYTE: Final[Limits] = (Limit("PenstockFirstByteSlow", 30),)
OVERHEAD: Final[Limits] = (Limit("PenstockOverheadHigh", 0.5),)
CAPACITY: Final[Limits] = (Limit("PenstockNearCapacity", 0.8),)
QUEUE: Final[Limits] = (Limit("PenstockQueueDeep", 1000, RED),)
BUDGET: Final[Limits] = (Limit("PenstockBudgetNearlySpent", 0.8), Limit("PenstockBudgetSpent", 0.99, RED))
PROJECTED: Final[Limits] = (Limit("PenstockBudgetProjectedOverrun", 1.1),)
DRIFT: Final[Limits] = (Limit("PenstockLedgerDrift", 0.05),)
PRICE_AGE: Final[Limits] = (Limit("PenstockPricesOld", 60 * 86400),)
UNWRITTEN: Final[Limits] = (Limit("PenstockLedgerNotDraining", 60, RED),)
SPOOLED: Final[Limits] = (Limit("PenstockLedgerNotDraining", 64 * 1024 * 1024, RED),)
LOST: Final[Limits] = (Limit("PenstockLedgerRowsLost", 0, RED),)

_JUST_ABOVE: Final = 1e-9
"""Grafana colours from a threshold on, and what is above 0 is not 0."""


def steps(limits: Limits) -> ThresholdsConfig:
    """Green, and what each limit says from there on."""
    colors = [Threshold(value=None, color=GREEN)]
    colors += [Threshold(value=each.above or _JUST_ABOVE, color=each.color) for each in limits]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(colors)
