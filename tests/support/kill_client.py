"""The client of the kill loop: one chat request per connection, which may break at any moment; it tells what came.

``marker`` stands in the prompt for the bill and in the tags for the ledger (``bill_provider_words``).
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.bill_provider_words import prompt_of

PATIENCE_S = 30.0
PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how."""

    marker: str
    model: str = "completes"
    streamed: bool = True
    say: int = 16
    gap_ms: int = 0
    padding: int = 0
    leave_after: int | None = None
    """Close the connection after so many reads of the answer."""
    key: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    """More for the body."""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The JSON."""
        prompt = prompt_of(self.marker, say=self.say, gap_ms=self.gap_ms, padding=self.padding)
        messages = [{"role": "user", "content": prompt}]
        options = {"stream": True, "stream_options": {"include_usage": True}} if self.streamed else {}
        return json.dumps({"model": self.model, "messages": messages, **options, **self.fields}).encode()


@dataclass(slots=True)
class Told:
    """What came."""

    question: Question
    status: int = 0
    """0 = no answer began."""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    """As it stood on the wire, chunk sizes included."""
    complete: bool = False
    """It came to its end, as HTTP says."""

    @property
    def answered(self) -> bool:
        """It has the whole answer: it came to its end, and that was no error event."""
        return self.complete and b'data: {"error"' not in self.body

    @property
    def json(self) -> Any:
        """Of a whole answer."""
        return json.loads(self.body)


async def ask(port: int, question: Question, path: str = PATH, *, patience_s: float = PATIENCE_S) -> Told:
    """Ask on loopback, and take what comes until its end, however that comes."""
    told = Told(question)
    with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(_request(port, question, path))
            await asyncio.wait_for(_take(reader, told), patience_s)
        finally:
            writer.close()
    return told


def _request(port: int, question: Question, path: str) -> bytes:
    body = question.body
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    if question.key:
        lines.append(f"authorization: Bearer {question.key}")
    headers = {"x-penstock-tags": f"marker={question.marker}"} | question.headers
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _take(reader: asyncio.StreamReader, told: Told) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    told.status = int(head[0].split(" ")[1])
    told.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    reads = 0
    while told.question.leave_after is None or reads < told.question.leave_after:
        data = await reader.read(65536)
        reads += 1
        told.body += data
        if not data:
            told.complete = _is_complete(told)
            return


def _is_complete(told: Told) -> bool:
    length = told.headers.get("content-length")
    return told.body.endswith(b"0\r\n\r\n") if length is None else len(told.body) == int(length)
