"""A real Prometheus on loopback, with the files of deploy/prometheus, and a place for it to write to.

with prometheus_server(directory, ["127.0.0.1:8788"]) as prometheus:
    wait_for(lambda: prometheus.query("penstock:requests:rate5m"))
    prometheus.rules()       # each with its health
    prometheus.alerts()      # pending and firing

The config is the committed one: only its targets, its Alertmanagers and its intervals differ, which are a second.
Without ``prometheus`` (or ``victoria-metrics``) the test skips, and says so.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
import yaml

from tests.support.gateway_process import wait_for
from tests.support.redis_server import LOOPBACK, free_port

PLACE: Final = Path(__file__).parents[2] / "deploy" / "prometheus"
INTERVAL: Final = "1s"
PATIENCE_S: Final = 60.0

Sample = tuple[dict[str, str], float]
"""Labels, the name among them, and value."""


class MetricsServer:
    """A program that speaks Prometheus's HTTP API: start it, ask it, stop it."""

    program = ""
    package = ""
    ready = "/-/ready"

    def __init__(self, directory: Path) -> None:
        """``directory``: for its data and its log."""
        found = shutil.which(self.program)
        if found is None:
            pytest.skip(f"{self.program} is not installed (apt install {self.package})")
        self.directory = directory
        self.port = free_port()
        self.origin = f"http://{LOOPBACK}:{self.port}"
        self._command = [found, *self._arguments()]
        self._process: subprocess.Popen[bytes] | None = None

    def _arguments(self) -> Sequence[str]:
        raise NotImplementedError

    # --- life and death

    def start(self) -> None:
        """Return when it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=self.directory, stdout=log, stderr=log)
        wait_for(self._is_ready, self.program, PATIENCE_S)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()

    def freeze(self) -> None:
        """It accepts, and does nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text("utf-8")
        try:
            return self._get(self.ready)[0] == 200
        except (OSError, HTTPException):
            return False

    @property
    def log(self) -> Path:
        """What it says."""
        return self.directory / f"{self.program}.log"

    # --- asking

    def _get(self, path: str, **parameters: str) -> tuple[int, bytes]:
        connection = HTTPConnection(LOOPBACK, self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", f"{path}?{urlencode(parameters)}" if parameters else path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def api(self, path: str, **parameters: str) -> Any:
        """``data`` of ``/api/v1/PATH``. Raises AssertionError when it refuses."""
        status, body = self._get(f"/api/v1/{path}", **parameters)
        assert status == 200, body
        return json.loads(body)["data"]

    def query(self, expression: str) -> list[Sample]:
        """An instant vector, now."""
        found = self.api("query", query=expression)["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def names(self) -> set[str]:
        """Of the series that it has."""
        return set(self.api("label/__name__/values"))


class PrometheusServer(MetricsServer):
    """Prometheus itself. ``reload()`` after a change of ``config``."""

    program = "prometheus"
    package = "prometheus"

    def __init__(self, directory: Path, config: Mapping[str, Any], *options: str) -> None:
        """``config``: written as it is; ``options``: more flags."""
        self._options = options
        super().__init__(directory)
        self.configure(config)

    def _arguments(self) -> Sequence[str]:
        return (
            f"--config.file={self.directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--web.enable-lifecycle",
            "--enable-feature=exemplar-storage",
            "--scrape.discovery-reload-interval=100ms",  # else its first scrape may come 5 s later
            *self._options,
        )

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the config."""
        (self.directory / "prometheus.yaml").write_text(yaml.safe_dump(dict(config)), "utf-8")

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its ``health`` (``ok`` once it was evaluated) and ``lastError``."""
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Those that are pending or firing (``state``), with their labels."""
        found: list[dict[str, Any]] = self.api("alerts")["alerts"]
        return found

    def is_evaluated(self) -> bool:
        """Whether each rule was, at least once."""
        rules = self.rules()
        return bool(rules) and all(rule["health"] != "unknown" for rule in rules)


class VictoriaMetrics(MetricsServer):
    """A place for long histories, which takes remote writes."""

    program = "victoria-metrics"
    package = "victoria-metrics"
    ready = "/health"

    def _arguments(self) -> Sequence[str]:
        return (
            f"-storageDataPath={self.directory / 'data'}",
            f"-httpListenAddr={LOOPBACK}:{self.port}",
            "-retentionPeriod=3y",
            "-search.latencyOffset=0s",
            "-memory.allowedBytes=128MB",
        )


def committed(
    *, targets: Sequence[str], alertmanagers: Sequence[str] = (), rules: Path = PLACE / "rules"
) -> dict[str, Any]:
    """deploy/prometheus/prometheus.yaml for these targets, and in a hurry. ``rules``: the directory of its rules."""
    config: dict[str, Any] = yaml.safe_load((PLACE / "prometheus.yaml").read_text("utf-8"))
    config["global"] |= {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    config["rule_files"] = [str(rules.parent / each) for each in config["rule_files"]]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [*alertmanagers]}]}] if alertmanagers else []
    (job,) = config["scrape_configs"]
    job["scrape_timeout"] = INTERVAL
    job["static_configs"] = [{"targets": [*targets]}]
    return config


def remote_write(name: str, url: str) -> list[dict[str, Any]]:
    """``remote_write`` of deploy/prometheus/remote-write/NAME.yaml, to ``url`` instead, and in a hurry."""
    (place,) = yaml.safe_load((PLACE / "remote-write" / f"{name}.yaml").read_text("utf-8"))["remote_write"]
    place["url"] = url
    place["queue_config"]["batch_send_deadline"] = INTERVAL
    return [place]


@contextmanager
def prometheus_server(
    directory: Path,
    targets: Sequence[str],
    *,
    alertmanagers: Sequence[str] = (),
    rules: Path = PLACE / "rules",
    write_to: Sequence[Mapping[str, Any]] = (),
    options: Sequence[str] = (),
) -> Iterator[PrometheusServer]:
    """One that scrapes these. ``write_to``: its ``remote_write``; ``rules``: a directory of that name."""
    config = committed(targets=targets, alertmanagers=alertmanagers, rules=rules) | {"remote_write": [*write_to]}
    server = PrometheusServer(directory, config, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def prometheus_receiver(directory: Path) -> Iterator[PrometheusServer]:
    """One that scrapes nothing, and takes remote writes at ``/api/v1/write``."""
    server = PrometheusServer(directory, {}, "--web.enable-remote-write-receiver")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def victoria_metrics(directory: Path) -> Iterator[VictoriaMetrics]:
    """One that runs; it takes remote writes at ``/api/v1/write``."""
    server = VictoriaMetrics(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
