"""``penstock alerts review``: which alerts were noise, and what would have halved it. Reads Prometheus' history."""

import asyncio
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import click
import msgspec

from penstock.cli.options import config_option
from penstock.cli.output import emit, format_option
from penstock.clock import SystemClock
from penstock.config.units import format_duration, parse_duration
from penstock.core.episodes import SHORT_S, Episode, episodes, flaps
from penstock.core.noise import Comparison, comparison, halving_for_s, halving_threshold, level
from penstock.errors import ProviderRefused, StoreError
from penstock.providers.prometheus import AlertRule, Prometheus, Series, open_prometheus
from penstock.stores.span import parse_instant

_MINOR: Final = ("severity", "halving_threshold", "threshold", "median_minutes", "short")
_DIGITS: Final = 1
_LEAST_STEP_S: Final = 1.0

Labels = frozenset[tuple[str, str]]


class Span(NamedTuple):
    """What is looked at, in epoch seconds, and how closely."""

    since: float
    until: float
    step_s: float


class _Line(NamedTuple):
    """The values of an expression, by instant."""

    labels: Labels
    instants: Sequence[float]
    values: Sequence[float]


def _url(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not value.isascii() or " " in value:
        raise click.BadParameter("write its URL, such as http://127.0.0.1:9090")
    return value


def _step(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    try:
        step_s = parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from None
    if step_s < _LEAST_STEP_S:
        raise click.BadParameter("1s is the least")
    return step_s


@click.command()
@click.option("--since", default="30d", show_default=True, help="7d, 12h, 2026-11-01 or 2026-11-01T08:00+08:00.")
@click.option(
    "--prometheus",
    callback=_url,
    default="http://127.0.0.1:9090",
    show_default=True,
    metavar="URL",
    help="Whom to ask.",
)
@click.option("--match", default="Penstock.*", show_default=True, help="Which alerts: a regular expression of names.")
@click.option("--step", callback=_step, default="1m", show_default=True, help="How closely to look.")
@config_option
@format_option
def review(*, since: str, prometheus: str, match: str, step: float, config: Path | None, format_: str) -> None:  # noqa: ARG001 - the option is every command's
    """How often each alert fired, how long, how much of it was noise, and what would have halved it.

    Flapping: fired again within 15 minutes. Short: fired for less than 5. The last columns are the least `for`, and the
    nearest threshold, with which at most half would have fired.
    """
    now = SystemClock().now()
    try:
        span = Span(parse_instant(since, now, "UTC"), now, step)
    except StoreError as error:
        raise click.UsageError(error.public) from None
    if not 0 < span.since < span.until:
        raise click.UsageError(f"--since {since} is no time in the past")
    rows = asyncio.run(_review(prometheus, match, span))
    totals = {name: sum(float(str(row[name])) for row in rows) for name in ("fired", "minutes", "flapping", "short")}
    total = {name: round(value, _DIGITS) if name == "minutes" else int(value) for name, value in totals.items()}
    emit(rows, total, format_, minor=_MINOR)


async def _review(url: str, match: str, span: Span) -> list[dict[str, object]]:
    selector = f"{{alertname=~{msgspec.json.encode(match).decode()}}}"
    async with open_prometheus(url, SystemClock()) as prometheus:
        rules = {rule.name: rule for rule in await prometheus.alert_rules()}
        active = await prometheus.over(f"ALERTS_FOR_STATE{selector}", *span)
        firing = await prometheus.over(f'ALERTS{selector[:-1]},alertstate="firing"}}', *span)
        fired = _fired(active, firing, span.step_s)
        rows = [await _row(prometheus, name, rules.get(name), fired[name], span) for name in fired]
    return sorted(rows, key=lambda row: (-int(str(row["fired"])), str(row["alert"])))


def _fired(
    active: Sequence[Series], firing: Sequence[Series], step_s: float
) -> Mapping[str, Mapping[Labels, list[Episode]]]:
    """The episodes that fired, by alert and label set."""
    instants = {_labels(each): {at for at, _ in each.samples} for each in firing}
    found: dict[str, dict[Labels, list[Episode]]] = defaultdict(dict)
    for each in active:
        labels = _labels(each)
        fired = [one for one in episodes(each.samples, instants.get(labels, ()), step_s) if one.fired_at is not None]
        if fired:
            found[each.labels.get("alertname", "")][labels] = fired
    return found


def _labels(series: Series) -> Labels:
    """What an alert is told apart by."""
    return frozenset((name, value) for name, value in series.labels.items() if name not in {"__name__", "alertstate"})


async def _row(
    prometheus: Prometheus, name: str, rule: AlertRule | None, fired: Mapping[Labels, list[Episode]], span: Span
) -> dict[str, object]:
    every = [each for one in fired.values() for each in one]
    decides = comparison(rule.query) if rule else None
    levels = await _levels(prometheus, decides, rule, fired, span) if rule and decides else []
    threshold = halving_threshold(levels, decides.operator) if decides else None
    for_s = halving_for_s([each.active_s for each in every])
    return {
        "alert": name,
        "severity": rule.labels.get("severity", "") if rule else "",
        "fired": len(every),
        "minutes": _minutes(sum(each.fired_s for each in every)),
        "median_minutes": _minutes(median(each.fired_s for each in every)),
        "flapping": sum(map(flaps, fired.values())),
        "short": sum(each.fired_s < SHORT_S for each in every),
        "for": format_duration(rule.duration) if rule else None,
        "halving_for": None if for_s is None else format_duration(for_s),
        "threshold": f"{decides.operator} {decides.threshold:g}" if decides else None,
        "halving_threshold": f"{decides.operator} {threshold:g}" if decides and threshold is not None else None,
    }


async def _levels(
    prometheus: Prometheus,
    decides: Comparison,
    rule: AlertRule,
    fired: Mapping[Labels, list[Episode]],
    span: Span,
) -> list[float]:
    """Of each episode, the threshold it would have just not passed; none where its values cannot be had."""
    try:
        history = await prometheus.over(decides.left, *span)
    except ProviderRefused as error:
        click.echo(f"note: no threshold for {rule.name}: {error.public}", err=True)
        return []
    held = int(rule.duration // span.step_s) + 1
    lines = [_Line(_labels(each), *zip(*each.samples, strict=True)) for each in history if each.samples]
    values = [
        _values(lines, labels, each.since - span.step_s, each.until)
        for labels, every in fired.items()
        for each in every
    ]
    found = [level(each, decides.operator, held) for each in values]
    return [each for each in found if each is not None]


def _values(lines: Sequence[_Line], labels: Labels, after: float, until: float) -> list[float]:
    """What the expression came to meanwhile: its labels are among the alert's."""
    return [
        value
        for line in lines
        if line.labels <= labels
        for value in line.values[bisect_right(line.instants, after) : bisect_left(line.instants, until)]
    ]


def _minutes(seconds: float) -> float:
    return round(seconds / 60, _DIGITS)
