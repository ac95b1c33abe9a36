"""Browsers: which web origins may call the data plane, and what their preflight is told."""

from collections.abc import Collection, Mapping
from typing import Final

_METHODS: Final = (b"access-control-allow-methods", b"GET, POST, OPTIONS")
_MAX_AGE: Final = (b"access-control-max-age", b"600")
_EXPOSED: Final = (
    b"access-control-expose-headers",
    (
        b"x-request-id, x-penstock-cache, x-penstock-deployment, x-penstock-attempts, x-penstock-cost, "
        b"x-penstock-saved, x-penstock-degraded, age, x-penstock-upstream-cache, x-penstock-upstream-cost, "
        b"x-penstock-upstream-request-id, retry-after"
    ),
)
_ALLOWED: Final = (
    b"access-control-allow-headers",
    (
        b"authorization, x-api-key, content-type, cache-control, idempotency-key, x-penstock-tags, "
        b"x-penstock-timeout, timeout, x-penstock-region, x-penstock-session, x-penstock-priority, "
        b"x-penstock-sensitive, anthropic-version, anthropic-beta, traceparent, tracestate"
    ),
)

Lines = list[tuple[bytes, bytes]]


def cors_headers(headers: Mapping[bytes, bytes], allowed: Collection[str]) -> Lines:
    """The answer's headers for an origin that ``server.cors`` lists, ``*`` = every one; none for any other."""
    origin = headers.get(b"origin", b"")
    if "*" not in allowed and origin.decode("latin-1") not in allowed:
        return []
    return [(b"access-control-allow-origin", origin), (b"vary", b"origin"), _EXPOSED]


def preflight(headers: Mapping[bytes, bytes], allowed: Collection[str]) -> tuple[int, bytes, Lines]:
    """(status, body, headers) of a preflight: 204 for a listed origin, else 403."""
    granted = cors_headers(headers, allowed)
    if not granted:
        return 403, b"", [(b"content-length", b"0")]
    return 204, b"", [*granted, _METHODS, _ALLOWED, _MAX_AGE]
