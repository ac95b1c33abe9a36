"""The fleet as it is shown: by the admin API, and by whoever asks it. Seconds, and amounts as decimal strings."""

from typing import Final

import msgspec

from penstock.core.money import DECIMALS, format_amount
from penstock.core.recent import Sums, per_s

_HOUR_S: Final = 3600
_DIGITS: Final = 6
"""Of rates and seconds: more is noise."""


class DeploymentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment now, and its calls in the last ``Rates.seconds``."""

    deployment: str
    provider: str
    models: tuple[str, ...]
    """Those that it serves, aliases left out."""
    region: str
    state: str
    """``closed open half_open``, of its breaker; with ``account_`` before it, of its account's."""
    in_flight: int
    limit: int
    latency_s: float | None
    usual_s: float | None
    back_in_s: float | None
    """When it is asked again; None = it is in."""
    calls: int
    failures: int
    """By an error of the provider, or a deadline, whoever set it."""
    share: float | None
    """Of all calls; None = there were none."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway did in the last ``seconds``."""

    seconds: float
    requests_per_s: float
    """That ended."""
    errors_per_s: float
    """Those of them that did not end well, refusals included."""
    shed_per_s: float
    """Refused to protect the rest."""
    tokens_per_s: float
    """That providers billed."""
    calls_per_s: float
    """To providers."""
    hit_rate: float | None
    """Of the requests that a cache was asked for; None = there were none."""
    cost_per_hour: str
    saved_per_hour: str
    currency: str


class FleetTotal(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway now."""

    active: int
    """Requests under way, waiting ones included."""
    serving: int
    """Those that have a slot."""
    limit: int
    """Of slots."""
    waiting: int
    """For a slot, or for a deployment."""
    waiting_for_deployments: int
    shed: dict[str, int]
    """Refused to protect the rest since the start, by reason."""
    last: Rates


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to ``GET /admin/fleet``."""

    rows: tuple[DeploymentRow, ...]
    total: FleetTotal


def rates(done: Sums, seconds: float, currency: str) -> Rates:
    """What ``done`` in so many seconds comes to."""

    def rate(count: float) -> float:
        return round(per_s(count, seconds), _DIGITS)

    def per_hour(nano: int) -> str:
        return format_amount(round(per_s(nano * _HOUR_S, seconds)), DECIMALS)

    return Rates(
        seconds=round(seconds, _DIGITS),
        requests_per_s=rate(done.requests),
        errors_per_s=rate(done.errors),
        shed_per_s=rate(done.shed),
        tokens_per_s=rate(done.tokens),
        calls_per_s=rate(sum(done.calls.values())),
        hit_rate=round(done.hits / done.lookups, _DIGITS) if done.lookups else None,
        cost_per_hour=per_hour(done.cost_nano),
        saved_per_hour=per_hour(done.saved_nano),
        currency=currency,
    )


def shortened(seconds: float | None) -> float | None:
    """To what is worth telling."""
    return None if seconds is None else round(seconds, _DIGITS)
