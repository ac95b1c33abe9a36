"""``telemetry``: off by default, and what it says of headers that anyone on the way can read."""

from pathlib import Path

import pytest

from penstock.config.load import load
from penstock.config.settings import Settings
from penstock.errors import ConfigError
from tests.support.kinds import KINDS


def loaded(directory: Path, telemetry: str) -> Settings:
    """The settings of a file with this section."""
    path = directory / "penstock.yaml"
    path.write_text(f"telemetry: {telemetry}\n", "utf-8")
    return load(path, {}, registry=KINDS)


def test_without_a_collector_there_is_nothing_to_trace_or_count_for(tmp_path: Path) -> None:
    """With one there is both, unless the file says otherwise."""
    off, on = (loaded(tmp_path, text).telemetry for text in ("{sample: 1}", "{otlp: 'http://127.0.0.1:4318/'}"))
    assert (off.traces_on, off.metrics_on) == (False, False)
    assert (on.traces_on, on.metrics_on, on.otlp) == (True, True, "http://127.0.0.1:4318")
    only = loaded(tmp_path, "{otlp: 'http://127.0.0.1:4318', traces: false}").telemetry
    assert (only.traces_on, only.metrics_on) == (False, True)


def test_headers_that_anyone_can_read_on_the_way_are_warned_of(tmp_path: Path) -> None:
    """Not on this machine, nor under TLS; their values are secrets everywhere."""
    where = {"http://collector.example:4318": True, "https://collector.example": False, "http://127.0.0.1:4318": False}
    for url, warned in where.items():
        settings = loaded(tmp_path, f"{{otlp: '{url}', headers: {{authorization: Basic abc}}}}")
        assert any("telemetry.headers" in warning for warning in settings.warnings) is warned
        assert "abc" not in repr(settings)


@pytest.mark.parametrize("text", ["{sample: 1.1}", "{otlp: collector}", "{headers: {'a b': c}}", "{service_name: ''}"])
def test_what_makes_no_sense_is_a_mistake(tmp_path: Path, text: str) -> None:
    """With its path."""
    with pytest.raises(ConfigError, match=r"telemetry\."):
        loaded(tmp_path, text)


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/traces", "/otlp/v1/metrics"])
def test_a_url_with_the_path_of_a_signal_is_a_mistake(tmp_path: Path, path: str) -> None:
    """Posts would go to `/v1/v1/traces`, and each be refused; any other path stands."""
    with pytest.raises(ConfigError, match=r"telemetry\.otlp: .* leave `/v1`"):
        loaded(tmp_path, f"{{otlp: 'http://127.0.0.1:4318{path}'}}")
    assert loaded(tmp_path, "{otlp: 'https://collector.example/otlp'}").telemetry.traces_on
