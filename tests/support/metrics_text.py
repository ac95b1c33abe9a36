"""Reading ``/metrics`` as Prometheus does."""

from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client.core import Exemplar, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, tuple[tuple[str, str], ...]]

_STRICT: Final[Callable[[str], Iterable[Metric]]] = parse_open_metrics


def samples(text: str) -> dict[Sample, float]:
    """Every sample by its name and its labels in order of their names."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def open_metrics(text: str) -> list[Metric]:
    """The families of an exposition in OpenMetrics, read strictly."""
    return list(_STRICT(text))


def exemplars(text: str) -> dict[Sample, Exemplar]:
    """Of every sample of such an exposition that has one."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.exemplar
        for family in open_metrics(text)
        for sample in family.samples
        if sample.exemplar is not None
    }
