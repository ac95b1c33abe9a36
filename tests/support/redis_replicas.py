"""A replica of one of a cluster's masters: it is elected when its master is silent for a second."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.redis_server import LOOPBACK, PATIENCE_S, RedisCluster, RedisServer


@contextmanager
def replica_in(cluster: RedisCluster, master: RedisServer) -> Iterator[RedisServer]:
    """One that all of the cluster know, and that has what its master has."""
    with TemporaryDirectory(prefix="redis") as directory:
        replica = RedisServer(Path(directory), cluster=True)
        try:
            replica.start()
            replica.call("CLUSTER", "MEET", LOOPBACK, master.port)
            name = str(master.call("CLUSTER", "MYID"))
            _wait(lambda: name in str(replica.call("CLUSTER", "NODES")))
            replica.call("CLUSTER", "REPLICATE", name)
            mine = str(replica.call("CLUSTER", "MYID"))
            _wait(lambda: "master_link_status:up" in str(replica.call("INFO", "replication")))
            _wait(lambda: all(_is_replica(each, mine) for each in cluster.servers))
            yield replica
        finally:
            replica.kill()


def caught_up(replica: RedisServer, master: RedisServer) -> None:
    """Return when it has all that its master has now."""
    wanted = _offset(master, "master_repl_offset")
    _wait(lambda: _offset(replica, "slave_repl_offset") >= wanted)


def promoted(replica: RedisServer) -> None:
    """Return when it is a master, and says that all slots are served."""
    _wait(lambda: "role:master" in str(replica.call("INFO", "replication")))
    _wait(lambda: "cluster_state:ok" in str(replica.call("CLUSTER", "INFO")))


def demoted(server: RedisServer) -> None:
    """Return when it knows that another has its slots."""
    _wait(lambda: "role:slave" in str(server.call("INFO", "replication")))


def _offset(server: RedisServer, name: str) -> int:
    lines = str(server.call("INFO", "replication")).splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith(f"{name}:"))


def _is_replica(server: RedisServer, name: str) -> bool:
    """Whether a server knows it as one."""
    lines = str(server.call("CLUSTER", "NODES")).splitlines()
    return any(line.startswith(name) and "slave" in line for line in lines)


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < deadline, "the cluster did not come to that"
        time.sleep(0.02)
