"""The sender against a raw socket server: what goes out, what comes back, and everything a provider can do wrong.

Real sockets and real time on loopback, bounded: pauses are tens of milliseconds, and every wait has a limit of 2 s.
"""

import asyncio
import gzip
import socket
import ssl
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import brotli  # type: ignore[import-untyped] # it ships no stubs
import pytest

from penstock import __version__
from penstock.clock import SystemClock
from penstock.config.settings import ProviderSettings, Secret
from penstock.errors import BadAnswer, ProviderTimeout, Reach, Unreachable, UpstreamError
from penstock.ports.providers import UpstreamCall, UpstreamResponse
from penstock.providers.http import HttpTransport
from tests.support.raw_server import LAST_CHUNK, Flood, Hold, Read, Reset, Step, Wait, chunk, head, raw_server, whole

KEY = "sk-the-key-itself"
PEM = Path(__file__).parent.parent.parent / "support" / "loopback.pem"
CHUNKED = head(transfer_encoding="chunked")
LIMIT = 1024 * 1024

T = TypeVar("T")


@pytest.fixture
async def sender() -> AsyncIterator[HttpTransport]:
    """The sender under test."""
    transport = HttpTransport(SystemClock())
    yield transport
    await transport.close()


@pytest.fixture
def never_accepts() -> Iterator[int]:
    """A port whose backlog is full: connecting to it never ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for each in waiting:
            each.close()


def provider(**changes: Any) -> ProviderSettings:
    """A provider row; what matters here is its proxy and CA file."""
    row: dict[str, Any] = {
        "name": "p", "kind": "openai", "base_urls": {}, "api_key": Secret(KEY), "prices": None, "private": False,
        "after_disconnect": "stops", "billed_at": "completion", "price_book": "", "currency": "CNY", "proxy": None,
        "ca_file": None, "headers": {},
    }  # fmt: skip
    return ProviderSettings(**{**row, **changes})


def call(url: str, *, body: bytes = b"{}", stream: bool = False, connect_s: float = 1.0, **more: Any) -> UpstreamCall:
    """A call with a credential in it; ``more`` goes to the provider row."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", **more.pop("headers", {})}
    return UpstreamCall(provider(**more), "POST", url, headers, body, stream, connect_s)


async def soon(awaitable: Coroutine[Any, Any, T]) -> T:
    """What comes within 2 s; anything later is a failure."""
    async with asyncio.timeout(2):
        return await awaitable


async def answer(sender: HttpTransport, url: str, **more: Any) -> tuple[UpstreamResponse, bytes]:
    """The response and its whole body."""
    response = await soon(sender.send(call(url, **more)))
    return response, await soon(response.read(LIMIT))


async def reads(response: UpstreamResponse) -> AsyncIterator[bytes]:
    """The reads of a body, to its end."""
    while data := await soon(response.next()):
        yield data


# --- what goes out, what comes back


async def test_a_whole_answer_comes_back(sender: HttpTransport) -> None:
    """Status, headers with names in lower case and doubled ones joined, body."""
    async with raw_server([Read(), whole(b"hello", status="418 Teapot", X_Many="1", x_many="2")]) as server:
        response, body = await answer(sender, server.url)
    assert (response.status, body) == (418, b"hello")
    assert response.headers["x-many"] == "1, 2"


async def test_the_request_is_exactly_what_the_call_says(sender: HttpTransport) -> None:
    """Path and query, our host, agent and codings, the call's headers, its body; nothing else."""
    async with raw_server([Read(), whole(b"")]) as server:
        await answer(sender, f"{server.url}/v1/chat?a=b", body=b'{"x":1}')
        sent_head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = sent_head.decode().split("\r\n")
    assert lines[0] == "POST /v1/chat?a=b HTTP/1.1"
    assert sorted(lines[1:]) == sorted(
        [
            f"host: 127.0.0.1:{server.port}",
            f"user-agent: penstock/{__version__}",
            "accept-encoding: gzip, deflate, br",
            "content-type: application/json",
            f"authorization: Bearer {KEY}",
            "content-length: 7",
        ]
    )
    assert body == b'{"x":1}'


