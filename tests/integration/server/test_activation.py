"""Sockets that a supervisor passes are served, and nothing else of what it passes is."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock.config.load import activation_here
from penstock.config.settings import Address
from penstock.server.activation import Activation
from penstock.server.listener import ListenError
from tests.support.gateway_process import PENSTOCK, GatewayProcess

LOOPBACK = "127.0.0.1"
START = """
import os, sys
count, *command = sys.argv[1:]
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}
for place, file in enumerate(map(int, os.environ.pop("FILES").split())):
    os.dup2(file, 100 + place)
for place in range(int(count)):
    os.dup2(100 + place, 3 + place)
os.execv(command[0], command)
"""


class ActivatedGateway(GatewayProcess):
    """One that a supervisor starts."""

    sockets: Sequence[socket.socket] = ()

    def activate(self) -> None:
        """Start it with the sockets."""
        files = [sock.fileno() for sock in self.sockets]
        command = [sys.executable, "-c", START, str(len(files)), PENSTOCK, "serve", "-c", str(self.config)]
        with (self.directory / "stderr").open("ab") as stderr:
            environment = {**os.environ, "FILES": " ".join(map(str, files))}
            self._process = subprocess.Popen(command, stderr=stderr, pass_fds=files, env=environment)


def test_who_comes_before_the_server_waits_for_it(tmp_path: Path) -> None:
    """A client connects and asks while nobody serves, before the first start and between two; it is answered."""
    gateway = ActivatedGateway(tmp_path)
    gateway.configure()
    ports = gateway.port, gateway.admin_port
    data, admin = (socket.create_server((LOOPBACK, port)) for port in ports)
    with data, admin:
        gateway.sockets = [admin, data]
        try:
            for _ in range(2):
                with socket.create_connection((LOOPBACK, gateway.port), timeout=20) as client:
                    client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                    gateway.activate()
                    assert client.recv(15) == b"HTTP/1.1 200 OK"
                assert gateway.stop() == 0
        finally:
            gateway.kill()


def test_each_is_had_once_by_its_address(caplog: pytest.LogCaptureFixture) -> None:
    """One that the config does not name is closed, aloud."""
    with socket.create_server((LOOPBACK, 0)) as ours, caplog.at_level(logging.WARNING):
        port = ours.getsockname()[1]
        activation = Activation(1, os.dup(ours.fileno()))
        assert activation.socket_for(Address(LOOPBACK, 1)) is None
        assert activation.socket_for(Address("0.0.0.0", port)) is None  # noqa: S104 - not listened on
        found = activation.socket_for(Address(LOOPBACK, port))
        assert found is not None
        assert not found.get_inheritable()
        found.close()
        assert activation.socket_for(Address(LOOPBACK, port)) is None
        activation.close()
        assert caplog.messages == []
        Activation(1, os.dup(ours.fileno())).close()
        assert caplog.messages == ["a socket was passed that no address of the config is for"]


def test_all_addresses_are_the_same_in_both_families() -> None:
    """A supervisor listens on [::] where the config says 0.0.0.0."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as ours:
        activation = Activation(1, os.dup(ours.fileno()))
        found = activation.socket_for(Address("0.0.0.0", ours.getsockname()[1]))  # noqa: S104 - compared
        assert found is not None
        found.close()


@pytest.mark.parametrize(("pid", "count", "found"), [(0, "2", 2), (1, "2", 0), (0, "-1", 0), (0, "", 0), (0, "x", 0)])
def test_who_is_meant(monkeypatch: pytest.MonkeyPatch, pid: int, count: str, found: int) -> None:
    """This very process, and not one that inherits its environment, as its successor does."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + pid))
    monkeypatch.setenv("LISTEN_FDS", count)
    assert activation_here() == found


def test_what_does_not_listen_ends_the_start(tmp_path: Path) -> None:
    """A file, a connection, nothing at all."""
    with socket.socket() as unbound, (tmp_path / "file").open("w") as file:
        for passed in (unbound.fileno(), file.fileno()):
            with pytest.raises(ListenError, match="was passed to listen on"):
                Activation(1, os.dup(passed))
        with pytest.raises(ListenError, match="was passed to listen on"):
            Activation(1, 10_000)
