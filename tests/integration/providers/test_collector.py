"""The sender to a collector that is slow, rude or wrong: within its deadline an answer, or an error that names it."""

import gzip
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from penstock.clock import SystemClock
from penstock.config.settings import Secret, TelemetrySettings
from penstock.errors import UpstreamError
from penstock.ports.telemetry import CollectorAnswer
from penstock.providers.collector import TIMEOUT_S, HttpCollector
from penstock.providers.http import HttpTransport
from tests.support.raw_server import Flood, Hold, Read, Reset, Step, raw_server, whole

OK: Sequence[Step] = (Read(), whole(b"{}"))


async def post(
    *script: Step, timeout_s: float = TIMEOUT_S, **telemetry: Any
) -> tuple[CollectorAnswer, Sequence[bytes]]:
    """What comes back of one post to a server that plays this, and what the server saw."""
    clock = SystemClock()
    transport = HttpTransport(clock)
    try:
        async with raw_server(script) as server:
            settings = TelemetrySettings(otlp=server.url, **telemetry)
            collector = HttpCollector(transport, clock, lambda: settings, timeout_s=timeout_s)
            return await collector.post("/v1/traces", b'{"a":1}'), server.requests
    finally:
        await transport.close()


async def test_a_post_is_json_compressed_with_the_headers_of_the_config() -> None:
    """To the path below the URL."""
    answer, (request,) = await post(*OK, headers={"Authorization": Secret("Basic abc")})
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().lower().split("\r\n")
    assert first == "post /v1/traces http/1.1"
    assert {"content-type: application/json", "content-encoding: gzip", "authorization: basic abc"} <= set(lines)
    assert gzip.decompress(body) == b'{"a":1}'
    assert answer == CollectorAnswer(200, b"{}")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry_after": "7"}, 7.0), ({"retry_after": "soon"}, None), ({"retry_after": "-1"}, None), ({}, None)],
)
async def test_it_is_read_for_how_long_a_collector_wants_to_be_left_alone(
    headers: Mapping[str, str], seconds: float | None
) -> None:
    """In seconds; what is none is as if it were not there."""
    answer, _ = await post(Read(), whole(b"", "503 Service Unavailable", **headers))
    assert answer == CollectorAnswer(503, b"", seconds)


@pytest.mark.parametrize(
    "script",
    [
        [Read(), Reset()],
        [Read(), b"\x16\x03\x01 rubbish\r\n\r\n"],
        [Read(), b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"],
        [Read(), b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n", Flood(b"x" * 65536)],
    ],
    ids=["reset", "no HTTP", "cut", "flood"],
)
async def test_rubbish_is_an_error(script: Sequence[Step]) -> None:
    """Whatever it is, and no more of it is read than an answer may have."""
    with pytest.raises(UpstreamError):
        await post(*script)


async def test_silence_ends_at_the_deadline() -> None:
    """And says who was silent."""
    with pytest.raises(UpstreamError, match="the telemetry collector did not answer"):
        await post(Read(), Hold(), timeout_s=0.1)


async def test_nobody_is_posted_to_where_a_reload_took_the_collector_away() -> None:
    """What was under way then ends like any other failure."""
    clock = SystemClock()
    transport = HttpTransport(clock)
    with pytest.raises(UpstreamError):
        await HttpCollector(transport, clock, TelemetrySettings).post("/v1/traces", b"{}")
    await transport.close()