async def test_a_stream_is_asked_for_uncompressed(sender: HttpTransport) -> None:
    """Whoever compresses a stream on the way holds its events back."""
    async with raw_server([Read(), whole(b"")]) as server:
        await answer(sender, server.url, stream=True)
    assert b"accept-encoding: identity\r\n" in server.requests[0]


async def test_cookies_are_not_kept(sender: HttpTransport) -> None:
    """A cookie that one answer sets is not in the next request."""
    async with raw_server([Read(), whole(b"", set_cookie="a=b"), Read(), whole(b"")]) as server:
        await answer(sender, server.url)
        await answer(sender, server.url)
    assert b"cookie" not in server.requests[1].lower()


@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b", "k\u2019y"])
async def test_a_header_that_would_become_two_is_not_sent(sender: HttpTransport, value: str) -> None:
    """Nothing goes out, and the error names the header but not its value."""
    async with raw_server([Read(), whole(b"")]) as server:
        with pytest.raises(Unreachable) as caught:
            await soon(sender.send(call(server.url, headers={"x-bad": value})))
    assert not server.seen
    assert "x-bad" in caught.value.detail
    assert value not in caught.value.detail


async def test_the_framing_of_a_request_is_ours(sender: HttpTransport) -> None:
    """Headers that would contradict it are left out."""
    headers = {"content-length": "99", "transfer-encoding": "chunked", "connection": "close"}
    async with raw_server([Read(), whole(b"ok")]) as server:
        await answer(sender, server.url, headers=headers)
    assert server.requests[0].count(b"content-length") == 1
    assert b"chunked" not in server.requests[0]


async def test_what_an_answer_may_look_like(sender: HttpTransport) -> None:
    """Informational heads, chunk extensions, trailers, a body that ends with the connection, odd header bytes."""
    shapes: list[list[Step]] = [
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", whole(b"hello")],
        [CHUNKED, b"3;a=b\r\nhel\r\n", chunk(b"lo"), b"0\r\nx-trailer: 1\r\n\r\n"],
        [head(), b"hel", Wait(0.02), b"lo"],
        [b"HTTP/1.0 200 OK\r\n\r\nhello"],
        [b"HTTP/1.1 200 OK\r\nx-odd: \xff\xe9\r\ncontent-length: 5\r\n\r\nhello"],
        [b"HTTP/1.1 204 No Content\r\n\r\n"],
    ]
    async with raw_server(*([Read(), *shape] for shape in shapes)) as server:
        bodies = []
        for _ in shapes:
            bodies.append((await answer(sender, server.url))[1])
            await sender.close()
    assert bodies == [b"hello"] * 5 + [b""]


async def test_split_at_every_byte(sender: HttpTransport) -> None:
    """An answer that comes byte by byte is the same answer."""
    raw = CHUNKED + chunk(b"hel") + chunk(b"lo") + LAST_CHUNK
    steps: list[Step] = []
    for at in range(len(raw)):
        steps += [raw[at : at + 1], Wait(0)]
    async with raw_server([Read(), *steps]) as server:
        assert (await answer(sender, server.url))[1] == b"hello"


# --- connecting


async def test_a_refused_connection(sender: HttpTransport) -> None:
    """Unreachable; the detail names the host and the phase, and never the key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable) as caught:
        await soon(sender.send(call(f"http://127.0.0.1:{port}/")))
    assert caught.value.detail.startswith("127.0.0.1: connect: ")
    assert caught.value.reach is Reach.NOWHERE
    assert KEY not in repr(caught.value) + caught.value.detail + caught.value.public


@pytest.mark.parametrize("host", ["[::1%nosuch]", "x" * 70 + ".invalid", ""])
async def test_a_name_that_does_not_resolve(sender: HttpTransport, host: str) -> None:
    """Unreachable, and neither of these needs a name server to be refused."""
    with pytest.raises(Unreachable) as caught:
        await soon(sender.send(call(f"http://{host}/")))
    assert caught.value.reach is Reach.NOWHERE


async def test_a_name_that_hangs_is_looked_up_once(sender: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls wait for it: the resolver's threads are few, and other names need them. Each times out."""
    asked: list[Any] = []

    async def hanging(host: str, *_: Any, **__: Any) -> None:
        asked.append(host)
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hanging)
    calls = [sender.send(call("http://hangs.invalid/", connect_s=0.1)) for _ in range(20)]
    async with asyncio.timeout(10):
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ends] == [ProviderTimeout] * 20
    assert asked == ["hangs.invalid"]


