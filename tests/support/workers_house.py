"""A gateway with two workers: each with a ledger of its own in memory, or as it is meant, on PostgreSQL and Redis."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.support.gateway_process import GatewayProcess
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
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
            return response.status

    def workers(self) -> set[int]:
        """Their processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii")
        return {int(pid) for pid in children.split()}

    def busiest(self) -> int:
        """The worker with the most connections."""
        return max(self.workers(), key=_sockets)

    def ready(self) -> Any:
        """How many are ready."""
        return json.loads(self.admin("/readyz")[1])["workers"]["ready"]


class SharedHouse(House):
    """``penstock serve --workers 2``."""

    def begin(self) -> None:
        """As an operator does."""
        self.options = ("--workers", "2")
        self.start()


def _sockets(pid: int) -> int:
    return sum(each.is_socket() for each in Path(f"/proc/{pid}/fd").iterdir())


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
