"""The 20 vectors: requests whose framing two parsers may read differently, with a second request smuggled behind.

Whatever the vector, the client gets one 400 (a header block too large: 431), nothing of the smuggled request, and the
end of the connection.
"""

import asyncio

import pytest
import uvloop

from tests.support.tiny_app import TinyApp, connected, listening

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /first HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
CHUNKED = POST + HOST + b"Transfer-Encoding: chunked\r\n\r\n"

VECTORS = {
    "content-length and transfer-encoding": POST + HOST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded transfer-encoding": POST + HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"POST /first HTTP/1.1\nHost: localhost\nContent-Length: 0\n\n",
    "no host": POST + b"Content-Length: 0\r\n\r\n",
    "two hosts": POST + HOST + HOST + b"Content-Length: 0\r\n\r\n",
    "a path in the host": POST + b"Host: localhost/admin?\r\nContent-Length: 0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /first HTTP/1.0\r\n" + HOST
    + b"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size of no hex": CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"2\r\nabcdef\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": CHUNKED + b"1" * 17 + b"\r\nabc\r\n0\r\n\r\n",
    "chunk ended by a bare line feed": CHUNKED + b"3\nabc\n0\n\n",
    "two content-lengths": POST + HOST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "a list of content-lengths": POST + HOST + b"Content-Length: 0, 0\r\n\r\n",
    "a signed content-length": POST + HOST + b"Content-Length: +0\r\n\r\n",
    "a hex content-length": POST + HOST + b"Content-Length: 0x0\r\n\r\n",
    "an unknown transfer-encoding": POST + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a NUL in a header": POST + HOST + b"X-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "a space before the colon": POST + HOST + b"Content-Length : 0\r\n\r\n",
    "a header block of 70 KB": POST + HOST + b"X-A: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
}  # fmt: skip


def test_there_are_twenty() -> None:
    """Nobody drops a vector unseen."""
    assert len(VECTORS) == 20


@pytest.mark.parametrize("pieces", ["whole", "cut in two", "byte by byte"])
@pytest.mark.parametrize("name", VECTORS)
def test_an_ambiguous_request_gets_one_400_and_the_end(name: str, pieces: str) -> None:
    """However the bytes arrive."""
    data = VECTORS[name] + SMUGGLED
    uvloop.run(_exchange(data, pieces, 431 if "70 KB" in name else 400))


async def _exchange(data: bytes, pieces: str, status: int) -> None:
    app = TinyApp()
    async with listening(app) as listener, connected(listener) as client:
        size = {"whole": len(data), "cut in two": len(data) // 2 + 1, "byte by byte": 1 if len(data) < 1000 else 5000}
        for start in range(0, len(data), size[pieces]):
            if client.writer.is_closing():
                break
            client.writer.write(data[start : start + size[pieces]])
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(client.rest(), 2)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1") == 1
    assert b'{"error":{"message":' in answer
    assert b"connection: close\r\n" in answer
    assert "/smuggled" not in app.paths


@pytest.mark.parametrize(
    "target",
    [b"CONNECT localhost:443 HTTP/1.1", b"PRI * HTTP/2.0", b"\x16\x03\x01"],
)
def test_what_is_no_request_for_a_path_is_a_400(target: bytes) -> None:
    """Tunnels, other protocols and TLS on the plain port end with one answer."""
    uvloop.run(_exchange(target + b"\r\n" + HOST + b"\r\n", "whole", 400))


def test_a_broken_request_behind_a_sound_one_leaves_its_answer_whole() -> None:
    """The sound one is answered, the broken one ends the connection without a second answer."""

    async def scenario() -> None:
        app = TinyApp()
        async with listening(app) as listener, connected(listener) as client:
            await client.send(b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n" + b"GET /second HTTP/1.1\nHost: x\n\n")
            await asyncio.sleep(0.05)
            app.release.set()
            answer = await asyncio.wait_for(client.rest(), 2)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.count(b"HTTP/1.1") == 1
        assert app.paths == ["/hold"]

    uvloop.run(scenario())


def test_sound_pipelined_requests_are_answered_in_order() -> None:
    """Strictness does not break pipelining."""

    async def scenario() -> None:
        app = TinyApp()
        async with listening(app) as listener, connected(listener) as client:
            one = b"POST /one HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
            two = b"POST /two HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
            await client.send(one + two + one)
            answers = [await asyncio.wait_for(client.answer(), 2) for _ in range(3)]
        assert answers == [(200, b"3"), (200, b"5"), (200, b"3")]
        assert app.paths == ["/one", "/two", "/one"]

    uvloop.run(scenario())


def test_an_upgrade_request_is_answered_in_http_1_1() -> None:
    """Java's client offers h2c on every first request; its POST must work."""

    async def scenario() -> None:
        async with listening(TinyApp()) as listener, connected(listener) as client:
            await client.send(
                POST + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
                b"Content-Length: 3\r\n\r\nabc"
            )
            assert await asyncio.wait_for(client.answer(), 2) == (200, b"3")

    uvloop.run(scenario())
