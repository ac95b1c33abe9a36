"""A light provider for load, in a process of its own: chat completions as its deployments are told to give them.

    with load_provider() as provider:
        provider.set("busy", status=503, share=0.3, latency_s=0.2)
        {"kind": "openai", "base_url": provider.base_url("busy"), ...}
        assert provider.counts("busy").calls == 7

A deployment is the first segment of the path; it gives prompt, good answers until it is told otherwise
(``load_provider_manner``). What is in flight when it is told keeps to what held when it came.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import uvloop

from tests.support.load_provider_call import Connection
from tests.support.load_provider_manner import Counts, Deployment, Manner

ROOT: Final = Path(__file__).parents[2]
LOOPBACK: Final = "127.0.0.1"
PATIENCE_S: Final = 10.0
CONTROL: Final = "/control/"
BACKLOG: Final = 4096


class Provider:
    """The deployments, inside the process."""

    def __init__(self) -> None:
        self._deployments: dict[str, Deployment] = {}

    def of(self, name: str) -> Deployment:
        """The deployment of that name."""
        if name not in self._deployments:
            self._deployments[name] = Deployment(name)
        return self._deployments[name]

    def control(self, method: str, name: str, body: bytes) -> bytes:
        """``PUT`` a manner, ``DELETE`` the counts, ``GET`` them."""
        deployment = self.of(name)
        if method == "PUT":
            deployment.adopt(msgspec.json.decode(body, type=Manner))
        if method == "DELETE":
            deployment.forget()
        return msgspec.json.encode(deployment.counts)

    def connect(self) -> Connection:
        """For one more connection."""
        return Connection(self.of, self.control, CONTROL)


class LoadProvider:
    """The process, from the side of a test."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Serve, on the port of the last run if there was one."""
        command = [sys.executable, "-m", "tests.support.load_provider", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def kill(self) -> None:
        """At once: its port refuses connections until it is started again."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def base_url(self, deployment: str, port: int | None = None) -> str:
        """For a provider's ``base_url``; ``port``: of a proxy before it."""
        return f"http://{LOOPBACK}:{port or self.port}/{deployment}/v1"

    def set(self, deployment: str, **manner: Any) -> None:
        """From now on behave so, by the names of ``Manner``; what is not named is as it is by itself."""
        self._control("PUT", deployment, msgspec.json.encode(Manner(**manner)))

    def counts(self, deployment: str) -> Counts:
        """What it was asked and gave since the last ``forget``."""
        return msgspec.json.decode(self._control("GET", deployment), type=Counts)

    def forget(self, deployment: str) -> None:
        """Count anew; what is in flight stays counted as such."""
        self._control("DELETE", deployment)

    def _control(self, method: str, deployment: str, body: bytes = b"") -> bytes:
        connection = HTTPConnection(LOOPBACK, self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, CONTROL + deployment, body)
            return connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def load_provider() -> Iterator[LoadProvider]:
    """One that serves."""
    provider = LoadProvider()
    try:
        yield provider.start()
    finally:
        provider.kill()


async def serve(port: int) -> None:
    """Until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider().connect, LOOPBACK, port, backlog=BACKLOG)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
