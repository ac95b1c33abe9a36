"""Real Redis servers on loopback, in directories of their own: alone, with an append-only file, or three masters.

    with redis_server() as server:
        server.freeze()          # SIGSTOP; thaw() lets it go on
        server.kill()
        server.start()           # empty: nothing is kept, unless it has a file
        dump = server.dump()     # what it has now
        server.restart_from(dump)

Without ``redis-server`` the test skips, and says so.
"""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import hiredis
import pytest

LOOPBACK: Final = "127.0.0.1"
PATIENCE_S: Final = 20.0
MASTERS: Final = 3
SLOTS: Final = 16384
_BUS: Final = 10000
"""A cluster's servers talk among themselves at their port plus this."""


class RedisServer:
    """One process. ``url`` is what ``shared:`` says of it."""

    def __init__(self, directory: Path, *, aof: bool = False, cluster: bool = False, password: str = "") -> None:
        """``aof``: what it acknowledges survives its death."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed (apt install redis-server)")
        self.directory = directory
        self.port = free_port(bus=cluster)
        self.url = f"redis://{f':{password}@' if password else ''}{LOOPBACK}:{self.port}/0"
        self._password = password
        self._command = [program, "--port", str(self.port), "--bind", LOOPBACK, "--dir", str(directory), "--save", ""]
        self._command += ["--appendonly", "yes" if aof else "no", "--daemonize", "no", "--logfile", "log"]
        self._command += ["--enable-debug-command", "yes"]
        if cluster:
            self._command += ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
        if password:
            self._command += ["--requirepass", password]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    # --- life and death

    def start(self) -> None:
        """Return when it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with suppress(OSError, AssertionError):  # nobody listens yet, or it still reads its file
                if self.call("PING") == "PONG":
                    return
            time.sleep(0.01)
        message = f"redis-server did not start: {(self.directory / 'log').read_text('utf-8')}"
        raise AssertionError(message)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It accepts, and does nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def dump(self) -> Path:
        """What it has now, as a file beside."""
        self.call("SAVE")
        return Path(shutil.copy(self.directory / "dump.rdb", self.directory / "old.rdb"))

    def restart_from(self, dump: Path) -> None:
        """Killed, and back with what it had when the dump was made."""
        self.kill()
        shutil.copy(dump, self.directory / "dump.rdb")
        self.start()

    def rewind(self, dump: Path) -> None:
        """Back to the dump, in the same process."""
        shutil.copy(dump, self.directory / "dump.rdb")
        self.call("DEBUG", "RELOAD", "NOSAVE")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    # --- beside the code under test

    def call(self, *words: str | bytes | int) -> Any:
        """What it answers to one command, in text. Raises AssertionError when that is an error."""
        with socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE_S) as link:
            reader = hiredis.Reader(encoding="utf-8", errors="backslashreplace")
            packed = [hiredis.pack_command(("AUTH", self._password))] if self._password else []  # type: ignore[arg-type]  # its stub means a tuple of one
            link.sendall(b"".join([*packed, hiredis.pack_command(words)]))  # type: ignore[arg-type]  # likewise
            answers: list[Any] = []
            while len(answers) <= len(packed):
                received = link.recv(65536)
                if not received:
                    raise ConnectionResetError
                reader.feed(received)
                while (answer := reader.gets()) is not False:
                    answers.append(answer)
        assert not isinstance(answers[-1], hiredis.ReplyError), answers[-1]
        return answers[-1]

    def calls(self) -> dict[str, int]:
        """How often each command ran since the last ``CONFIG RESETSTAT``."""
        lines = str(self.call("INFO", "commandstats")).splitlines()
        pairs = [line.removeprefix("cmdstat_").split(":calls=") for line in lines if line.startswith("cmdstat_")]
        return {name: int(rest.split(",")[0]) for name, rest in pairs}


class RedisCluster:
    """Three masters, each with a third of the keys."""

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self.servers = servers
        self.url = f"redis+cluster://{','.join(f'{LOOPBACK}:{server.port}' for server in servers)}"

    def start(self) -> None:
        """Return when each knows all."""
        each = -(-SLOTS // len(self.servers))
        for number, server in enumerate(self.servers):
            server.start()
            server.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            server.call("CLUSTER", "ADDSLOTSRANGE", each * number, min(SLOTS, each * (number + 1)) - 1)
        first, *others = self.servers
        for server in others:
            server.call("CLUSTER", "MEET", LOOPBACK, first.port)
        until = time.monotonic() + PATIENCE_S
        while not all(self._knows_all(server) for server in self.servers):
            assert time.monotonic() < until, "the cluster did not come together"
            time.sleep(0.02)

    def _knows_all(self, server: RedisServer) -> bool:
        return (
            "cluster_state:ok" in server.call("CLUSTER", "INFO")
            and len(server.call("CLUSTER", "SLOTS")) == len(self.servers)
        )  # fmt: skip

    def has(self, slot: int) -> RedisServer:
        """The server of a slot."""
        return self.servers[slot // -(-SLOTS // len(self.servers))]


@contextmanager
def redis_server(*, aof: bool = False, password: str = "") -> Iterator[RedisServer]:
    """One that runs."""
    with TemporaryDirectory(prefix="redis") as directory:
        server = RedisServer(Path(directory), aof=aof, password=password)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def redis_cluster() -> Iterator[RedisCluster]:
    """Three masters that run."""
    with ExitStack() as stack:
        servers = []
        for _ in range(MASTERS):
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="redis")))
            servers.append(RedisServer(directory, cluster=True))
            stack.callback(servers[-1].kill)
        cluster = RedisCluster(servers)
        cluster.start()
        yield cluster


def free_port(*, bus: bool = False) -> int:
    """One that nobody listens at; ``bus``: and whose cluster port is free as well."""
    while True:
        with socket.socket() as tried:
            tried.bind((LOOPBACK, 0))
            port: int = tried.getsockname()[1]
            if not bus:
                return port
            with socket.socket() as beside, suppress(OSError, OverflowError):
                beside.bind((LOOPBACK, port + _BUS))
                return port
