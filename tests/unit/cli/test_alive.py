"""The health check of a container."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from penstock.cli.alive import main


@contextmanager
def _server(status: int) -> Iterator[int]:
    """Answers ``/healthz`` with this status, all else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Quietly."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (500, 1)])
def test_what_healthz_says_is_the_exit_code(status: int, code: int) -> None:
    """0 = it lives."""
    with _server(status) as port:
        assert main([str(port)]) == code


def test_nobody_there_is_not_alive() -> None:
    """A closed port is 1, not a traceback."""
    with _server(200) as port:
        pass
    assert main([str(port)]) == 1
