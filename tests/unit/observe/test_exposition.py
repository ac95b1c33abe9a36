"""Both formats are read by the official client's parsers, whatever stands in a label."""

from collections.abc import Callable, Iterable
from math import inf, isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from penstock.observe.exposition import (
    LINES_AT_ONCE,
    Buckets,
    Format,
    end,
    format_of,
    head,
    histogram,
    labelled,
    line,
    number,
    pieces,
)

PARSERS: dict[Format, Callable[[str], Iterable[Metric]]] = {
    Format.TEXT: parse_text,
    Format.OPENMETRICS: parse_openmetrics,
}
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What version 2.42 accepts."""
EXEMPLAR = ("req_1", "4bf92f3577b34da6a3ce929d0e0e4736", 0.7, 1_795_000_000.25)


@pytest.mark.parametrize("format_", Format)
@given(model=st.text(max_size=30), value=st.floats(0, 1e12) | st.integers(0, 2**53))
def test_any_label_and_any_number_is_read_as_it_was_meant(format_: Format, model: str, value: float) -> None:
    """Quotes, backslashes, line ends and braces included."""
    labels = labelled(("model", "kind"), (model, "} 3 # {"))
    text = head("asked_total", "counter", "Asked.", format_) + line("asked_total", labels, value) + end(format_)
    (family,) = PARSERS[format_](text)
    (sample,) = family.samples
    assert (family.name, family.type, family.documentation) == ("asked", "counter", "Asked.")
    assert (sample.name, sample.labels, sample.value) == ("asked_total", {"model": model, "kind": "} 3 # {"}, value)


@pytest.mark.parametrize("labels", ["", 'model="a"'])
@pytest.mark.parametrize("format_", Format)
def test_a_histogram_is_read_with_its_exemplars(format_: Format, labels: str) -> None:
    """Buckets are cumulative; exemplars stand in OpenMetrics alone."""
    buckets = Buckets((0.5, 2.0), [3, 1, 2], 9.5, [None, EXEMPLAR if format_.has_exemplars else None, None])
    text = head("took_seconds", "histogram", "Took.", format_) + "".join(histogram("took_seconds", labels, buckets))
    (family,) = PARSERS[format_](text + end(format_))
    shown = {(each.name.removeprefix("took_seconds_"), each.labels.get("le")): each for each in family.samples}
    assert [shown["bucket", le].value for le in ("0.5", "2.0", "+Inf")] == [3, 4, 6]
    assert (shown["count", None].value, shown["sum", None].value) == (6, 9.5)
    exemplar = shown["bucket", "2.0"].exemplar
    if format_ is Format.TEXT:
        assert exemplar is None
    else:
        assert exemplar is not None
        assert exemplar.labels == {"request_id": "req_1", "trace_id": EXEMPLAR[1]}
        assert (exemplar.value, float(exemplar.timestamp or 0)) == EXEMPLAR[2:]


def test_without_a_trace_an_exemplar_names_the_request_alone() -> None:
    """An empty label is none."""
    assert line("asked_total", "", 1, ("req_1", "", 1.0, 7.0)) == 'asked_total 1 # {request_id="req_1"} 1.0 7.000\n'


def test_numbers_without_an_end_are_written_as_the_formats_have_them() -> None:
    """Python writes them otherwise."""
    assert [number(inf), number(-inf), number(nan), number(3)] == ["+Inf", "-Inf", "NaN", "3"]
    assert isnan(float(number(nan)))


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/plain;version=0.0.4", Format.TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0", Format.TEXT),
        ("application/openmetrics-text; q=0.0, text/plain", Format.TEXT),
        ("Application/OpenMetrics-Text", Format.OPENMETRICS),
        (PROMETHEUS, Format.OPENMETRICS),
    ],
)
def test_who_accepts_openmetrics_gets_it(accept: str, format_: Format) -> None:
    """And nobody else does."""
    assert format_of(accept) is format_


def test_no_piece_is_more_than_a_moment_of_work() -> None:
    """However much there is to tell."""
    made = list(pieces(f"line {number}\n" for number in range(10 * LINES_AT_ONCE + 1)))
    assert max(piece.count(b"\n") for piece in made) == LINES_AT_ONCE
    assert b"".join(made).count(b"\n") == 10 * LINES_AT_ONCE + 1
