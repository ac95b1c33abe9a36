"""Units of figures, in Grafana's names. Money is in the book currency, which each series names itself."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

BYTES: Final = units.BytesIEC
COUNT: Final = units.Short
MONEY: Final = "currency:¤ "
"""Of a currency that is not in ``SIGNS``; its code stands in the legend."""
RATIO: Final = units.PercentUnit
REQUESTS: Final = units.RequestsPerSecond
SECONDS: Final = units.Seconds
TOKENS_PER_S: Final = "si:tokens/s"

SIGNS: Final[Mapping[str, str]] = MappingProxyType(
    {"CNY": "currency:¥", "EUR": units.Euro, "GBP": units.Pounds, "JPY": units.Yen, "USD": units.Dollars}
)
"""A series of money has its currency in its legend, and from there its sign."""


def signs() -> list[tuple[str, list[DynamicConfigValue]]]:
    """A pattern of legends and the unit of these, for each currency that has a sign."""
    return [(f"/\\b{code}\\b/", [DynamicConfigValue(id_val="unit", value=unit)]) for code, unit in SIGNS.items()]
