"""Metrics as Prometheus reads them: its text format 0.0.4, or OpenMetrics 1.0, which has exemplars too.

Both differ in little: OpenMetrics leaves ``_total`` out of the name of a counter's family, and ends with ``# EOF``.
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from math import inf, isfinite
from typing import Final, NamedTuple

LINES_AT_ONCE: Final = 200
"""Lines of a piece: half a millisecond's work."""

_ESCAPED: Final[Mapping[int, str]] = {0x5C: r"\\", 0x0A: r"\n", 0x22: r"\""}
"""A backslash, the end of a line, a quote."""
OPENMETRICS: Final = "application/openmetrics-text"
"""What clients say that they accept."""


class Format(Enum):
    """Its media type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @property
    def has_exemplars(self) -> bool:
        """Whether a series may name one of those it counted."""
        return self is Format.OPENMETRICS


Exemplar = tuple[str, str, float, float]
"""One of those that were counted: its request id, its trace id or "", the value, and when, in epoch seconds."""


def format_of(accept: str) -> Format:
    """What a client gets that sends this ``Accept``: OpenMetrics where it names that, as Prometheus does."""
    for part in accept.split(","):
        media, *parameters = (each.strip().lower() for each in part.split(";"))
        if media == OPENMETRICS and not any(_is_refusal(each) for each in parameters):
            return Format.OPENMETRICS
    return Format.TEXT


def _is_refusal(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and not value.strip().strip("0.")


def head(name: str, kind: str, text: str, format_: Format) -> str:
    """What stands before the series of a family. ``name``: as its series have it."""
    shown = name.removesuffix("_total") if kind == "counter" and format_ is Format.OPENMETRICS else name
    return f"# HELP {shown} {text.translate(_ESCAPED)}\n# TYPE {shown} {kind}\n"


def end(format_: Format) -> str:
    """What stands behind the last."""
    return "# EOF\n" if format_ is Format.OPENMETRICS else ""


def labelled(names: Sequence[str], values: Sequence[str]) -> str:
    """``model="a",cache="exact"``."""
    return ",".join([f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(names, values, strict=True)])


def line(name: str, labels: str, value: float, exemplar: Exemplar | None = None) -> str:
    """One series. ``labels``: as ``labelled`` has them."""
    shown = f"{{{labels}}}" if labels else ""
    return f"{name}{shown} {number(value)}{_shown(exemplar)}\n"


class Buckets(NamedTuple):
    """A histogram as it is told."""

    bounds: Sequence[float]
    """Of all buckets but the last."""
    counts: Sequence[int]
    """Of each bucket alone."""
    total: float
    exemplars: Sequence[Exemplar | None]
    """Of each bucket."""


def histogram(name: str, labels: str, buckets: Buckets) -> Iterator[str]:
    """The series of one."""
    inner = f"{labels}," if labels else ""
    cumulative = 0
    for bound, count, exemplar in zip((*buckets.bounds, inf), buckets.counts, buckets.exemplars, strict=True):
        cumulative += count
        yield f'{name}_bucket{{{inner}le="{number(bound)}"}} {cumulative}{_shown(exemplar)}\n'
    yield line(f"{name}_count", labels, cumulative)
    yield line(f"{name}_sum", labels, buckets.total)


def _shown(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    request_id, trace_id, value, at = exemplar
    traced = f',trace_id="{trace_id}"' if trace_id else ""
    return f' # {{request_id="{request_id}"{traced}}} {number(value)} {at:.3f}'


def number(value: float) -> str:
    """As both formats have it."""
    if isinstance(value, int) or isfinite(value):
        return repr(value)
    return "+Inf" if value == inf else "-Inf" if value == -inf else "NaN"


def pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """Some lines at a time, so that who makes them lets others work in between."""
    gathered: list[str] = []
    for each in lines:
        gathered.append(each)
        if len(gathered) >= LINES_AT_ONCE:
            yield "".join(gathered).encode()
            gathered.clear()
    yield "".join(gathered).encode()
