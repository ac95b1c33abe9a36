"""``penstock serve`` as an operator runs it: a process of its own, its config and store in a directory of its own.

gateway = GatewayProcess(directory)
gateway.configure(providers={...}, models={...})
gateway.start()
...
assert gateway.stop() == 0
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import yaml

from tests.support.metrics_text import samples

PENSTOCK = Path(sys.executable).with_name("penstock").as_posix()
PATIENCE_S = 30.0
START_S = 120.0
"""Until one that does not start is missed: a machine with other work takes long to import."""
LOOK_S = 0.02
ADMIN_TOKEN = "an-admin-token-for-the-tests"


class GatewayProcess:
    """A gateway, running or not; what it wrote outlives its runs."""

    def __init__(self, directory: Path) -> None:
        """``directory``: where its config, its store and its standard error are kept."""
        self.directory = directory
        self.port, self.admin_port = free_ports()
        self.config = directory / "penstock.yaml"
        self.store = directory / "penstock.db"
        self.program: Sequence[str] = (PENSTOCK,)
        """What is run."""
        self.options: Sequence[str] = ()
        """Of ``serve``."""
        self.env: Mapping[str, str] | None = None
        """None = this process's."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def origin(self) -> str:
        """Of the data plane."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What clients of OpenAI's dialects are given."""
        return f"{self.origin}/v1"

    @property
    def nodes(self) -> "Sequence[GatewayProcess]":
        """Itself: others have several."""
        return (self,)

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        assert self._process is not None
        return self._process.pid

    @property
    def stderr(self) -> str:
        """All that it said in all its runs."""
        return (self.directory / "stderr").read_text("utf-8")

    def configure(self, **sections: Any) -> None:
        """Write the config: these sections beside the addresses, the admin token and the store."""
        server = {
            "listen": f"127.0.0.1:{self.port}",
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "admin_token": ADMIN_TOKEN,
            **sections.pop("server", {}),
        }
        document = {"server": server, "store": f"sqlite:{self.store.name}", "currency": "CNY", **sections}
        self.config.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")

    # --- the process

    def start(self) -> None:
        """Serve; returns when ``/readyz`` says so."""
        command = [*self.program, "serve", *self.options, "-c", str(self.config)]
        with (self.directory / "stderr").open("ab") as stderr:
            self._process = subprocess.Popen(command, stdout=stderr, stderr=stderr, env=self.env)
        wait_for(self._is_ready, within_s=START_S)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        if self._process is not None:
            self._process.kill()
            self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it one."""
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        process, self._process = self._process, None
        return 0 if process is None else process.wait(PATIENCE_S)

    def _is_ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"it ended with {self._process.returncode}:\n{self.stderr}")
        try:
            return self.admin("/readyz")[0] == 200
        except (OSError, HTTPException):
            return False

    # --- what an operator asks

    def admin(
        self, path: str, method: str = "GET", *, token: str = ADMIN_TOKEN, accept: str = "*/*"
    ) -> tuple[int, str]:
        """Status and body of a request to the admin plane."""
        connection = HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, headers={"authorization": f"Bearer {token}", "accept": accept})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self, accept: str = "*/*") -> str:
        """What ``/metrics`` says."""
        return self.admin("/metrics", accept=accept)[1]

    def answered(self) -> float:
        """How many requests ended, by ``/metrics``."""
        found = samples(self.metrics())
        return sum(value for (name, _), value in found.items() if name == "penstock_requests_total")

    def command(self, *arguments: str, code: int = 0) -> str:
        """What a command on the same config prints; it must end with ``code``."""
        command = [PENSTOCK, *arguments, "-c", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The same, as JSON."""
        return json.loads(self.command(*arguments, "--format", "json"))

    def create_key(self, name: str, *options: str) -> str:
        """A new key, to be used."""
        key: str = self.json("keys", "create", name, *options)["rows"][0]["key"]
        return key

    def exchange(self, request_id: str) -> dict[str, list[dict[str, Any]]]:
        """The ledger's rows of one exchange, by kind, once they are written."""
        status, body = self.admin(f"/admin/exchanges/{request_id}")  # flushes the ledger
        assert status == 200, body
        rows = self.json("spend", "show", request_id)["rows"]
        return {kind: [row for row in rows if row["row"] == kind] for kind in ("exchange", "attempt", "share")}

    def spend(self, by: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """``penstock spend``: the rows by group, and the total, once everything answered so far is written."""
        assert self._process is None or self.admin("/admin/spend")[0] == 200  # flushes the ledger
        report = self.json("spend", "--by", by)
        return {row[by]: row for row in report["rows"]}, report["total"]


@contextmanager
def gateway_process(directory: Path, **sections: Any) -> Iterator[GatewayProcess]:
    """One that serves this config. It must end with 0 on SIGTERM, unless the test ended it another way, and quietly."""
    gateway = GatewayProcess(directory)
    gateway.configure(**sections)
    gateway.start()
    try:
        yield gateway
        assert gateway.stop() == 0, gateway.stderr
        assert "Traceback" not in gateway.stderr
    finally:
        gateway.kill()


def free_ports() -> tuple[int, int]:
    """Two that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def wait_for(condition: Callable[[], object], what: str = "the gateway", within_s: float = PATIENCE_S) -> None:
    """Look until it holds: other processes have no event to wait on."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, f"waited {within_s:g} s for {what}"
        time.sleep(LOOK_S)


def environment(**more: str) -> Mapping[str, str]:
    """For programs that are not ours: where to find things, and what is given."""
    return {"PATH": os.environ["PATH"], **more}
