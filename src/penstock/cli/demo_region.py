"""A region of ``penstock demo --regions``: a simulated provider behind HTTP, in a process that can be killed.

The process listens on loopback, says its port in a line on standard output, and ends when its standard input does: it
never outlives the one that started it.
"""

import asyncio
import sys
from typing import Any

import click

from penstock.clock import SystemClock, SystemRng
from penstock.config.load import load
from penstock.config.settings import Address, ProviderSettings
from penstock.ports.providers import Transport, UpstreamCall
from penstock.providers.registry import KINDS
from penstock.providers.sim import Sim
from penstock.server.cycle import App
from penstock.server.listener import Listener, bind

HOST = "127.0.0.1"


class Region:
    """The process, as the demo holds it."""

    def __init__(self, name: str, *, seed: int, speed: float) -> None:
        """``speed``: how many times quicker than life it answers."""
        self.name = name
        self.port = 0
        """The same for good once it has been started."""
        self._arguments = (str(seed), str(speed))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    async def start(self) -> None:
        """Return when it listens. Raises ClickException."""
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", __name__, str(self.port), *self._arguments)
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
        self._process = process
        said = await process.stdout.readline() if process.stdout else b""
        if not said:
            await self.kill()
            raise click.ClickException(f"the simulated region {self.name} did not start (port {self.port})")
        self.port = int(said)

    async def kill(self) -> None:
        """End it at once, as when the power fails: nothing is finished, no connection is closed in order."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()


def app(provider: Transport, settings: ProviderSettings) -> App:
    """The provider as an ASGI application."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        call = UpstreamCall(settings, scope["method"], scope["path"], {}, body, stream=False, connect_timeout_s=0)
        response = await provider.send(call)
        headers = [(name.encode(), value.encode()) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        while data := await response.next():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body"})

    return answer


async def serve(port: int, seed: int, speed: float) -> None:
    """Be a region until standard input ends."""
    clock = SystemClock()
    provider = Sim(clock, SystemRng(seed), speed=speed, busy_rate=0.0)
    settings = load(None, {}, registry=KINDS).providers["sim"]
    listener = await Listener(app(provider, settings), bind(Address(HOST, port)), clock=clock).start()
    sys.stdout.write(f"{listener.address.port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await listener.drain(0.0)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
