"""Which Host and Origin headers are believed.

httptools lets a missing, a double and any odd Host pass, so both planes ask here. In open mode nobody needs a key, and
the only guard against a web page that reaches us by DNS rebinding is that it cannot hide its Host or its Origin: then
only loopback names pass, and no Origin at all. Fails closed.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from penstock.errors import BadHost

NO_ORIGIN: Final = "requests from web pages are refused while no key exists; create a key first"
_HOST: Final = re.compile(
    rb"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*)\.?)(?::(?P<port>[0-9]{1,5}))?"
)
_MAX_NAME_BYTES: Final = 253
_LOOPBACK: Final = re.compile(r"localhost|127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}", re.ASCII)
_TOP_PORT: Final = 65_535


def valid_host(hosts: Sequence[bytes], *, open_mode: bool) -> bool:
    """Whether a request with these Host headers may pass."""
    return host_mistake(hosts, open_mode=open_mode) is None


def host_mistake(hosts: Sequence[bytes], *, open_mode: bool) -> str | None:
    """None when a request with these Host headers may pass, else a sentence for the client that says why not.

    ``open_mode``: no keys exist, so only loopback names pass.
    """
    if len(hosts) != 1:
        return "more than one Host header" if hosts else "the Host header is missing"
    return _host_mistake(hosts[0], open_mode=open_mode)


def check_headers(headers: Iterable[tuple[bytes, bytes]], *, open_mode: bool) -> None:
    """Raises BadHost unless the Host, and in open mode the absence of an Origin, let the request pass.

    ``headers``: lower-case names.
    """
    hosts = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif open_mode and name == b"origin":
            raise BadHost(NO_ORIGIN)
    mistake = host_mistake(hosts, open_mode=open_mode)
    if mistake is not None:
        raise BadHost(mistake)


@lru_cache(maxsize=1024)
def _host_mistake(host: bytes, *, open_mode: bool) -> str | None:
    name = _host_name(host)
    if name is None:
        return "the Host header is no host name"
    if open_mode and not _is_loopback(name):
        return (
            "while no key exists only loopback host names are served (localhost, 127.0.0.1, [::1]); create a key first"
        )
    return None


def _host_name(host: bytes) -> str | None:
    """The lower-case name in ``host[:port]``, IPv6 without its brackets; None when it is malformed."""
    match = _HOST.fullmatch(host)
    if match is None or len(match["name"] or b"") > _MAX_NAME_BYTES or int(match["port"] or 0) > _TOP_PORT:
        return None
    if match["v6"] is None:
        return str(match["name"], "ascii").lower()
    try:
        return str(IPv6Address(str(match["v6"], "ascii")))
    except AddressValueError:
        return None


def _is_loopback(name: str) -> bool:
    return name == "::1" or _LOOPBACK.fullmatch(name) is not None
