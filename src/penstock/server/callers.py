"""Whose address a request comes from, when proxies stand before us.

``X-Forwarded-For`` grows to the right, each proxy adding who came to it, so it is read from the right: past proxies
that the config trusts to the first address that is none of them. What an untrusted peer says of itself is not believed.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_REMEMBERED = 4096


class Callers:
    """Reads addresses by the proxies that are trusted."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        """``trusted_proxies``: addresses and networks, checked."""
        self._trusted: list[IPv4Network | IPv6Network] = [ip_network(text) for text in trusted_proxies]
        self._trusts = lru_cache(_REMEMBERED)(self._is_trusted)

    def address(self, peer: str, forwarded_for: bytes | None) -> str:
        """The caller's address. ``peer``: who is connected, "" = unknown; ``forwarded_for``: the header's value."""
        if not forwarded_for or not self._trusted or not self._trusts(peer):
            return peer
        hops = [hop.strip() for hop in forwarded_for.decode("latin-1").split(",")]
        told = peer
        for hop in reversed(hops):
            if not _is_address(hop):
                break
            told = hop
            if not self._trusts(hop):
                break
        return told

    def _is_trusted(self, text: str) -> bool:
        if not _is_address(text):
            return False
        address = ip_address(text)
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped.version == network.version and mapped in network for network in self._trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
