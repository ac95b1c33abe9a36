"""A request and its answer, without a socket."""

import asyncio
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.server.cycle import Cycle

SIZED = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
UNSIZED = {"type": "http.response.start", "status": 200, "headers": []}


class Recorder:
    """A connection that notes what its request does."""

    def __init__(self) -> None:
        self.writable = asyncio.Event()
        self.writable.set()
        self.written: list[bytes] = []
        self.ended: list[Cycle] = []
        self.refused: list[str] = []

    def write(self, data: bytes) -> None:
        """Note it."""
        self.written.append(data)

    def resume_reading(self) -> None:
        """Nothing was paused."""

    def answered(self, cycle: Cycle) -> None:
        """Note it."""
        self.ended.append(cycle)

    def refuse(self, error: PenstockError) -> None:
        """Note its kind."""
        self.refused.append(error.kind)


@pytest.fixture
def wire() -> Recorder:
    """A connection."""
    return Recorder()


def cycle_on(wire: Recorder, method: str = "POST", *, keep_alive: bool = True, expects_continue: bool = False) -> Cycle:
    """A request on it."""
    return Cycle(wire, {"method": method}, keep_alive=keep_alive, expects_continue=expects_continue)


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    """A piece of an answer."""
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_head_and_body_leave_together(wire: Recorder) -> None:
    """A whole answer is one write."""
    cycle = cycle_on(wire)
    await cycle.send(SIZED)
    assert not wire.written
    await cycle.send(body(b"hello"))
    assert wire.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"]
    assert wire.ended == [cycle]


async def test_an_answer_without_a_length_is_chunked(wire: Recorder) -> None:
    """Each piece is a chunk, an empty one is nothing, and the end is told."""
    cycle = cycle_on(wire)
    for message in (UNSIZED, body(b"one", more=True), body(b"", more=True), body(b"two"), body(b"too late")):
        await cycle.send(message)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert wire.written == [head + b"3\r\none\r\n", b"3\r\ntwo\r\n0\r\n\r\n"]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_answers_that_have_no_body_send_none(wire: Recorder, method: str, status: int) -> None:
    """Not even an empty chunk."""
    cycle = cycle_on(wire, method)
    await cycle.send({"type": "http.response.start", "status": status, "headers": []})
    await cycle.send(body(b"" if method == "GET" else b"hello"))
    (written,) = wire.written
    assert written.endswith(b"\r\n\r\n")
    assert b"chunked" not in written
    assert wire.ended == [cycle]


async def test_a_status_without_a_name_is_passed_on(wire: Recorder) -> None:
    """A provider may have invented it."""
    cycle = cycle_on(wire)
    await cycle.send({**SIZED, "status": 498})
    await cycle.send(body(b"hello"))
    assert wire.written[0].startswith(b"HTTP/1.1 498 \r\ncontent-length")


@pytest.mark.parametrize("data", [b"hell", b"hello!"])
async def test_a_body_of_another_length_than_told_is_never_complete(wire: Recorder, data: bytes) -> None:
    """The client would take the next answer for its rest, or its rest for the next answer."""
    cycle = cycle_on(wire)
    await cycle.send(SIZED)
    with pytest.raises(RuntimeError, match="content-length"):
        await cycle.send(body(data))
    assert not wire.ended


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\x00b"])
async def test_no_header_value_ends_its_line(wire: Recorder, value: bytes) -> None:
    """Whatever it is made of."""
    cycle = cycle_on(wire)
    with pytest.raises(ValueError, match="control character"):
        await cycle.send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", value), (b"x-a", b"b")]})
    assert not wire.written


@pytest.mark.parametrize(
    ("keep_alive", "headers", "told"),
    [(True, [], 0), (False, [], 1), (True, [(b"connection", b"close")], 1), (False, [(b"connection", b"close")], 1)],
)
async def test_the_end_of_the_connection_is_told_once(
    wire: Recorder, keep_alive: object, headers: list[tuple[bytes, bytes]], told: int
) -> None:
    """By the application or by us, whoever wants it."""
    cycle = cycle_on(wire, keep_alive=bool(keep_alive))
    await cycle.send({"type": "http.response.start", "status": 200, "headers": headers})
    await cycle.send(body(b"x"))
    assert wire.written[0].count(b"connection: close\r\n") == told
    assert cycle.keep_alive is not bool(told)


async def test_the_body_is_given_as_it_comes_and_its_end_once(wire: Recorder) -> None:
    """What came together is given together; after the end, ``receive`` waits for the end of the answer."""
    cycle = cycle_on(wire)
    waiting = asyncio.ensure_future(cycle.receive())
    await asyncio.sleep(0)
    assert cycle.feed(b"one") == 3
    assert cycle.feed(b"two") == 6
    assert await waiting == {"type": "http.request", "body": b"onetwo", "more_body": True}
    assert cycle.feed(b"three") == 5
    cycle.end_of_body()
    assert await cycle.receive() == {"type": "http.request", "body": b"three", "more_body": False}
    waiting = asyncio.ensure_future(cycle.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    await cycle.send(SIZED)
    await cycle.send(body(b"hello"))
    assert await waiting == {"type": "http.disconnect"}


async def test_an_interim_answer_is_sent_when_the_body_is_wanted(wire: Recorder) -> None:
    """Once, and not by an application that answers without it."""
    cycle = cycle_on(wire, expects_continue=True)
    cycle.feed(b"x")
    await cycle.receive()
    cycle.feed(b"y")
    await cycle.receive()
    assert wire.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    early = cycle_on(wire, expects_continue=True)
    await early.send(SIZED)
    await early.send(body(b"hello"))
    assert await early.receive() == {"type": "http.disconnect"}
    assert len(wire.written) == 2


async def test_who_has_left_is_told_to_the_application_and_gets_nothing_more(wire: Recorder) -> None:
    """By a call, by ``receive``; and whoever waits to send goes on."""
    cycle = cycle_on(wire)
    left: list[bool] = []
    cycle.scope["penstock.gone"] = lambda: left.append(True)
    wire.writable.clear()
    sending = asyncio.ensure_future(cycle.send(SIZED))
    await asyncio.sleep(0)
    cycle.disconnect()
    wire.writable.set()
    await sending
    await cycle.send(body(b"hello"))
    assert left == [True]
    assert await cycle.receive() == {"type": "http.disconnect"}
    assert not wire.written


@pytest.mark.parametrize("fault", [ValueError("a mistake"), None])
async def test_an_application_that_does_not_answer_is_answered_for(
    wire: Recorder, fault: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it failed, which is logged, or only ended."""

    async def app(_scope: object, _receive: object, _send: object) -> None:
        if fault is not None:
            raise fault

    await cycle_on(wire).run(app)
    assert wire.refused == ["internal_error"]
    assert len(caplog.records) == (fault is not None)
