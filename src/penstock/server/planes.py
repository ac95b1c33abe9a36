"""The two addresses of a serving process: the data plane for clients, the admin plane for operators."""

import resource
import socket
from contextlib import suppress
from typing import Final

from penstock.server.cycle import App
from penstock.server.edge import Bounds
from penstock.server.gateway import Gateway
from penstock.server.listener import Listener

ADMIN_BOUNDS: Final = Bounds(connections=256, lame_duck_s=0.0)
MAX_CONNECTIONS: Final = 16_384
SPARE_FILES: Final = 512
"""File descriptors that are not client connections."""


class Planes:
    """Both listeners."""

    data: Listener
    admin: Listener

    def __init__(self, gateway: Gateway, data_app: App, admin_app: App) -> None:
        self._gateway = gateway
        self._data_app = data_app
        self._admin_app = admin_app

    async def open_data(self, sock: socket.socket) -> None:
        """Accept clients. Raises ListenError."""
        clock, shed = self._gateway.clock, self._gateway.metrics.shed
        self.data = await Listener(self._data_app, sock, clock=clock, bounds=_data_bounds(), on_refusal=shed).start()

    async def open_admin(self, sock: socket.socket) -> None:
        """Accept operators, after ``close_admin`` again. Raises ListenError."""
        self.admin = await Listener(self._admin_app, sock, clock=self._gateway.clock, bounds=ADMIN_BOUNDS).start()

    async def close_admin(self, within_s: float) -> None:
        """Answer what operators have asked, and listen no more."""
        await self.admin.drain(within_s)


def _data_bounds() -> Bounds:
    """As many connections as the process may have files for, which is raised as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else soft - SPARE_FILES
    return Bounds(connections=max(SPARE_FILES // 2, min(MAX_CONNECTIONS, room)))
