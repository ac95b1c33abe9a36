"""An OpenTelemetry collector behind a real socket, in a thread of its own: it reads what it is sent, strictly.

with collector_server() as collector:
    ...
    wait_for(lambda: collector.told.spans)
"""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.otlp import Told


class CollectorServer(ThreadingHTTPServer):
    """Where it listens, what it was told, and what was wrong with it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told = Told()
        self.mistakes: list[Exception] = []
        self.credentials: set[str | None] = set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """What ``telemetry.otlp`` says."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CollectorServer

    def do_POST(self) -> None:
        """Take it, or refuse it for good."""
        packed = self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.credentials.add(self.headers["authorization"])
            try:
                assert self.headers["content-type"] == "application/json"
                assert self.headers["content-encoding"] == "gzip"
                self.server.told.take(self.path, gzip.decompress(packed))
            except Exception as mistake:  # noqa: BLE001 - the test is told of any
                self.server.mistakes.append(mistake)
        self.send_response(400 if self.server.mistakes else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def collector_server() -> Iterator[CollectorServer]:
    """One that listens."""
    with CollectorServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="collector")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
