"""The metrics of several processes as those of one.

Counters and histograms are summed; a process that has ended keeps its part, as it was last read, so that no sum ever
falls. Of gauges ``Declared.across`` says what becomes of them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from operator import add
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from penstock.observe.metrics import DECLARED

ACROSS: Final[Mapping[str, str]] = {
    **{declared.name: declared.across for declared in DECLARED if declared.kind == "gauge"},
    "process_max_fds": "min",
    "process_start_time_seconds": "min",
}
"""What becomes of a gauge; of any other it is the sum."""

_RULES: Final[Mapping[str, Callable[[float, float], float]]] = {"sum": add, "max": max, "min": min}


class Series(NamedTuple):
    """What one value is of."""

    family: str
    sample: str
    labels: tuple[tuple[str, str], ...]


class Family(NamedTuple):
    """How a family is told."""

    kind: str
    text: str

    @property
    def is_kept(self) -> bool:
        """Whether it outlives the process that counted."""
        return self.kind in {"counter", "histogram"}


Values = dict[Series, float]


class Aggregate:
    """What was read of each process, by its name."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._read: dict[str, Values] = {}
        self._ended: Values = {}

    def take(self, process: str, text: str) -> None:
        """The exposition of a process, as it is now."""
        values: Values = {}
        for family in text_string_to_metric_families(text):
            self._families[family.name] = Family(family.type, family.documentation)
            for sample in family.samples:
                values[Series(family.name, sample.name, tuple(sorted(sample.labels.items())))] = sample.value
        self._read[process] = values

    def end(self, process: str) -> None:
        """It is no more: what it has counted stays."""
        for series, value in self._read.pop(process, {}).items():
            if self._families[series.family].is_kept:
                self._ended[series] = self._ended.get(series, 0.0) + value

    def render(self, answering: Collection[str]) -> bytes:
        """The exposition of all. ``answering``: whose gauges are of now; of others only what they count is told."""
        registry = CollectorRegistry()
        registry.register(_Families(self._metrics(answering)))
        return generate_latest(registry)

    def _metrics(self, answering: Collection[str]) -> list[Metric]:
        metrics = {name: Metric(name, family.text, family.kind) for name, family in self._families.items()}
        for series, value in self._merged(answering).items():
            metrics[series.family].add_sample(series.sample, dict(series.labels), value)
        return list(metrics.values())

    def _merged(self, answering: Collection[str]) -> Values:
        merged = dict(self._ended)
        for process, values in self._read.items():
            for series, value in values.items():
                if process not in answering and not self._families[series.family].is_kept:
                    continue
                rule = _RULES[ACROSS.get(series.family, "sum")]
                merged[series] = rule(merged[series], value) if series in merged else value
        return merged


class _Families(Collector):
    """What a registry asks."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)
