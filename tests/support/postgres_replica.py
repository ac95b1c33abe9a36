"""A streaming replica of a PostgreSQL server. Commits wait for it, so that nothing is lost when it is promoted."""

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.postgres_server import USER, PostgresServer

_SYNCHRONOUS: Final = "ALTER SYSTEM SET synchronous_standby_names = '*'"
_FOLLOWS: Final = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"


_PATIENCE_S: Final = 20.0


class PostgresReplica(PostgresServer):
    """It only reads until it is promoted."""

    def __init__(self, programs: Path, primary: PostgresServer) -> None:
        """``primary``: serves."""
        self._primary = primary
        super().__init__(programs)

    def _begin(self) -> None:
        data = self.directory / "data"
        command = [str(self._programs / "pg_basebackup"), "-h", "127.0.0.1", "-p", str(self._primary.port), "-U", USER]
        command += ["-D", str(data), "-R", "-X", "stream", "--checkpoint=fast", "--no-sync"]
        subprocess.run(command, check=True, cwd="/", capture_output=True)
        if os.getuid() == 0:
            owner = pwd.getpwnam("nobody")
            for path in (self.directory, data, *data.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self.start("wal_retrieve_retry_interval=100ms")

    def promote(self) -> None:
        """Return when it writes; the old primary has to be gone."""
        self.run(lambda connection: connection.fetchval("SELECT pg_promote(true, 30)"))


@contextmanager
def replica_of(primary: PostgresServer, programs: Path) -> Iterator[PostgresReplica]:
    """One that follows; commits of the primary wait for it."""
    replica = PostgresReplica(programs, primary)

    async def follow(connection: Any) -> None:
        await connection.execute(_SYNCHRONOUS)
        await connection.execute("SELECT pg_reload_conf()")

    async def follows(connection: Any) -> bool:
        return bool(await connection.fetchval(_FOLLOWS))

    try:
        primary.run(follow)
        until = time.monotonic() + _PATIENCE_S
        while not primary.run(follows):
            assert time.monotonic() < until, "the replica does not follow"
            time.sleep(0.02)
        yield replica
    finally:
        replica.remove()
