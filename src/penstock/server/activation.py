"""Listening sockets that a supervisor has opened before it started us (sd_listen_fds(3)).

Clients that come while nobody serves wait there and are not refused. Fails closed: what was passed and is no listening
socket ends the start, as an address in use does.
"""

import logging
import os
import socket
from typing import Final, Protocol

from penstock.config.settings import Address
from penstock.server.listener import ListenError

log = logging.getLogger(__name__)

FIRST: Final = 3
"""The descriptor of the first."""
_ANY: Final = {"0.0.0.0", "::"}  # noqa: S104 - compared, not listened on


class Given(Protocol):
    """Sockets that another process has opened."""

    def socket_for(self, address: Address) -> socket.socket | None:
        """The one for this address, if there is one; once."""
        ...


class Activation:
    """What was passed, each to be had once by its address."""

    def __init__(self, count: int, first: int = FIRST) -> None:
        """``count``: how many descriptors, from ``first`` on. Raises ListenError."""
        self._sockets = [_taken(file) for file in range(first, first + count)]

    def socket_for(self, address: Address) -> socket.socket | None:
        """The one that listens there; an address that means all of this machine's is the same in IPv4 and IPv6."""
        for sock in self._sockets:
            host, port = sock.getsockname()[:2]
            if port == address.port and (host == address.host or {host, address.host} <= _ANY):
                self._sockets.remove(sock)
                return sock
        return None

    def close(self) -> None:
        """Those that nobody asked for: the config does not name their addresses."""
        for sock in self._sockets:
            log.warning("a socket was passed that no address of the config is for", extra={"at": sock.getsockname()})
            sock.close()
        self._sockets.clear()


def _taken(file: int) -> socket.socket:
    """Ours alone: a successor gets it another way."""
    try:
        os.set_inheritable(file, False)
        sock = socket.socket(fileno=file)
        listens = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        raise ListenError(f"descriptor {file} was passed to listen on, and is no socket: {error.strerror}") from error
    if not listens or sock.family not in (socket.AF_INET, socket.AF_INET6):
        sock.close()
        raise ListenError(f"descriptor {file} was passed to listen on, and is no listening TCP socket")
    return sock
