"""Prometheus is asked in pieces it can answer, and not waited for for ever. Virtual time."""

import asyncio
from collections.abc import Mapping
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from penstock.clock import LoopClock
from penstock.errors import ProviderTimeout
from penstock.ports.providers import UpstreamCall, UpstreamResponse
from penstock.providers.outside import Outsider
from penstock.providers.prometheus import MAX_STEPS, TIMEOUT_S, Prometheus

pytestmark = pytest.mark.looptime


class Response:
    """A matrix of one series: 1 at each step."""

    status = 200
    headers: Mapping[str, str] = {}

    def __init__(self, query: Mapping[str, list[str]]) -> None:
        start, end, step = (float(query[name][0]) for name in ("start", "end", "step"))
        values = [[start + step * number, "1"] for number in range(int((end - start) / step) + 1)]
        self._body = msgspec.json.encode(
            {
                "status": "success",
                "data": {"resultType": "matrix", "result": [{"metric": {"a": "b"}, "values": values}]},
            }
        )

    async def read(self, limit: int) -> bytes:
        """All of it."""
        assert len(self._body) <= limit
        return self._body

    async def next(self) -> bytes:
        """Not asked for."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing to do."""


class Transport:
    """Answers, or is silent."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.urls: list[str] = []

    async def send(self, call: UpstreamCall) -> UpstreamResponse:
        """With what was asked for."""
        self.urls.append(call.url)
        if self.silent:
            await asyncio.Event().wait()
        return Response(parse_qs(urlsplit(call.url).query))

    async def close(self) -> None:
        """Nothing to do."""


def prometheus(transport: Transport) -> Prometheus:
    """At some URL."""
    return Prometheus("http://127.0.0.1:9090/", Outsider("Prometheus", transport, LoopClock(0.0)))


async def test_a_long_past_is_asked_for_in_pieces() -> None:
    """No sample twice, none left out, each a multiple of the step."""
    transport = Transport()
    (series,) = await prometheus(transport).over("up", 1_000_030.0, 1_000_030.0 + 30 * 86_400, 60.0)
    instants = [at for at, _ in series.samples]
    assert len(transport.urls) == 5
    assert 30 * 1440 <= len(instants) <= 30 * 1440 + 1
    assert all(after - before == 60 for before, after in pairwise(instants))
    assert all(at % 60 == 0 for at in instants)
    assert MAX_STEPS < 11_000
    assert transport.urls[0].startswith("http://127.0.0.1:9090/api/v1/query_range?query=up&start=")


async def test_one_that_is_silent_is_given_up() -> None:
    """In half a minute, by name."""
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ProviderTimeout, match="Prometheus did not answer within 30 s"):
        await prometheus(Transport(silent=True)).alert_rules()
    assert asyncio.get_running_loop().time() - begun == pytest.approx(TIMEOUT_S, abs=0.1)
