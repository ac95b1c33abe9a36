"""The only sender of HTTP: calls go out, responses come back, connections are kept. Why it is our own: docs/adr/0004.

- Redirects are never followed, cookies never kept, the environment never read: a key goes to its own URL and nowhere
  else. Proxy and CA file are the provider row's.
- A request is sent once. When the connection breaks before an answer the call fails with Unreachable, and whether to
  call again is the pipeline's decision, with a row of its own: the provider may have done, and billed, the work.
- A kept connection that the provider closes is forgotten at once; one idle for ``IDLE_S`` (or the ``keep-alive``
  header's time less a second) is closed by us, before the provider's own timer makes the next call run into it.
- No number of connections is refused, so nothing here can wait for anything here.
- Compressed answers are asked for whole ones only: intermediaries that compress a stream hold it back.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from penstock import __version__
from penstock.config.settings import Secret
from penstock.errors import Reach, Unreachable
from penstock.ports.clock import Clock, Timer
from penstock.ports.providers import UpstreamCall, UpstreamResponse
from penstock.providers.dial import Route, dial, proxy_authorization, route_to, tls_context
from penstock.providers.http1 import Connection, Response
from penstock.providers.names import Names
from penstock.providers.turns import Turns

IDLE_S: Final = 30.0
MAX_IDLE: Final = 1000
"""Idle connections kept per route."""
_MAX_TARGETS: Final = 1000
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection"})
_TIMEOUT: Final = re.compile(r"timeout=(\d{1,6})")


class Pool:
    """The idle connections of one route, the youngest last."""

    def __init__(self, route: Route) -> None:
        """``route``: where they go."""
        self.route = route
        self.open = True
        self._idle: dict[Connection, float] = {}

    def take(self, now: float) -> Connection | None:
        """The youngest that is still good at ``now``, monotonic time."""
        while self._idle:
            connection, until = self._idle.popitem()
            if until > now and not connection.closing:
                return connection
            connection.abort()
        return None

    def put(self, connection: Connection, response: Response, now: float) -> None:
        """Keep it for the next call."""
        idle_s = IDLE_S
        if found := _TIMEOUT.search(response.headers.get("keep-alive", "")):
            idle_s = min(idle_s, int(found[1]) - 1.0)
        if not self.open or idle_s <= 0 or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        self._idle[connection] = now + idle_s

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._idle.pop(connection, None)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        for connection in [connection for connection, until in self._idle.items() if until <= now]:
            del self._idle[connection]
            connection.abort()

    def close(self) -> None:
        """Close what is idle now, and from now on what becomes idle."""
        self.open = False
        self.sweep(float("inf"))

    def __len__(self) -> int:
        return len(self._idle)


@dataclass(frozen=True, slots=True)
class _Target:
    """What a URL makes of a request, worked out once."""

    pool: Pool
    line: str
    """The request line after the method."""
    whole: Mapping[str, str] = field(repr=False)
    """Headers of our own for a whole answer."""
    stream: Mapping[str, str] = field(repr=False)
    """And for a stream."""


class HttpTransport:
    """The live Transport."""

    def __init__(self, clock: Clock) -> None:
        """``clock``: what connect timeouts and idle times are counted on."""
        self._clock = clock
        self._pools: dict[Route, Pool] = {}
        self._targets: dict[tuple[str, Secret | None, Path | None], _Target] = {}
        self._names = Names()
        self._contexts: dict[Path | None, ssl.SSLContext] = {}
        self._sweeper: Timer | None = None
        self.turns = Turns(clock.monotonic)

    async def send(self, call: UpstreamCall) -> UpstreamResponse:
        """Send the call and wait for the head. Raises only UpstreamError; cancelling it closes the connection."""
        key = call.url, call.provider.proxy, call.provider.ca_file
        target = self._targets.get(key) or self._target(key)
        request = _request(call, target)
        connection = target.pool.take(self._clock.monotonic())
        if connection is None:
            connection = await self._dial(target.pool, call.connect_timeout_s)
        response = connection.start(request)
        await response.head()
        return response

    async def close(self) -> None:
        """Close idle connections; the others close with their responses."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for pool in self._pools.values():
            pool.close()
        await self._names.close()
        self._pools.clear()
        self._targets.clear()

    @property
    def idle(self) -> int:
        """How many connections wait for a call."""
        return sum(map(len, self._pools.values()))

    async def _dial(self, pool: Pool, timeout_s: float) -> Connection:
        route = pool.route
        context = self._context(route) if route.tls else None

        def keep(connection: Connection, response: Response) -> None:
            pool.put(connection, response, self._clock.monotonic())
            self._sweep_later()

        def make() -> Connection:
            return Connection(route.host, keep, pool.forget, self.turns)

        return await dial(route, make, context, self._names, clock=self._clock, timeout_s=timeout_s)

    def _context(self, route: Route) -> ssl.SSLContext:
        if route.ca_file not in self._contexts:
            try:
                self._contexts[route.ca_file] = tls_context(route.ca_file)
            except OSError as error:
                detail = f"{route.host}: tls: the CA file cannot be used: {error}"
                raise Unreachable("the provider cannot be reached", detail=detail, reach=Reach.NOWHERE) from error
        return self._contexts[route.ca_file]

    def _target(self, key: tuple[str, Secret | None, Path | None]) -> _Target:
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        route = route_to(*key)
        pool = self._pools.setdefault(route, Pool(route))
        self._targets[key] = target = _target(pool, key[0])
        return target

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._clock.later(IDLE_S / 2, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._clock.monotonic()
        for pool in self._pools.values():
            pool.sweep(now)
        if self.idle:
            self._sweep_later()


def _target(pool: Pool, url: str) -> _Target:
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    host = parts.netloc.rpartition("@")[2]
    headers = {"host": host, "user-agent": f"penstock/{__version__}"}
    if pool.route.proxy is not None and not pool.route.tls:
        path = f"http://{host}{path}"
        if authorization := proxy_authorization(pool.route.proxy):
            headers["proxy-authorization"] = authorization
    whole, stream = {**headers, "accept-encoding": "gzip, deflate, br"}, {**headers, "accept-encoding": "identity"}
    return _Target(pool, f" {path} HTTP/1.1\r\n", whole, stream)


def _request(call: UpstreamCall, target: _Target) -> bytes:
    """The request's bytes. A header that could become two is refused, its name told and never its value."""
    headers = {**(target.stream if call.stream else target.whole), **call.headers}
    if not _FRAMING.isdisjoint(headers):
        headers = {name: value for name, value in headers.items() if name not in _FRAMING}
    block = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    count = len(headers)
    if block.count("\r") != count or block.count("\n") != count or "\0" in block or not block.isascii():
        raise _bad_header(target, headers)
    return f"{call.method}{target.line}{block}content-length: {len(call.body)}\r\n\r\n".encode() + call.body


def _bad_header(target: _Target, headers: Mapping[str, str]) -> Unreachable:
    bad = [name for name, value in headers.items() if not (value.isascii() and value.isprintable())]
    detail = f"{target.pool.route.host}: send: not a header value: {', '.join(bad)[:200]}"
    return Unreachable("the provider cannot be reached", detail=detail, reach=Reach.NOWHERE)
