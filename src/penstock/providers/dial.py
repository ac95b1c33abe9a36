"""How a connection to a provider comes about: names resolved (``names.py``), directly or by an HTTP proxy, TLS.

Proxies come from the provider's settings only, never from the environment, and are ``http://`` ones: plain requests go
through in absolute form, TLS through a CONNECT tunnel. Every address of a name is tried; each gets an equal share of
the time that is left.
"""

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from penstock.config.settings import Secret
from penstock.errors import ProviderTimeout, Reach, Unreachable
from penstock.ports.clock import Clock
from penstock.providers.names import Names

_MAX_TUNNEL_HEAD: Final = 16 * 1024
_PORTS: Final = {"http": 80, "https": 443}
_KEEPALIVE_IDLE_S: Final = 60

P = TypeVar("P", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True)
class Route:
    """Where connections go: calls with the same route share them."""

    scheme: str
    host: str
    port: int
    proxy: Secret | None
    ca_file: Path | None

    @property
    def tls(self) -> bool:
        """Whether the provider is spoken to in TLS."""
        return self.scheme == "https"


def route_to(url: str, proxy: Secret | None, ca_file: Path | None) -> Route:
    """The route to a URL. Raises Unreachable when it is none of HTTP."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        detail = f"{parts.hostname}: not an http or https URL"
        raise Unreachable("the provider cannot be reached", detail=detail, reach=Reach.NOWHERE)
    return Route(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], proxy, ca_file)


def proxy_authorization(proxy: Secret | None) -> str:
    """The value of ``proxy-authorization`` that a proxy URL with a user name asks for; "" = none."""
    parts = urlsplit(proxy.reveal()) if proxy is not None else SplitResult("", "", "", "", "")
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts the system's authorities, or those of ``ca_file`` alone. Raises OSError when that cannot be read."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(
    route: Route,
    make: Callable[[], P],
    context: ssl.SSLContext | None,
    names: Names,
    *,
    clock: Clock,
    timeout_s: float,
) -> P:
    """A connected protocol. Raises Unreachable, or ProviderTimeout after ``timeout_s``; cancelled, it closes."""
    deadline, until = clock.deadline(), clock.monotonic() + timeout_s
    try:
        with deadline.until(until):
            connected = await _connected(route, names, clock, until)
            return await _spoken_to(connected, route, make, context)
    except TimeoutError as error:
        detail = f"{route.host}: connect: nothing within {timeout_s:g} s"
        public = "the provider did not accept a connection in time"
        raise ProviderTimeout(public, detail=detail, reach=Reach.NOWHERE) from error
    except ssl.SSLError as error:
        raise _unreachable(route, "tls", error) from error
    except socket.gaierror as error:
        raise _unreachable(route, "dns", error) from error
    except (OSError, UnicodeError) as error:
        raise _unreachable(route, "connect", error) from error
    finally:
        deadline.close()


async def _connected(route: Route, names: Names, clock: Clock, until: float) -> socket.socket:
    if route.proxy is None:
        return await _tcp(route.host, route.port, names, clock, until)
    return await _through(route, names, clock, until)


async def _spoken_to(
    connected: socket.socket, route: Route, make: Callable[[], P], context: ssl.SSLContext | None
) -> P:
    """The protocol on a socket, after the handshake where there is one."""
    try:
        name = route.host if context is not None else None
        _, protocol = await asyncio.get_running_loop().create_connection(
            make, sock=connected, ssl=context, server_hostname=name
        )
    except BaseException:
        connected.close()
        raise
    return protocol


async def _through(route: Route, names: Names, clock: Clock, until: float) -> socket.socket:
    """A socket to the provider by way of the proxy, or to the proxy itself for plain requests."""
    proxy = urlsplit(route.proxy.reveal() if route.proxy else "")
    if proxy.scheme != "http" or not proxy.hostname:
        raise OSError("the proxy is not an http:// URL")
    connected = await _tcp(proxy.hostname, proxy.port or _PORTS["http"], names, clock, until)
    try:
        if route.tls:
            await _tunnel(connected, route)
    except BaseException:
        connected.close()
        raise
    return connected


async def _tunnel(connected: socket.socket, route: Route) -> None:
    host = f"[{route.host}]" if ":" in route.host else route.host
    lines = [f"CONNECT {host}:{route.port} HTTP/1.1", f"host: {host}:{route.port}"]
    if authorization := proxy_authorization(route.proxy):
        lines.append(f"proxy-authorization: {authorization}")
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connected, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    head = b""
    while b"\r\n\r\n" not in head:
        data = await loop.sock_recv(connected, 4096)
        head += data
        if not data or len(head) > _MAX_TUNNEL_HEAD:
            raise OSError("the proxy did not answer CONNECT")
    status = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(status) < 2 or status[1] != b"200" or not head.endswith(b"\r\n\r\n"):  # noqa: PLR2004 - version, status
        raise OSError(f"the proxy refused CONNECT: {head[:40]!r}")


async def _tcp(host: str, port: int, names: Names, clock: Clock, until: float) -> socket.socket:
    found = await names.find(host, port)
    last: OSError | None = None
    deadline = clock.deadline()
    try:
        for index, (family, kind, protocol, _, address) in enumerate(found):
            now = clock.monotonic()
            try:
                with deadline.until(now + (until - now) / (len(found) - index)):
                    return await _one(family, kind, protocol, address)
            except OSError as error:
                last = error
    finally:
        deadline.close()
    raise last or OSError("the name has no address")


async def _one(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        await asyncio.get_running_loop().sock_connect(opened, address)
    except BaseException:
        opened.close()
        raise
    return opened


def _unreachable(route: Route, phase: str, error: Exception) -> Unreachable:
    detail = f"{route.host}: {phase}: {error}"
    return Unreachable("the provider cannot be reached", detail=detail, reach=Reach.NOWHERE)
