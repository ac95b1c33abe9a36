"""What Prometheus knows, by its HTTP API (https://prometheus.io/docs/prometheus/latest/querying/api/)."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from penstock.errors import BadAnswer, ProviderBusy, ProviderRefused
from penstock.ports.clock import Clock
from penstock.providers.http import HttpTransport
from penstock.providers.outside import Answer, Outsider

TIMEOUT_S: Final = 30.0
MAX_STEPS: Final = 10_000
"""Per query: Prometheus refuses more than 11,000."""
_MAX_ANSWER: Final = 64 * 1024 * 1024
_FAILING: Final = 500


class AlertRule(msgspec.Struct):
    """An alerting rule as it stands now."""

    name: str
    query: str
    duration: float = 0.0
    """``for``, in seconds."""
    labels: dict[str, str] = {}
    type: str = "alerting"


class Series(NamedTuple):
    """One label set, ``__name__`` included where it has one, and its samples: epoch seconds and value."""

    labels: Mapping[str, str]
    samples: list[tuple[float, float]]


class _Group(msgspec.Struct):
    rules: list[dict[str, Any]] = []


class _Rules(msgspec.Struct):
    groups: list[_Group]


class _Line(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, Annotated[str, msgspec.Meta(max_length=64)]]]


class _Matrix(msgspec.Struct):
    result: list[_Line]


class Prometheus:
    """One server. Every method raises UpstreamError."""

    def __init__(self, url: str, outsider: Outsider) -> None:
        """``url``: up to, not including, ``/api/v1``."""
        self._base = f"{url.rstrip('/')}/api/v1"
        self._outsider = outsider

    async def alert_rules(self) -> list[AlertRule]:
        """Those that it evaluates now."""
        found = await self._ask("rules", {"type": "alert"}, _Rules)
        rules = [rule for group in found.groups for rule in group.rules]
        return [self._converted(rule, AlertRule) for rule in rules if rule.get("type") == "alerting"]

    async def over(self, query: str, since: float, until: float, step_s: float) -> list[Series]:
        """The values of an expression at each multiple of ``step_s`` in [since, until], in epoch seconds."""
        found: dict[tuple[tuple[str, str], ...], Series] = {}
        first, last = math.ceil(since / step_s), math.floor(until / step_s)
        for start in range(first, last + 1, MAX_STEPS):
            end = min(start + MAX_STEPS - 1, last)
            span = {"start": f"{start * step_s:.3f}", "end": f"{end * step_s:.3f}", "step": f"{step_s:g}"}
            matrix = await self._ask("query_range", {"query": query, **span}, _Matrix)
            for line in matrix.result:
                key = tuple(sorted(line.metric.items()))
                samples = [(at, self._number(value)) for at, value in line.values]
                found.setdefault(key, Series(line.metric, [])).samples.extend(samples)
        return list(found.values())

    async def _ask(self, path: str, parameters: Mapping[str, str], form: type[Any]) -> Any:
        url = f"{self._base}/{path}?{urlencode(parameters)}"
        answer = await self._outsider.get(url, most_bytes=_MAX_ANSWER, timeout_s=TIMEOUT_S)
        document = self._document(answer)
        return self._converted(document.get("data"), form)

    def _document(self, answer: Answer) -> dict[str, Any]:
        who = self._outsider.name
        try:
            document = msgspec.json.decode(answer.body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise BadAnswer(f"{who} did not answer in JSON (status {answer.status}): is it a Prometheus?") from None
        if document.get("status") == "success":
            return document
        error = ProviderBusy if answer.status >= _FAILING else ProviderRefused
        raise error(
            f"{who} refused (status {answer.status}): {str(document.get('error', 'it does not say why'))[:500]}"
        )

    def _converted(self, value: Any, form: type[Any]) -> Any:
        try:
            return msgspec.convert(value, form)
        except msgspec.ValidationError as error:
            raise BadAnswer(f"{self._outsider.name} answered what this cannot read: {error}") from None

    def _number(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise BadAnswer(f"{self._outsider.name} answered with a value that is no number") from None


@asynccontextmanager
async def open_prometheus(url: str, clock: Clock) -> AsyncIterator[Prometheus]:
    """The one at that URL, over HTTP."""
    transport = HttpTransport(clock)
    try:
        yield Prometheus(url, Outsider("Prometheus", transport, clock))
    finally:
        await transport.close()
