"""A gateway with two workers: each with a ledger of its own in memory, or as it is meant, on PostgreSQL and Redis."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.support.gateway_process import GatewayProcess, wait_for
from tests.support.postgres_server import database_of
from tests.support.redis_server import redis_server

PROGRAM = [sys.executable, "-m", "tests.support.gateway_with_workers", "2"]
ROOT = Path(__file__).parents[2]
SECRET = "a-secret-that-all-workers-know-in-tests"


class House(GatewayProcess):
    """Its two workers, and the process that has them."""

    def begin(self) -> None:
        """Start them all."""
        self.program, self.env = PROGRAM, {**os.environ, "PYTHONPATH": str(ROOT)}
        self.start()

    def ask(self, text: str = "hello") -> int:
        """The status of a question that is soon answered."""
        return self.post("/v1/embeddings", {"model": "sim-embed", "input": text})

    def chat(self) -> int:
        """The status of one that takes a second."""
        return self.post("/v1/chat/completions", {"model": "sim-chat", "messages": [{"role": "user", "content": "x"}]})

    def post(self, path: str, body: dict[str, Any]) -> int:
        """On a connection of its own."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            return post(connection, path, body)

    def post_to_each(self, path: str, body_for: Callable[[int], dict[str, Any]]) -> dict[int, int]:
        """Every worker's status, one worker after the other; who takes a connection is the kernel's choice."""
        told: dict[int, int] = {}
        with ExitStack() as opened:
            while missing := self.workers() - set(told):
                connection, worker = self.connected(opened)
                if worker in missing:
                    told[worker] = post(connection, path, body_for(worker))
        return told

    def connected(self, opened: ExitStack) -> tuple[HTTPConnection, int]:
        """A connection that is ``opened``, and the worker that took it."""
        connection = opened.enter_context(closing(HTTPConnection("127.0.0.1", self.port, timeout=60)))
        connection.connect()
        return connection, self._taker(connection.sock.getsockname()[1])

    def _taker(self, port: int) -> int:
        """Who has the other end of the connection from this port."""
        wait_for(lambda: self._takers(port), "somebody who takes the connection")
        return self._takers(port)[0]

    def _takers(self, port: int) -> list[int]:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
        inodes = [each[9] for each in lines if (each[1], each[2]) == (_address(self.port), _address(port))]
        return [pid for pid in self.workers() if _holds(pid, {f"socket:[{inode}]" for inode in inodes})]

    def workers(self) -> set[int]:
        """Their processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii")
        return {int(pid) for pid in children.split()}

    def ready(self) -> Any:
        """How many are ready."""
        return json.loads(self.admin("/readyz")[1])["workers"]["ready"]


class SharedHouse(House):
    """``penstock serve --workers 2``."""

    def begin(self) -> None:
        """As an operator does."""
        self.options = ("--workers", "2")
        self.start()


def post(connection: HTTPConnection, path: str, body: dict[str, Any]) -> int:
    """The status of a question."""
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def _address(port: int) -> str:
    """On 127.0.0.1, as proc(5) writes it."""
    return f"0100007F:{port:04X}"


def _holds(pid: int, sockets: set[str]) -> bool:
    """Whether one of them is among its open files, which come and go meanwhile."""
    return any(name in sockets for name in map(_target, Path(f"/proc/{pid}/fd").iterdir()))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


@contextmanager
def house_in_memory(directory: Path) -> Iterator[House]:
    """One that serves, without servers."""
    house = House(directory)
    house.configure(store="memory:")
    with _serving(house):
        yield house


@contextmanager
def shared_house(directory: Path, **sections: Any) -> Iterator[SharedHouse]:
    """One that serves, on a real PostgreSQL and a real Redis. Skips where one of these is not installed."""
    house = SharedHouse(directory)
    store = database_of(directory)
    with redis_server() as redis:
        server = {"secret": SECRET, **sections.pop("server", {})}
        house.configure(server=server, store=store, shared=redis.url, **sections)
        with _serving(house):
            yield house


@contextmanager
def _serving(house: House) -> Iterator[None]:
    """It must end with 0 on SIGTERM, unless the test has ended it, and say nothing that nobody foresaw."""
    house.begin()
    try:
        yield
        assert house.stop() == 0, house.stderr
        assert "Traceback" not in house.stderr, house.stderr
    finally:
        house.kill()
