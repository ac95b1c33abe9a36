"""A real PostgreSQL for tests: on loopback, in a directory of its own, as a user of its own, gone with the process.

PostgreSQL does not run as root: then ``setpriv`` gives it to ``nobody``. It keeps no promise against power loss
(``fsync=off``), and every one against the death of processes, its own included.
"""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import asyncpg  # type: ignore[import-untyped]  # it has none
import pytest

from penstock.stores.postgres_schema import migrate

USER: Final = "penstock"
"""Let in without a password: proving one takes the server longer than most tests take."""
GUARDED: Final = "guarded"
PASSWORD: Final = "open sesame/?"
"""Of ``GUARDED`` alone."""
TEMPLATE: Final = "penstock_template"

_SETTINGS: Final = (
    "fsync=off",
    "full_page_writes=off",
    "max_connections=300",
    "max_locks_per_transaction=256",
    "shared_buffers=64MB",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "log_min_messages=fatal",
    "autovacuum=off",
)
_EMPTY: Final = """
DELETE FROM exchanges; DELETE FROM attempts; DELETE FROM shares; DELETE FROM answers; DELETE FROM results;
DELETE FROM keys; DELETE FROM budgets; DELETE FROM purges; DELETE FROM leases; DELETE FROM summed_quarters;
DELETE FROM touched_quarters; DELETE FROM spend_quarters; DELETE FROM charge_quarters;
"""
_TRIES: Final = 600
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory of our own in it
_ROOM_BYTES: Final = 4 << 30


def binaries() -> Path | None:
    """Where the server's programs are: the newest version; None = there is none."""
    found = shutil.which("postgres")
    places = [*Path("/").glob("usr/lib/postgresql/*/bin/postgres"), *([Path(found).resolve()] if found else [])]
    return max((place.parent for place in places), key=lambda place: place.parts, default=None)


class PostgresServer:
    """One cluster. ``start`` and ``kill`` may take turns."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
        self.directory = Path(tempfile.mkdtemp(prefix="penstock-postgres-", dir=_MEMORY if in_memory else None))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self._begin()

    def url(self, database: str, credentials: str = USER) -> str:
        """The store URL of a database. ``credentials``: ``user`` or ``user:password``."""
        return f"postgresql://{credentials}@127.0.0.1:{self.port}/{database}"

    @property
    def serves(self) -> bool:
        """Whether it was started, and not killed since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Of the process whose children serve."""
        assert self._process is not None
        return self._process.pid

    def start(self, *settings: str) -> None:
        """Serve; return when it does."""
        options = [each for setting in (*_SETTINGS, f"port={self.port}", *settings) for each in ("-c", setting)]
        data = str(self.directory / "data")
        self._process = subprocess.Popen(
            [*_as_nobody(), str(self._programs / "postgres"), "-D", data, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        self._await_ready()

    def kill(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it at once (SIGQUIT: without a checkpoint, as a crash), with all its processes."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def freeze(self, *, frozen: bool) -> None:
        """Stop all its processes where they are, or let them go on."""
        how = signal.SIGSTOP if frozen else signal.SIGCONT
        assert self._process is not None
        main = self._process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for pid in [main, *map(int, children)]:
            os.kill(pid, how)

    def remove(self) -> None:
        """End it and forget its data."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, work: Callable[[Any], Awaitable[Any]], database: str = "postgres") -> Any:
        """The result of ``work`` with a connection, from outside of any loop or inside one."""

        async def connected() -> Any:
            connection = await asyncpg.connect(self.url(database))
            try:
                return await work(connection)
            finally:
                await connection.close()

        return _in_a_loop_of_its_own(connected)

    def fresh(self, name: str) -> str:
        """The URL of a database of that name, migrated; made if there is none."""

        async def make(connection: Any) -> None:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"')

        self.run(make)
        return self.url(name)

    def empty(self, name: str) -> str:
        """The URL of a new database without anything in it."""
        self.run(lambda connection: connection.execute(f'CREATE DATABASE "{name}"'))
        return self.url(name)

    def _begin(self) -> None:
        if os.getuid() == 0:
            owner = pwd.getpwnam("nobody")
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        data = self.directory / "data"
        options = ["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=1"]
        command = [*_as_nobody(), str(self._programs / "initdb"), "-D", str(data), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")
        rules = data / "pg_hba.conf"
        rules.write_text(f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.start()
        self.run(lambda connection: connection.execute(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'"))
        self.empty(TEMPLATE)
        _in_a_loop_of_its_own(lambda: migrate(self.url(TEMPLATE)))

    def _await_ready(self) -> None:
        for _ in range(_TRIES):
            command = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
            if subprocess.run([*command, "-t", "5"], check=False).returncode == 0:
                return
            assert self._process is not None
            assert self._process.poll() is None, "PostgreSQL ended at once"
            subprocess.run(["sleep", "0.05"], check=True)  # noqa: S607 - another process's start has no event
        pytest.fail("PostgreSQL did not become ready")


@cache
def shared_server() -> PostgresServer:
    """The one of this session. Skips the test where none can be had."""
    programs = binaries()
    if programs is None:
        pytest.skip("there is no PostgreSQL on this machine: apt install postgresql")
    return PostgresServer(programs)


def end_shared_server() -> None:
    """At the end of the session."""
    if shared_server.cache_info().currsize:
        shared_server().remove()
        shared_server.cache_clear()


def database_of(directory: Path) -> str:
    """A database for a directory of a test: the same one again, while the directory is the same.

    Numbered directories are the examples of one test, one after the other: they share a database that is emptied.
    """
    example = directory.name.isdecimal()
    home = directory.parent if example else directory
    url = shared_server().fresh(f"test_{crc32(str(home).encode()):08x}_{len(str(home))}")
    if example and not directory.exists():
        directory.mkdir()
        shared_server().run(lambda connection: connection.execute(_EMPTY), url.rpartition("/")[2])
    return url


def _in_a_loop_of_its_own(work: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await work()

    def target() -> Any:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(run())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(target).result()


def _as_nobody() -> Sequence[str]:
    if os.getuid() != 0:
        return ["setpriv", "--pdeathsig", "INT"]
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig", "INT"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
