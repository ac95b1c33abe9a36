"""Commands run in a directory of their own: on its store alone, and beside a server that notes what it is asked."""

import asyncio
import http.server
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from penstock.cli.main import run
from penstock.clock import SystemClock
from penstock.ports.stores import Stores
from penstock.stores.open import open_stores

T = TypeVar("T")


@dataclass
class Place:
    """A directory with a config and a store; the commands run in it."""

    directory: Path
    capsys: pytest.CaptureFixture[str]
    admin_port: int
    token: str = "t0ken"
    errors: str = field(default="", init=False)
    store: str = field(default="sqlite:penstock.db", init=False)
    """What ``with_stores`` opens: keep the config's the same."""

    def run(self, *arguments: str, code: int = 0) -> str:
        """What the command printed; it must end with ``code``."""
        ended = run([*arguments, "-c", str(self.directory / "penstock.yaml")])
        printed = self.capsys.readouterr()
        self.errors = printed.err
        assert ended == code, printed.err
        return printed.out

    def json(self, *arguments: str) -> Any:
        """The same, as JSON."""
        return msgspec.json.decode(self.run(*arguments, "--format", "json"))

    def with_stores(self, act: Callable[[Stores], Awaitable[T]]) -> T:
        """Do something with the store, as a server would."""

        async def acted() -> T:
            stores = await open_stores(
                self.store,
                self.directory,
                max_answer_bytes=1 << 20,
                sync="normal",
                on_lost=lambda _rows, reason: pytest.fail(reason),
                clock=SystemClock(),
            )
            try:
                return await act(stores)
            finally:
                await stores.close()

        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(acted())


@dataclass
class Server:
    """An admin API that notes what it is asked, and answers as told."""

    status: int = 200
    answer: bytes = b"{}"
    asked: list[tuple[str, str, Any, str | None]] = field(default_factory=list)


@contextmanager
def open_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    """Nobody listens on the admin port: it is bound and not listened on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        made = Place(tmp_path, capsys, bound.getsockname()[1])
        (tmp_path / "penstock.yaml").write_text(
            f"server: {{admin_listen: 127.0.0.1:{made.admin_port}, admin_token: {made.token}}}\n"
            "store: sqlite:penstock.db\ncurrency: CNY\n"
        )
        yield made


@contextmanager
def listening_server(place: Place) -> Iterator[Server]:
    """Listens on an admin port of its own, which the config then names."""
    made = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked = msgspec.json.decode(body or b"null")
            made.asked.append((self.command, self.path, asked, self.headers["authorization"]))
            self.send_response(made.status)
            self.send_header("content-length", str(len(made.answer)))
            self.end_headers()
            self.wfile.write(made.answer)

        do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815 - the base class looks them up by these names

        def log_message(self, *_arguments: object) -> None:
            """Quietly."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        config = place.directory / "penstock.yaml"
        config.write_text(config.read_text().replace(str(place.admin_port), str(listening.server_port)))
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        listening.shutdown()
        thread.join()
