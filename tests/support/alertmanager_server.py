"""A real Alertmanager on loopback, with deploy/alertmanager/alertmanager.yaml in a hurry.

with alertmanager_server(directory, relay="http://127.0.0.1:8790", token="s3cret") as alertmanager:
    alertmanager.fire({"alertname": "PenstockDown", "severity": "critical"})
    alertmanager.alerts()        # each with its state: active or suppressed, and by what

Without ``prometheus-alertmanager`` the test skips, and says so.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.prometheus_server import PATIENCE_S, MetricsServer
from tests.support.redis_server import LOOPBACK

CONFIG: Final = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yaml"
RELAY: Final = "http://127.0.0.1:8790"
_HOUR: Final = timedelta(hours=1)


class AlertmanagerServer(MetricsServer):
    """It alone: no cluster."""

    program = "prometheus-alertmanager"
    package = "prometheus-alertmanager"

    def _arguments(self) -> Sequence[str]:
        return (
            f"--config.file={self.directory / 'alertmanager.yaml'}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--cluster.listen-address=",
        )

    def fire(self, *alerts: Mapping[str, str], summary: str = "it happened", over: bool = False) -> None:
        """As Prometheus tells it. ``over``: they are."""
        now = datetime.now(UTC)
        ends = now if over else now + _HOUR
        said = [
            {
                "labels": dict(labels),
                "annotations": {"summary": summary},
                "startsAt": (now - _HOUR).isoformat(),
                "endsAt": ends.isoformat(),
            }
            for labels in alerts
        ]
        connection = HTTPConnection(LOOPBACK, self.port, timeout=PATIENCE_S)
        try:
            connection.request("POST", "/api/v2/alerts", json.dumps(said), {"content-type": "application/json"})
            response = connection.getresponse()
            assert response.status == 200, response.read()
        finally:
            connection.close()

    def alerts(self) -> list[dict[str, Any]]:
        """Those that it has, with ``status``."""
        status, body = self._get("/api/v2/alerts")
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)
        return found


def hurried(relay: str, token_file: Path) -> dict[str, Any]:
    """The committed config: the same routes, inhibitions and receivers, within a second and at any hour."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text("utf-8"))
    for route in [config["route"], *config["route"]["routes"]]:
        route |= {"group_wait": "1s", "group_interval": "1s"}
        route.pop("mute_time_intervals", None)
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", ()):
            hook["url"] = hook["url"].replace(RELAY, relay)
            hook["http_config"] = {"authorization": {"credentials_file": str(token_file)}}
    return config


@contextmanager
def alertmanager_server(directory: Path, relay: str, token: str) -> Iterator[AlertmanagerServer]:
    """One that tells the relay at that origin."""
    directory.mkdir(exist_ok=True)
    (directory / "token").write_text(token, "utf-8")
    (directory / "alertmanager.yaml").write_text(yaml.safe_dump(hurried(relay, directory / "token")), "utf-8")
    server = AlertmanagerServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
