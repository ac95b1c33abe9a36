"""The metrics of several processes as those of one.

Counters and histograms are summed; a process that has ended keeps its part, as it was last read, so that no sum ever
falls. Of gauges ``Declared.across`` says what becomes of them. Of several exemplars of a series the latest is told.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from operator import add
from typing import Final, NamedTuple

from penstock.observe.counts import OK, OTHER
from penstock.observe.exposition import Format, end, head, number
from penstock.observe.metrics import DECLARED, MOST_SERIES

ACROSS: Final[Mapping[str, str]] = {
    **{declared.name: declared.across for declared in DECLARED if declared.kind == "gauge"},
    "process_max_fds": "min",
    "process_start_time_seconds": "min",
}
"""What becomes of a gauge; of any other it is the sum."""

_EXCEPT_FOR: Final[Mapping[str, Mapping[str, str]]] = {
    declared.name: declared.except_for for declared in DECLARED if declared.except_for
}
_RULES: Final[Mapping[str, Callable[[float, float], float]]] = {"sum": add, "max": max, "min": min}
_SAMPLE: Final = re.compile(r'([\w:]+(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?) (\S+)(?: # (.+))?')
"""A series, its value, and its exemplar."""


_OUTCOME: Final = re.compile(r'outcome="[^"]*"')
_OK: Final = f'outcome="{OK}"'


class Family(NamedTuple):
    """How a family is told."""

    kind: str
    text: str

    @property
    def is_kept(self) -> bool:
        """Whether it outlives the process that counted."""
        return self.kind in {"counter", "histogram"}


class Sample(NamedTuple):
    """What one process says of a series."""

    value: float
    exemplar: str = ""
    """As it stands in the text: its time comes last."""

    @property
    def exemplar_at(self) -> float:
        """Epoch seconds."""
        return float(self.exemplar.rpartition(" ")[2]) if self.exemplar else 0.0


Samples = dict[str, dict[str, Sample]]
"""By family and series, both as in the text."""


class Exposition(NamedTuple):
    """What a process says."""

    families: Mapping[str, Family]
    samples: Samples


def read(text: str) -> Exposition:
    """An exposition of ours, in either format; a counter's family is named as its series."""
    texts: dict[str, str] = {}
    families: dict[str, Family] = {}
    samples: Samples = {}
    of: dict[str, Sample] = {}
    for line in text.split("\n"):
        if line.startswith("# HELP "):
            name, _, told = line[7:].partition(" ")
            texts[name] = told
        elif line.startswith("# TYPE "):
            name, _, kind = line[7:].partition(" ")
            shown = f"{name.removesuffix('_total')}_total" if kind == "counter" else name
            families[shown] = Family(kind, texts.get(name, ""))
            of = samples.setdefault(shown, {})
        elif found := _SAMPLE.fullmatch(line):
            series, value, exemplar = found.groups()
            of[series] = Sample(int(value) if value.isdecimal() else float(value), exemplar or "")
    return Exposition(families, samples)


class _Places(dict[str, str]):
    """Under which series each one of a metric that has an outcome is told: no more than ``most``, as in one process."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    def __missing__(self, series: str) -> str:
        if self._left > 0 or _OK in series:
            self._left -= 1
            told = series
        else:
            told = _OUTCOME.sub(f'outcome="{OTHER}"', series)
        self[series] = told
        return told


class Aggregate:
    """What was read of each process, by its name."""

    def __init__(self) -> None:
        self._places = {name: _Places(most) for name, most in MOST_SERIES.items()}
        self._families: dict[str, Family] = {}
        self._read: dict[str, Samples] = {}
        self._ended: Samples = defaultdict(dict)

    def take(self, process: str, told: Exposition) -> None:
        """What a process says now."""
        self._families.update(told.families)
        self._read[process] = {name: self._bounded(name, samples) for name, samples in told.samples.items()}

    def _bounded(self, name: str, samples: Mapping[str, Sample]) -> dict[str, Sample]:
        """Several processes have their own first thousands of series, which together would be too many."""
        places = self._places.get(name)
        if places is None:
            return dict(samples)
        bounded: dict[str, Sample] = {}
        for series, sample in samples.items():
            _merge(bounded, name, {places[series]: sample})
        return bounded

    def end(self, process: str) -> None:
        """It is no more: what it has counted stays."""
        for name, samples in self._read.pop(process, {}).items():
            if self._families[name].is_kept:
                _merge(self._ended[name], name, samples)

    def render(self, answering: Collection[str], format_: Format = Format.TEXT) -> bytes:
        """The exposition of all. ``answering``: whose gauges are of now; of others only what they count is told."""
        return "".join(self._lines(answering, format_)).encode()

    def _lines(self, answering: Collection[str], format_: Format) -> Iterator[str]:
        for name, (kind, text) in self._families.items():
            yield head(name, kind, text, format_)
            for series, sample in self._merged(name, answering).items():
                told = f" # {sample.exemplar}" if sample.exemplar and format_.has_exemplars else ""
                yield f"{series} {number(sample.value)}{told}\n"
        yield end(format_)

    def _merged(self, name: str, answering: Collection[str]) -> dict[str, Sample]:
        merged = dict(self._ended.get(name, {}))
        for process, samples in self._read.items():
            if process in answering or self._families[name].is_kept:
                _merge(merged, name, samples.get(name, {}))
        return merged


def _merge(merged: dict[str, Sample], name: str, samples: Mapping[str, Sample]) -> None:
    """Add what another process says of a family."""
    for series, sample in samples.items():
        before = merged.get(series)
        if before is None:
            merged[series] = sample
        else:
            latest = max(before, sample, key=lambda each: each.exemplar_at)
            merged[series] = Sample(_rule(name, series)(before.value, sample.value), latest.exemplar)


def _rule(name: str, series: str) -> Callable[[float, float], float]:
    """What becomes of two values."""
    for value, across in _EXCEPT_FOR.get(name, {}).items():
        if f'="{value}"' in series:
            return _RULES[across]
    return _RULES[ACROSS.get(name, "sum")]
