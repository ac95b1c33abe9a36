"""Whether providers can be reached: their names, a connection, TLS. No call is made, nothing is paid."""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock.config.settings import ProviderSettings
from penstock.core.findings import Finding, fail, ok, warn
from penstock.errors import PenstockError
from penstock.ports.clock import Clock
from penstock.providers.dial import Route, dial, route_to, tls_context
from penstock.providers.names import Names

SOON_S: Final = 14 * 86_400.0
"""A certificate that ends sooner is told of."""
_DAY_S: Final = 86_400.0
_INVALID: Final = ".invalid"
"""Hosts of providers that need no network (RFC 2606)."""

_CURES: Final = {
    "dns": "check the host in base_url, and this machine's resolver",
    "tls": "its certificate is not trusted: set ca_file, or check who answers there",
    "connect": "check base_url, the firewall, and `proxy`",
}


async def examine_providers(providers: Mapping[str, ProviderSettings], clock: Clock, timeout_s: float) -> list[Finding]:
    """A line for each place that a provider is called at."""
    names = Names()
    try:
        return list(
            await asyncio.gather(
                *(
                    _examine(f"provider {provider.name}", route, names, clock, timeout_s)
                    for provider in providers.values()
                    for route in _routes(provider)
                )
            )
        )
    finally:
        await names.close()


def _routes(provider: ProviderSettings) -> Iterator[Route | PenstockError]:
    seen = set()
    for url in provider.base_urls.values():
        try:
            route = route_to(url, provider.proxy, provider.ca_file)
        except PenstockError as error:
            yield error
            continue
        if (route.host, route.port) not in seen and not route.host.endswith(_INVALID):
            seen.add((route.host, route.port))
            yield route


async def _examine(check: str, route: Route | PenstockError, names: Names, clock: Clock, timeout_s: float) -> Finding:
    if isinstance(route, PenstockError):
        return fail(check, route.detail, _CURES["connect"])
    began = clock.monotonic()
    try:
        context = tls_context(route.ca_file) if route.tls else None
        met = await dial(route, _Met, context, names, clock=clock, timeout_s=timeout_s)
    except (PenstockError, OSError) as error:
        said = error.detail if isinstance(error, PenstockError) else f"ca_file cannot be read: {error}"
        return fail(check, said, next((cure for phase, cure in _CURES.items() if f" {phase}:" in said), ""))
    took_ms = (clock.monotonic() - began) * 1000
    return _told(check, f"{route.host}:{route.port} connects in {took_ms:.0f} ms", met, clock.now())


def _told(check: str, found: str, met: "_Met", now: float) -> Finding:
    ends_in_s = met.ends_at - now
    if not met.ends_at:
        return ok(check, found)
    if ends_in_s < SOON_S:
        return warn(check, f"{found}; its certificate ends in {ends_in_s / _DAY_S:.0f} days", "tell who runs it")
    return ok(check, f"{found}, TLS is trusted")


class _Met(asyncio.Protocol):
    """A connection that is closed as soon as it is there."""

    def __init__(self) -> None:
        self.ends_at = 0.0
        """When its certificate ends; 0 = it has none."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        certificate: Mapping[str, Any] = transport.get_extra_info("peercert") or {}
        if "notAfter" in certificate:
            self.ends_at = float(ssl.cert_time_to_seconds(certificate["notAfter"]))
        if isinstance(transport, asyncio.Transport):
            transport.abort()
