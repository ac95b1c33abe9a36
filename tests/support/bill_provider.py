"""A provider that keeps its own durable bill: the oracle that the ledger is held against.

    python -m tests.support.bill_provider BILL_FILE [PORT]

prints its port and serves until it is killed. OpenAI's chat and completions, and Anthropic's messages, whole and
streamed, on loopback. What a request asks for stands in its prompt (``bill_provider_words``), what goes wrong in its
model's name (``bill_provider_habits``), what is billed in the file (``bill_provider_lines``): a call's line is durable
before the provider works for it, and its end before the client can read it.
"""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from penstock.providers.answers import dialect_of
from tests.support.bill_provider_call import Broken, Call
from tests.support.bill_provider_lines import BilledCall, BillReader, BillWriter
from tests.support.bill_provider_words import read_wish

ROOT: Final = Path(__file__).parents[2]


class Provider:
    """The server, and what its calls have in common."""

    def __init__(self, bill: BillWriter) -> None:
        self.bill = bill
        self._numbers = itertools.count(1)
        self._run = f"{time.time_ns():x}"

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, Broken):
            last = False
            while not last:
                path, body, last = await _read_request(reader)
                await self._call(path, body, reader, writer).run()
            writer.close()
            return
        writer.transport.abort()

    def _call(
        self, path: str, body: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Call:
        wish = read_wish(dialect_of(path), body)
        name = f"c-{self._run}-{next(self._numbers)}"
        call = BilledCall(name, wish.marker, wish.model, time.time(), wish.streamed)
        return Call(self.bill, call, wish, reader, writer)


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any], bool]:
    """Path, body, and whether the client wants no other on this connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").lower().split("\r\n")
    length = next((line.partition(":")[2] for line in lines if line.startswith("content-length:")), "0")
    body = msgspec.json.decode(await reader.readexactly(int(length)))
    return first.split(" ")[1], body, "connection: close" in lines


async def serve(path: Path, port: int) -> None:
    """Until killed."""
    provider = Provider(BillWriter(path))
    server = await asyncio.start_server(provider.accept, "127.0.0.1", port, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


class BillProvider:
    """The process, from the side of a test."""

    def __init__(self, path: Path) -> None:
        """``path``: of the bill."""
        self.path = path
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        path.touch()
        self._reader = BillReader(path)

    def start(self) -> Self:
        """Serve, on the port of the last run if there was one."""
        command = [sys.executable, "-m", "tests.support.bill_provider", str(self.path), str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def kill(self) -> None:
        """At once; its bill is in the file."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    @property
    def base_url(self) -> str:
        """For a provider's ``base_url`` and ``messages_url``."""
        return f"http://127.0.0.1:{self.port}/v1"

    def calls(self) -> list[BilledCall]:
        """The bill so far."""
        return list(self._reader.calls())


@contextmanager
def bill_provider(path: Path) -> Iterator[BillProvider]:
    """One that serves."""
    provider = BillProvider(path)
    try:
        yield provider.start()
    finally:
        provider.kill()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int((*sys.argv, "0")[2])))
