"""One call at the bill provider: what it says, and what it bills, until its words are said or its client is gone."""

import asyncio
import contextlib
import socket
import struct
import time
from typing import Final

import msgspec

from penstock.core.usage import Usage
from penstock.providers.answers import Answer, error_body, events, usage_fields, whole
from tests.support.bill_provider_habits import billed, habit_of, reported, words_said
from tests.support.bill_provider_lines import BilledCall, BillWriter
from tests.support.bill_provider_words import WORD, Wish

LOOK_S: Final = 0.005
"""How soon it notices, between two words, that its client is gone."""
PROGRESS_S: Final = 0.1
_BEFORE: Final = {"chat": 1, "messages": 2}
"""Events of a stream before its first word."""
_encode = msgspec.json.Encoder().encode


class Broken(Exception):
    """The connection is to be reset."""


class Call:
    """From the line in the bill to the last byte."""

    def __init__(
        self,
        bill: BillWriter,
        call: BilledCall,
        wish: Wish,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._bill = bill
        self._call = call
        self._wish = wish
        self._reader = reader
        self._writer = writer
        self._stops, self._habit = habit_of(wish.model)
        self._said = 0
        self._told_at = 0.0

    @property
    def _gone(self) -> bool:
        return self._reader.at_eof() or self._writer.transport.is_closing()

    async def run(self) -> None:
        """Answer. Raises Broken where the connection is not to be used again."""
        self._bill.begin(self._call)
        habit = self._habit
        await self._pass(habit.first_s)
        if habit.status != 200 or habit.error_inside:
            await self._refuse()
            return
        if habit.breaks == "head":
            self._break(Usage())
        if habit.silent == "head":
            await self._fall_silent()
        if self._wish.streamed:
            await self._stream()
        else:
            await self._whole()

    # --- answers

    async def _whole(self) -> None:
        habit, words = self._habit, words_said(self._wish, self._habit)
        if habit.breaks == "body":
            await self._send(_head(200, "application/json", 1000))
            self._break(Usage())
        await self._generate(words)
        body = self._shaped(whole(self._answer(words), self._wish.dialect))
        if habit.breaks == "middle" or habit.cut:
            await self._send(_head(200, "application/json", len(body)) + body[: len(body) // 2])
            self._break(billed(self._wish, habit, words))
        self._end(words)
        await self._send(_head(200, "application/json", len(body)) + body)

    async def _stream(self) -> None:
        habit, dialect, words = self._habit, self._wish.dialect, words_said(self._wish, self._habit)
        await self._send(_head(200, "text/event-stream"))
        if habit.breaks == "body":
            self._break(Usage())
        if habit.silent == "body":
            await self._fall_silent()
        script = events(self._answer(words), dialect, usage=self._wish.wants_usage)
        before = _BEFORE.get(dialect, 0)
        await self._chunk(b"".join(script[:before]))
        await self._generate(words, script[before : before + words])
        self._end(words)
        end = [self._shaped(event) for event in script[before + words :]]
        if habit.usage == "twice":
            end[-2:-2] = [end[-2]]
        if not habit.done:
            end = [event for event in end if b"[DONE]" not in event]
        await self._chunk(b"".join(end))
        await self._send(b"0\r\n\r\n")

    async def _generate(self, words: int, script: list[bytes] | None = None) -> None:
        """Say the words one by one; leave off where the model's habit, or its client's leaving, ends it."""
        habit, half = self._habit, max(1, words // 2)
        for index in range(words):
            await self._pass(self._wish.gap_s)
            if self._gone and self._stops:
                self._leave()
            self._said = index + 1
            self._tell_progress()
            if script is not None:
                await self._chunk(b": still here\n\n" * habit.keep_alives + self._shaped(script[index]))
            if self._said == half and script is not None:
                await self._interrupt()
        if script is None and habit.silent:
            await self._fall_silent()

    async def _interrupt(self) -> None:
        if self._habit.breaks == "middle":
            await self._drain()
            self._break(billed(self._wish, self._habit, self._said))
        if self._habit.silent == "middle":
            await self._fall_silent()
        if self._habit.cut:
            self._end(self._said)
            await self._send(b"0\r\n\r\n")
            await self._drain()
            raise Broken

    async def _refuse(self) -> None:
        self._bill.end(self._call, Usage(), "refused")
        body = error_body("scripted: not now", dialect=self._wish.dialect)
        if self._habit.error_inside and self._wish.streamed:
            await self._send(_head(200, "text/event-stream"))
            await self._chunk(b"data: " + body + b"\n\n")
            await self._send(b"0\r\n\r\n")
        else:
            await self._send(_head(self._habit.status, "application/json", len(body)) + body)

    async def _fall_silent(self) -> None:
        """Until the client leaves; what was begun is then finished, or not."""
        while not self._gone:  # noqa: ASYNC110 - a StreamReader that nobody reads has no event for its end
            await asyncio.sleep(LOOK_S)
        if self._stops:
            self._leave()
        self._end(words_said(self._wish, self._habit))
        raise Broken

    # --- the bill

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._told_at > PROGRESS_S:
            self._told_at = now
            self._bill.progress(self._call, prompt=self._wish.prompt, output=self._said)

    def _end(self, words: int) -> None:
        self._bill.end(self._call, billed(self._wish, self._habit, words), "left" if self._gone else "complete")

    def _leave(self) -> None:
        self._bill.end(self._call, billed(self._wish, self._habit, self._said), "left")
        raise Broken

    def _break(self, usage: Usage) -> None:
        self._bill.end(self._call, usage, "broken")
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        raise Broken

    # --- the wire

    def _answer(self, words: int) -> Answer:
        wish, habit = self._wish, self._habit
        usage = None if habit.usage == "missing" else billed(wish, habit, words)
        name = "constant" if habit.id == "constant" else self._call.call
        finish = "stop" if words == wish.words else "length"
        return Answer((WORD,) * words, usage, model=wish.model, id=name, finish=finish)

    def _shaped(self, data: bytes) -> bytes:
        """With the usage and the id that the habit has."""
        habit = self._habit
        usage = billed(self._wish, habit, words_said(self._wish, habit))
        said = reported(usage, habit)
        if said is not None:
            data = data.replace(_encode(usage_fields(usage)), said)
        own = b'"id":"%b"' % self._call.call.encode()
        if habit.id == "missing":
            return data.replace(own + b",", b"")
        return data.replace(own, {"null": b'"id":null', "empty": b'"id":""'}.get(habit.id, own))

    async def _pass(self, seconds: float) -> None:
        """Let time pass; at a provider that stops only until the client is gone."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not (self._gone and self._stops):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(min(left, LOOK_S) if self._stops else left)

    async def _chunk(self, data: bytes) -> None:
        if data:
            await self._send(b"%x\r\n%b\r\n" % (len(data), data))

    async def _send(self, data: bytes) -> None:
        if not self._gone:
            self._writer.write(data)
            await self._drain()

    async def _drain(self) -> None:
        with contextlib.suppress(OSError):  # a client that is gone changes nothing but what ``_gone`` says
            await self._writer.drain()


def _head(status: int, kind: str, length: int | None = None) -> bytes:
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 {status} Billed\r\ncontent-type: {kind}\r\n{size}\r\n\r\n".encode()