async def test_a_name_with_several_addresses(sender: HttpTransport) -> None:
    """Each address is tried: ``localhost`` may be ::1 first, and nobody listens there."""
    async with raw_server([Read(), whole(b"ok")]) as server:
        assert (await answer(sender, f"http://localhost:{server.port}/"))[1] == b"ok"


async def test_a_connect_timeout(sender: HttpTransport, never_accepts: int) -> None:
    """ProviderTimeout after the call's own limit."""
    since = time.monotonic()
    with pytest.raises(ProviderTimeout) as caught:
        await soon(sender.send(call(f"http://127.0.0.1:{never_accepts}/", connect_s=0.1)))
    assert 0.09 <= time.monotonic() - since < 1
    assert "connect" in caught.value.detail
    assert caught.value.reach is Reach.NOWHERE


async def test_cancelled_while_connecting(sender: HttpTransport, never_accepts: int) -> None:
    """It ends at once, and the warnings of this run would tell of a socket left open."""
    task = asyncio.create_task(sender.send(call(f"http://127.0.0.1:{never_accepts}/", connect_s=60)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(_result(task))


# --- TLS and proxies


def tls_server() -> ssl.SSLContext:
    """A server of the certificate for tests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


async def test_tls_by_a_ca_file(sender: HttpTransport) -> None:
    """The provider's own CA file is trusted for it; without it the connection fails in the phase ``tls``."""
    async with raw_server([Read(), whole(b"safe")], tls=tls_server()) as server:
        url = server.url.replace("http:", "https:")
        assert (await answer(sender, url, ca_file=PEM))[1] == b"safe"
        with pytest.raises(Unreachable, match="cannot be reached") as caught:
            await soon(sender.send(call(url)))
    assert caught.value.detail.startswith("127.0.0.1: tls: ")


async def test_a_ca_file_replaces_the_systems_authorities(
    sender: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system trusts is not trusted where the operator names other authorities."""
    monkeypatch.setenv("SSL_CERT_FILE", str(PEM))
    async with raw_server([Read(), whole(b"safe")], tls=tls_server()) as server:
        url = server.url.replace("http:", "https:")
        assert (await answer(sender, url))[1] == b"safe"
        with pytest.raises(Unreachable) as caught:
            await soon(sender.send(call(url, ca_file=PEM.with_name("stranger.pem"))))
    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.detail


async def test_a_ca_file_that_is_not_there(sender: HttpTransport) -> None:
    """Unreachable, and the detail says why."""
    with pytest.raises(Unreachable) as caught:
        await soon(sender.send(call("https://127.0.0.1:1/", ca_file=Path("nowhere.pem"))))
    assert "CA file" in caught.value.detail


async def test_tls_to_a_server_that_speaks_none(sender: HttpTransport) -> None:
    """Unreachable in the phase ``tls``, not a hang."""
    async with raw_server([b"HTTP/1.1 400 Bad Request\r\n\r\n", Hold()]) as server:
        with pytest.raises(Unreachable) as caught:
            await soon(sender.send(call(server.url.replace("http:", "https:"))))
    assert ": tls: " in caught.value.detail
    assert caught.value.reach is Reach.NOWHERE


async def test_the_environment_s_proxies_are_not_used(sender: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and its kin change nothing."""
    async with raw_server([Read(), whole(b"direct")]) as server, raw_server([Read(), whole(b"proxied")]) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert (await answer(sender, server.url))[1] == b"direct"
        assert not proxy.seen


async def test_a_provider_s_own_proxy_is_used(sender: HttpTransport) -> None:
    """A plain request goes to the proxy in absolute form, with the proxy's credentials."""
    async with raw_server([Read(), whole(b"proxied")]) as proxy:
        secret = Secret(f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        assert (await answer(sender, "http://far.invalid/v1", proxy=secret))[1] == b"proxied"
    request = proxy.requests[0]
    assert request.startswith(b"POST http://far.invalid/v1 HTTP/1.1\r\nhost: far.invalid\r\n")
    assert b"proxy-authorization: Basic bWU6cEBzcw==\r\n" in request


async def test_tls_goes_through_the_proxy_in_a_tunnel(sender: HttpTransport) -> None:
    """CONNECT first; the key and the body are inside the tunnel only."""
    tunnel: list[Step] = [Read(), b"HTTP/1.1 200 Connection established\r\n\r\n"]
    async with raw_server([Read(), whole(b"safe")], tls=tls_server(), tunnel=tunnel) as server:
        secret = Secret(server.url)
        assert (await answer(sender, "https://localhost:444/", proxy=secret, ca_file=PEM))[1] == b"safe"
    connect, request = server.requests
    assert connect == b"CONNECT localhost:444 HTTP/1.1\r\nhost: localhost:444\r\n\r\n"
    assert KEY.encode() in request


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"x" * 20_000, b""]
)
async def test_a_proxy_that_opens_no_tunnel(sender: HttpTransport, said: bytes) -> None:
    """Unreachable; the key never reached the proxy."""
    async with raw_server([Read(), said]) as proxy:
        with pytest.raises(Unreachable):
            await soon(sender.send(call("https://far.invalid/", proxy=Secret(proxy.url))))
    assert KEY.encode() not in b"".join(proxy.requests)


async def test_a_proxy_of_another_kind(sender: HttpTransport) -> None:
    """Only http:// proxies; the detail does not repeat the proxy's password."""
    with pytest.raises(Unreachable) as caught:
        await soon(sender.send(call("http://far.invalid/", proxy=Secret("socks5://me:secret@127.0.0.1:1"))))
    assert "secret" not in caught.value.detail


# --- before the head


@pytest.mark.parametrize(
    "steps",
    [[Reset()], [], [b"HTTP/1.1 200 OK\r\nx: "], [b"HTTP/1.1 200 OK\r\nx: 1\r\n", Reset()]],
    ids=["reset", "closed", "closed in the head", "reset in the head"],
)
async def test_broken_before_the_head(sender: HttpTransport, steps: list[Step]) -> None:
    """Unreachable: no answer began."""
    async with raw_server([Read(), *steps]) as server:
        with pytest.raises(Unreachable) as caught:
            await soon(sender.send(call(server.url)))
        assert len(server.requests) == 1, "a request is sent once"
    assert ": head: " in caught.value.detail
    assert caught.value.reach is Reach.BROKEN


@pytest.mark.parametrize(
    "raw",
    [
        b"what is this\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nx: 1\n\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: compress\r\ncontent-length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    ],
    ids=lambda raw: repr(raw[:70]),
)
async def test_a_head_that_is_none(sender: HttpTransport, raw: bytes) -> None:
    """BadAnswer, whole or bounded, and the connection is closed."""
    async with raw_server([Read(), raw, Hold()]) as server:
        with pytest.raises(BadAnswer) as caught:
            await soon(sender.send(call(server.url)))
        assert caught.value.reach is Reach.SENT
        await soon(_closed(server.seen[0].peer_closed))


async def test_a_redirect_is_not_followed(sender: HttpTransport) -> None:
    """It comes back as it is, and the place it names sees nothing: not the body, not the key."""
    async with raw_server([Read(), whole(b"other")]) as other:
        redirect = whole(b"", status="307 Temporary Redirect", location=other.url)
        async with raw_server([Read(), redirect]) as server:
            response, _ = await answer(sender, server.url)
        assert response.status == 307
        assert not other.seen


# --- silence, and leaving


@pytest.mark.parametrize(
    "steps",
    [[], [b"HTTP/1.1 200"], [CHUNKED], [CHUNKED, chunk(b"a")], [head(content_length="9"), b"abc"]],
    ids=["before the head", "in the head", "before the first byte", "in a stream", "in a body"],
)
async def test_leaving_a_silent_provider(sender: HttpTransport, steps: list[Step]) -> None:
    """When whoever waits is cancelled the provider sees the connection close within a second."""
    async with raw_server([Read(), *steps, Hold()]) as server:
        task = asyncio.create_task(_everything(sender, call(server.url, stream=True)))
        await asyncio.sleep(0.1)
        assert not server.seen[0].peer_closed.is_set()
        left_at = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(_result(task))
        await soon(_closed(server.seen[0].peer_closed))
        assert (server.seen[0].peer_closed_at or 0) - left_at < 1


async def test_closing_an_unfinished_body(sender: HttpTransport) -> None:
    """The provider sees it at once."""
    async with raw_server([Read(), CHUNKED, chunk(b"a"), Hold()]) as server:
        response = await soon(sender.send(call(server.url, stream=True)))
        assert await soon(response.next()) == b"a"
        await response.close()
        await soon(_closed(server.seen[0].peer_closed))
        await response.close()


# --- bodies that break


BROKEN: dict[str, list[Step]] = {
    "end of file in a length": [head(content_length="9"), b"abc"],
    "end of file between chunks": [CHUNKED, chunk(b"abc")],
    "end of file in a chunk": [CHUNKED, b"9\r\nabc"],
    "end of file before the last line": [CHUNKED, chunk(b"abc"), b"0\r\n"],
    "reset in a length": [head(content_length="9"), b"abc", Wait(0.05), Reset()],
    "reset in a stream": [CHUNKED, chunk(b"abc"), Wait(0.05), Reset()],
    "reset in a body without length": [head(), b"abc", Wait(0.05), Reset()],
    "a chunk that is none": [CHUNKED, chunk(b"abc"), b"zz\r\n"],
    "an endless chunk size": [CHUNKED, chunk(b"abc"), b"f" * 40],
}


@pytest.mark.parametrize("steps", BROKEN.values(), ids=BROKEN)
async def test_a_body_cut_short_never_ends_cleanly(sender: HttpTransport, steps: list[Step]) -> None:
    """What came is given, then BadAnswer is raised, again and again; nothing is kept for another call."""
    async with raw_server([Read(), *steps]) as server:
        response = await soon(sender.send(call(server.url, stream=True)))
        assert await soon(response.next()) == b"abc"
        for _ in range(2):
            with pytest.raises(BadAnswer) as caught:
                await soon(response.next())
        assert caught.value.detail.startswith("127.0.0.1: ")
        assert (caught.value.reach is Reach.BROKEN) == ("cut short" in caught.value.detail)
        assert sender.idle == 0


@pytest.mark.parametrize("steps", BROKEN.values(), ids=BROKEN)
async def test_a_whole_body_cut_short_is_no_answer(sender: HttpTransport, steps: list[Step]) -> None:
    """Reading it whole raises BadAnswer."""
    async with raw_server([Read(), *steps]) as server:
        response = await soon(sender.send(call(server.url)))
        with pytest.raises(BadAnswer):
            await soon(response.read(LIMIT))


async def test_a_body_above_the_limit(sender: HttpTransport) -> None:
    """BadAnswer, and the connection is closed: the rest is not worth reading."""
    async with raw_server([Read(), head(content_length="5000"), b"x" * 3000, Hold()]) as server:
        response = await soon(sender.send(call(server.url)))
        with pytest.raises(BadAnswer):
            await soon(response.read(2999))
        await soon(_closed(server.seen[0].peer_closed))


# --- codings


def raw_deflate(data: bytes) -> bytes:
    """Deflate without zlib's head, as some servers send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


TEXT = b"hello, hello, hello! " * 50


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("GZIP", gzip.compress(TEXT[:100], mtime=0) + gzip.compress(TEXT[100:], mtime=0)),
        ("x-gzip", gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("br", brotli.compress(TEXT)),
        ("identity", TEXT),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 100_000])
async def test_codings_are_undone(sender: HttpTransport, coding: str, body: bytes, step: int) -> None:
    """Whole and in pieces of any size."""
    pieces = [chunk(body[at : at + step]) for at in range(0, len(body), step)]
    async with raw_server(
        [Read(), head(transfer_encoding="chunked", content_encoding=coding), *pieces, LAST_CHUNK]
    ) as server:
        assert (await answer(sender, server.url))[1] == TEXT


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate", "br"])
async def test_flushed_events_come_through_one_by_one(sender: HttpTransport, coding: str) -> None:
    """A stream that its sender compresses and flushes per event is not held back."""
    pack, flush, finish = _packers(coding)
    steps: list[Step] = []
    for number in range(4):
        steps += [chunk(pack(b"data: %d\n\n" % number) + flush()), Wait(0.05)]
    sent = head(transfer_encoding="chunked", content_encoding=coding.removeprefix("raw "))
    async with raw_server([Read(), sent, *steps, chunk(finish()), LAST_CHUNK]) as server:
        response = await soon(sender.send(call(server.url, stream=True)))
        assert [data async for data in reads(response)] == [b"data: %d\n\n" % number for number in range(4)]


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)[:-9]),
        ("gzip", gzip.compress(TEXT, mtime=0)[:-1]),
        ("gzip", b"this is not gzip at all"),
        ("gzip", gzip.compress(TEXT, mtime=0) + b"and more"),
        ("deflate", zlib.compress(TEXT)[:-5]),
        ("deflate", b"\xff" * 30),
        ("deflate", zlib.compress(TEXT) + b"and more"),
        ("br", brotli.compress(TEXT)[:-3]),
        ("br", b"this is not brotli at all"),
    ],
)
async def test_a_body_that_is_not_what_its_coding_says(sender: HttpTransport, coding: str, body: bytes) -> None:
    """BadAnswer: a cut or broken coding is a cut or broken answer, however well it was framed."""
    async with raw_server([Read(), whole(body, content_encoding=coding)]) as server:
        with pytest.raises(BadAnswer):
            await answer(sender, server.url)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_an_empty_body_needs_no_coding(sender: HttpTransport, coding: str) -> None:
    """Some servers say gzip and send nothing."""
    async with raw_server([Read(), whole(b"", content_encoding=coding)]) as server:
        assert (await answer(sender, server.url))[1] == b""


@pytest.mark.parametrize("coding", ["gzip", "br"])
async def test_a_bomb_costs_what_the_limit_allows(sender: HttpTransport, coding: str) -> None:
    """64 MB out of a few kilobytes: BadAnswer at the limit, and never more than a few pieces in memory."""
    zeros = bytes(64 * 1024 * 1024)
    body = gzip.compress(zeros) if coding == "gzip" else brotli.compress(zeros, quality=1)
    del zeros
    async with raw_server([Read(), whole(body, content_encoding=coding)]) as server:
        response = await soon(sender.send(call(server.url)))
        tracemalloc.start()
        with pytest.raises(BadAnswer):
            await soon(response.read(LIMIT))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 * LIMIT


# --- connections that are kept


async def test_a_connection_serves_again(sender: HttpTransport) -> None:
    """Whole and streamed answers after each other on one connection, read to the end or closed after it."""
    script: list[Step] = [Read(), whole(b"a"), Read(), CHUNKED, chunk(b"b"), LAST_CHUNK, Read(), whole(b"c"), Hold()]
    async with raw_server(script) as server:
        for expected in (b"a", b"b", b"c"):
            response, body = await answer(sender, server.url)
            assert body == expected
            await response.close()
        assert len(server.seen) == 1
        assert sender.idle == 1


async def test_different_routes_share_nothing(sender: HttpTransport) -> None:
    """Another port, another proxy or another CA file is another connection."""
    async with raw_server([Read(), whole(b"a"), Read(), whole(b"b"), Hold()]) as server:
        await answer(sender, server.url)
        await answer(sender, server.url, proxy=Secret(server.url))
        assert len(server.seen) == 2


async def test_a_kept_connection_that_the_provider_closes_is_forgotten(sender: HttpTransport) -> None:
    """The next call goes out on a new one and nobody notices."""
    async with raw_server([Read(), whole(b"a"), Wait(0.02)], [Read(), whole(b"b")]) as server:
        await answer(sender, server.url)
        await asyncio.sleep(0.1)
        assert sender.idle == 0
        assert (await answer(sender, server.url))[1] == b"b"
        assert [len(seen.requests) for seen in server.seen] == [1, 1]


async def test_a_request_is_never_sent_twice(sender: HttpTransport) -> None:
    """Closed after it read the second request, the provider may have done the work: Unreachable, no second try."""
    async with raw_server([Read(), whole(b"a"), Read()], [Read(), whole(b"b")]) as server:
        await answer(sender, server.url)
        with pytest.raises(Unreachable):
            await soon(sender.send(call(server.url)))
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "raw",
    [
        whole(b"a") + b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nb",
        whole(b"a", connection="close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
        whole(b"a", keep_alive="timeout=1"),
    ],
    ids=["an answer nobody asked for", "connection: close", "HTTP/1.0", "kept for a second only"],
)
async def test_a_connection_that_must_not_serve_again(sender: HttpTransport, raw: bytes) -> None:
    """It is closed after its answer."""
    async with raw_server([Read(), raw, Hold()], [Read(), whole(b"fresh")]) as server:
        assert (await answer(sender, server.url))[1] == b"a"
        await soon(_closed(server.seen[0].peer_closed))
        assert (await answer(sender, server.url))[1] == b"fresh"


async def test_bytes_on_an_idle_connection_close_it(sender: HttpTransport) -> None:
    """An answer that comes before its question is not given to the next question."""
    async with raw_server([Read(), whole(b"a"), Wait(0.03), whole(b"poison"), Hold()], [Read(), whole(b"b")]) as server:
        await answer(sender, server.url)
        await asyncio.sleep(0.1)
        assert (await answer(sender, server.url))[1] == b"b"


async def test_an_answer_before_the_request_is_out(sender: HttpTransport) -> None:
    """An early refusal of a large body is read, and the half-used connection is not kept."""
    async with raw_server([Read(body=False), whole(b"too large", status="413 Too Large"), Hold()]) as server:
        response, body = await answer(sender, server.url, body=b"x" * 20_000_000)
        assert (response.status, body) == (413, b"too large")
        assert sender.idle == 0


async def test_closing_the_sender_closes_what_is_idle(sender: HttpTransport) -> None:
    """And an answer under way is still read to its end."""
    async with raw_server(
        [Read(), CHUNKED, Wait(0.05), chunk(b"a"), LAST_CHUNK, Hold()], [Read(), whole(b"b"), Hold()]
    ) as server:
        under_way = await soon(sender.send(call(server.url)))
        await answer(sender, server.url)
        await sender.close()
        assert await soon(under_way.read(LIMIT)) == b"a"
        for seen in server.seen:
            await soon(_closed(seen.peer_closed))


async def test_many_at_once_wait_for_nobody(sender: HttpTransport) -> None:
    """200 open answers do not keep the next one from starting."""
    async with raw_server([Read(), CHUNKED, chunk(b"a"), Hold()]) as server:
        calls = [sender.send(call(server.url, stream=True)) for _ in range(200)]
        responses = await soon(_all(calls))
        assert len(server.seen) == 200
        for response in responses:
            await response.close()
        for seen in server.seen:
            await soon(_closed(seen.peer_closed))


# --- backpressure


async def test_an_unread_body_is_not_read_from_the_provider(sender: HttpTransport) -> None:
    """Whoever does not read slows the provider down: what went out is what we hold and what the kernels hold."""
    flood = Flood(chunk(b"x" * 65536), stalled_s=0.2, most=64 * 1024 * 1024)
    async with raw_server([Read(), CHUNKED, flood, LAST_CHUNK, Hold()]) as server:
        response = await soon(sender.send(call(server.url, stream=True)))
        await asyncio.sleep(0.5)
        stalled_at = server.seen[0].sent
        assert stalled_at < 16 * 1024 * 1024
        assert len(await soon(response.next())) <= 1024 * 1024
        assert sum([len(data) async for data in reads(response)]) > 0.9 * stalled_at


async def _everything(sender: HttpTransport, asked: UpstreamCall) -> bytes:
    response = await sender.send(asked)
    return await response.read(LIMIT)


async def _result(task: asyncio.Task[T]) -> T:
    return await task


async def _all(calls: list[Coroutine[Any, Any, UpstreamResponse]]) -> list[UpstreamResponse]:
    return await asyncio.gather(*calls)


async def _closed(event: asyncio.Event) -> None:
    await event.wait()


def _packers(coding: str) -> tuple[Any, Any, Any]:
    if coding == "br":
        packer = brotli.Compressor()
        return packer.process, packer.flush, packer.finish
    window = {"gzip": 31, "deflate": 15, "raw deflate": -15}[coding]
    zipper = zlib.compressobj(wbits=window)
    return zipper.compress, lambda: zipper.flush(zlib.Z_SYNC_FLUSH), zipper.flush


def test_every_error_of_the_sender_is_an_upstream_error() -> None:
    """What the tests above expect are the errors that the pipeline handles."""
    assert all(issubclass(error, UpstreamError) for error in (BadAnswer, ProviderTimeout, Unreachable))
