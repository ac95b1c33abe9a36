"""Whose address a request comes from, when proxies stand before us.

``X-Forwarded-For`` grows to the right, each proxy adding who came to it, so it is read from the right: past proxies
that the config trusts to the first address that is none of them. What an untrusted peer says of itself is not believed.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_REMEMBERED = 4096
_MAPPED = "::ffff:"


class Callers:
    """Reads addresses by the proxies that are trusted."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        """``trusted_proxies``: addresses and networks, checked."""
        self._trusted: list[IPv4Network | IPv6Network] = [ip_network(text) for text in trusted_proxies]
        self._trusts = lru_cache(_REMEMBERED)(self._is_trusted)

    def address(self, peer: str, forwarded_for: bytes | None) -> str:
        """The caller's address. ``peer``: who is connected, "" = unknown; ``forwarded_for``: the header's value.

        An IPv4 address that is mapped into IPv6 is the IPv4 address: nobody is two callers.
        """
        if not forwarded_for or not self._trusted or not self._trusts(peer):
            return _plain(peer)
        hops = [hop.strip() for hop in forwarded_for.decode("latin-1").split(",")]
        told = peer
        for hop in reversed(hops):
            if not _is_address(hop):
                break
            told = hop
            if not self._trusts(hop):
                break
        return _plain(told)

    def _is_trusted(self, text: str) -> bool:
        if not _is_address(text):
            return False
        address = ip_address(_plain(text))
        return any(address.version == network.version and address in network for network in self._trusted)


def _plain(text: str) -> str:
    """An address, unmapped."""
    if not text.lower().startswith(_MAPPED):
        return text
    mapped = getattr(ip_address(text), "ipv4_mapped", None) if _is_address(text) else None
    return str(mapped or text)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
