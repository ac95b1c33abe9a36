"""One of several processes that serve one address together: its start, what it is asked, and its end.

It is ``penstock serve --worker``: it has a number, which its logs show, and inherits the data plane's socket, an admin
plane's of its own on loopback, and its end of a socket pair. The end of either process is the end of that pair,
whatever ended it: no process id is polled.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple, Self

from penstock.config.settings import Address
from penstock.errors import PenstockError
from penstock.ports.clock import Clock
from penstock.server.listener import bind

log = logging.getLogger(__name__)

WORKER: Final = "--worker"
"""The option of ``penstock serve`` by which a worker is told its number and its descriptors."""
ANSWER_WITHIN_S: Final = 10.0
READY_WITHIN_S: Final = 2.0
_LOOPBACK: Final = Address("127.0.0.1", 0)
_OK: Final = 200


class Answer(NamedTuple):
    """What its admin plane says."""

    status: int
    headers: list[tuple[bytes, bytes]]
    """Lower-case names."""
    body: bytes


class Descriptors(NamedTuple):
    """What a worker inherits: both listening sockets, and the pair's end."""

    data: int
    admin: int
    life: int


class Post(NamedTuple):
    """What a worker is told at its start."""

    number: int
    """Counted from 1; who replaces another has the next one."""
    files: Descriptors

    def __str__(self) -> str:
        return ",".join(map(str, [self.number, *self.files]))

    @classmethod
    def parse(cls, text: str) -> Self:
        """As ``--worker`` has it. Raises ValueError."""
        number, data, admin, life = map(int, text.split(","))
        return cls(number, Descriptors(data, admin, life))


class Inherited:
    """In the worker: the sockets for the addresses of its config, whatever they are bound to, and its parent's life."""

    def __init__(self, files: Descriptors, listen: Address, admin_listen: Address) -> None:
        for file in files:
            os.set_inheritable(file, False)
        self._sockets = {
            str(listen): socket.socket(fileno=files.data),
            str(admin_listen): socket.socket(fileno=files.admin),
        }
        self._life = socket.socket(fileno=files.life)

    def socket_for(self, address: Address) -> socket.socket | None:
        """The one that listens in the place of this address."""
        return self._sockets.pop(str(address), None)

    def watch(self) -> None:
        """End by SIGTERM, as told to, when the parent is no more. On the running loop."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._life)
            os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(self._life, ended)

    def close(self) -> None:
        """Leave what was not used."""
        for sock in (*self._sockets.values(), self._life):
            sock.close()


class Worker:
    """In the parent: a process that was started."""

    def __init__(self, number: int, clock: Clock, command: Sequence[str], data: socket.socket) -> None:
        """Start it. ``data``: bound; ``command``: what starts it, without ``--worker``. Raises PenstockError."""
        self.name = str(number)
        self.leaving = False
        """It was told to end."""
        self._clock = clock
        with ExitStack() as stack:
            admin = stack.enter_context(bind(_LOOPBACK))
            self._port: int = admin.getsockname()[1]
            self._life, theirs = socket.socketpair()
            stack.enter_context(theirs)
            files = Descriptors(data.fileno(), admin.fileno(), theirs.fileno())
            told = str(Post(number, files))
            try:
                # In a group of its own: Ctrl-C is for the parent, who tells it once.
                self._process = subprocess.Popen([*command, WORKER, told], pass_fds=files, process_group=0)  # noqa: S603 - our own command line
            except OSError as error:
                self._life.close()
                raise PenstockError(f"a worker could not be started: {error}") from error
        self._life.setblocking(False)
        self.exit: asyncio.Task[int] = asyncio.create_task(self._exit(), name=f"worker {number}")

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def _exit(self) -> int:
        """Its exit code, once it has ended; negative = the signal that ended it."""
        with self._life, suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(self._life, 1):
                pass
        return await asyncio.to_thread(self._process.wait)

    def signal(self, number: signal.Signals) -> None:
        """Send it one, unless it has ended."""
        if not self.exit.done():
            self._process.send_signal(number)

    def leave(self) -> None:
        """Tell it to drain and to end; a second time: to cut."""
        self.leaving = True
        self.signal(signal.SIGTERM)

    async def is_ready(self) -> bool:
        """Whether it takes requests."""
        if self.leaving or self.exit.done():
            return False
        try:
            return (await self.ask("GET", "/readyz", within_s=READY_WITHIN_S)).status == _OK
        except PenstockError:
            return False

    async def ask(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]] = ((b"host", b"127.0.0.1"),),
        body: bytes = b"",
        *,
        within_s: float = ANSWER_WITHIN_S,
    ) -> Answer:
        """What its admin plane says to that. ``path``: as it stands in a request line. Raises PenstockError."""
        kept = [(name, value) for name, value in headers if name not in {b"connection", b"content-length"}]
        framing = [(b"connection", b"close"), (b"content-length", str(len(body)).encode())]
        lines = b"".join(b"%s: %s\r\n" % header for header in [*kept, *framing])
        request = f"{method} {path} HTTP/1.1\r\n".encode() + lines + b"\r\n" + body
        try:
            return _answer(await self._exchange(request, within_s))
        except (OSError, TimeoutError, ValueError) as error:
            raise PenstockError(f"worker {self.name} does not answer", detail=str(error)) from error

    async def _exchange(self, request: bytes, within_s: float) -> bytes:
        deadline, writer = self._clock.deadline(), None
        try:
            with deadline.until(self._clock.monotonic() + within_s):
                reader, writer = await asyncio.open_connection(_LOOPBACK.host, self._port)
                writer.write(request)
                return await reader.read()
        finally:
            deadline.close()
            if writer is not None:
                writer.close()


def _answer(raw: bytes) -> Answer:
    """Raises ValueError when it is none, or not whole."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
    length = dict(headers).get(b"content-length")
    if not separator or length is None or len(body) != int(length):
        raise ValueError("its answer is not whole")
    return Answer(int(lines[0].split()[1]), headers, body)
