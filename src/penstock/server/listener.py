"""One listening socket, the connections it accepts, and their drain.

A drain lets clients that are about to send do so once more (docs/adr/0006).
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final, Self

from penstock.config.settings import Address
from penstock.errors import Draining
from penstock.ports.clock import Clock
from penstock.server.connection import Connection
from penstock.server.cycle import App
from penstock.server.edge import Bounds, Edge

BACKLOG: Final = 2048
DOORS: Final = 16
"""New connections that are let in per turn of the loop: libuv accepts one per descriptor. When turns are long those who
connect would otherwise wait for seconds behind those who are connected."""
DRAIN_LOOK_S: Final = 0.02
"""How often a drain looks whether it is done."""
LAST_WORDS_S: Final = 5.0
"""How long cancelled requests have to settle, and to tell their clients."""


class ListenError(OSError):
    """The address cannot be listened on; the message names it and says what to do."""


def bind(address: Address) -> socket.socket:
    """A bound, not yet listening socket. Raises ListenError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY by the protocol
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        raise ListenError(_why(address, error)) from error
    return sock


def _why(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use: stop the process that listens there, or choose another address"
    if error.errno == errno.EACCES:
        return f"{address} may not be listened on: ports below 1024 need a privilege, choose a higher one"
    return f"cannot listen on {address}: {error.strerror or error}"


class Listener:
    """One server: accepts on ``sock`` and hands every request to ``app``."""

    def __init__(
        self,
        app: App,
        sock: socket.socket,
        *,
        clock: Clock,
        bounds: Bounds | None = None,
        on_refusal: Callable[[str], None] | None = None,
    ) -> None:
        """``app``: an ASGI 3 callable. ``on_refusal``: told the kind of each refusal that never reaches the app."""
        self.edge = Edge(bounds or Bounds(), clock, **({"on_refusal": on_refusal} if on_refusal else {}))
        self._sock = sock
        self.address = Address(*sock.getsockname()[:2])
        """Where it really listens, should the port have been 0."""
        self._app = app
        self._servers: list[asyncio.Server] = []

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self.edge.connections)

    async def start(self) -> Self:
        """Accept from now on."""
        loop = asyncio.get_running_loop()
        doors = [self._sock, *(self._sock.dup() for _ in range(DOORS - 1))]
        try:
            for door in doors:
                self._servers.append(await loop.create_server(self._connect, sock=door, backlog=BACKLOG))
        except OSError as error:  # another process may listen since we bound
            for door in doors:
                door.close()
            raise ListenError(_why(self.address, error)) from error
        self.edge.start()
        return self

    async def adopt(self, sock: socket.socket) -> None:
        """Serve a connection that another process has accepted."""
        await asyncio.get_running_loop().connect_accepted_socket(self._connect, sock)

    def _connect(self) -> Connection:
        return Connection(self._app, self.edge, asyncio.get_running_loop())

    @property
    def file(self) -> int:
        """The descriptor of its socket."""
        return self._sock.fileno()

    def dup(self) -> socket.socket:
        """Its socket once more: to listen again when this has been drained."""
        return self._sock.dup()

    async def drain(self, within_s: float, *, give: Callable[[int], bool] | None = None) -> None:
        """Accept no more, let requests under way finish for ``within_s`` seconds, then refuse or cut the rest.

        Returns when no request is left; cancelling it goes to the cutting at once. Idle connections may bring one
        last request for ``lame_duck_s``: it is answered with ``connection: close``, so that a client with a pool does
        not run into a closed door. ``give``: the process that takes over takes them instead (``Connection.give_away``).
        """
        self.edge.draining = True
        for server in self._servers:
            server.close()
        for connection in self.open_connections():
            connection.shutdown()
        try:
            await self._finish(within_s, give)
        finally:
            await self._cut()
            self.edge.stop()

    async def _finish(self, within_s: float, give: Callable[[int], bool] | None) -> None:
        edge, clock = self.edge, self.edge.clock
        now = clock.monotonic()
        until = now + within_s
        duck_until = now + edge.bounds.lame_duck_s if give is None else until - edge.bounds.linger_s
        while (edge.connections or edge.tasks) and now < until:
            for connection in self.open_connections():
                if give is not None:
                    connection.give_away(give)
                if now >= duck_until:
                    connection.close_if_idle()
            await clock.sleep(DRAIN_LOOK_S)
            now = clock.monotonic()

    async def _cut(self) -> None:
        for connection in self.open_connections():
            connection.cut(Draining("the gateway is shutting down"))
        tasks = list(self.edge.tasks)
        for task in tasks:
            if not task.cancelling():  # else its connection has cut it
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_S)
        for connection in self.open_connections():
            connection.close()

    def open_connections(self) -> list[Connection]:
        """Each of them."""
        return [connection for connection in self.edge.connections if isinstance(connection, Connection)]
