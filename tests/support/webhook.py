"""A webhook on loopback: notes what Alertmanager tells it, in order.

with webhook("t0ken") as hook:
    ...                                    # Alertmanager is told hook.origin and the token
    hook.firing("PenstockModelOut")        # the labels of those that fire, by the latest word of each
"""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from penstock.wire.alertmanager import FIRING, Alert, AlertGroup, read_group

_RESOLVED = "resolved"


@dataclass
class Webhook:
    """What it was told."""

    token: str
    origin: str = ""
    told: list[AlertGroup] = field(default_factory=list)
    refused: int = 0

    def hear(self, authorization: str | None, body: bytes) -> int:
        """The status of the answer."""
        if authorization != f"Bearer {self.token}":
            self.refused += 1
            return 401
        self.told.append(read_group(body))
        return 200

    @property
    def alerts(self) -> list[Alert]:
        """Every word of every alert, in order."""
        return [alert for group in tuple(self.told) for alert in group.alerts]

    def ever(self, name: str, **labels: str) -> bool:
        """Whether it was ever told that this one fires."""
        return any(each.status == FIRING and _is(each, name, labels) for each in self.alerts)

    def is_over(self, name: str, **labels: str) -> bool:
        """Whether it was told so, as the latest word of each of these."""
        latest = {tuple(sorted(each.labels.items())): each.status for each in self.alerts if _is(each, name, labels)}
        return bool(latest) and set(latest.values()) == {_RESOLVED}

    def most_at_once(self, name: str) -> int:
        """How many of one name fired in one notification, at the most."""
        counts = [sum(_is(each, name, {}) and each.status == FIRING for each in group.alerts) for group in self.told]
        return max(counts, default=0)


def _is(alert: Alert, name: str, labels: dict[str, str]) -> bool:
    return alert.labels.items() >= {"alertname": name, **labels}.items()


@contextmanager
def webhook(token: str) -> Iterator[Webhook]:
    """One that listens. ``token``: what it asks for."""
    hook = Webhook(token)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(hook.hear(self.headers["authorization"], body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Quietly."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hook.origin = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()
