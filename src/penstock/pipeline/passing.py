"""What an edge passes along to its centre with a request, and what a centre reads of that.

Everything a client said of its request goes along, its tenant and our id beside it. The ``Idempotency-Key`` is the
same for every call of one exchange (of one key of the client's, where it has one) with one body, so a retry whose
first call the centre has worked for is no second request there.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import quote, unquote

from penstock.core.cachekey import CacheDirective
from penstock.core.edge import MOST_HOPS, Passed, Tenant, Told, read_told
from penstock.errors import BadRequest, LoopDetected
from penstock.pipeline.exchange import Exchange, Principal

HOPS: Final = "x-penstock-hops"
PARENT: Final = "x-penstock-parent"
TENANT: Final = "x-penstock-tenant"
ENTRY: Final = "x-penstock-entry"
SENSITIVE: Final = "x-penstock-sensitive"
PASSED: Final = frozenset(name.encode() for name in (HOPS, PARENT, TENANT, ENTRY))
"""What only a Penstock says."""

LEAST_TIMEOUT_S: Final = 0.001
LONGEST_PART: Final = 1000
"""Characters of a key's name, its team or its id, as they are written."""
_PARENT: Final = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_ENTRY: Final = re.compile(r"[A-Za-z0-9%/_.~-]{1,1024}", re.ASCII)
_REGION: Final = re.compile(r"[A-Za-z0-9_.:/@-]{1,128}", re.ASCII)
"""As the header takes it; the config may call one anything."""
_HOPS: Final = re.compile(rb"[1-9]\d?")
_PARTS: Final = 3


class Passing:
    """Writes the headers of a call to a centre."""

    def __init__(self, is_sensitive: Callable[[Exchange], bool], region_of: Callable[[Exchange], str]) -> None:
        """``is_sensitive``, ``region_of``: what only this side knows of the caller."""
        self._is_sensitive = is_sensitive
        self._region_of = region_of

    def headers(self, exchange: Exchange, body: bytes, left_s: float) -> dict[str, str]:
        """``body``: as it is sent; ``left_s``: the seconds that the exchange may still take."""
        asked, principal = exchange.asked, exchange.principal
        region = self._region_of(exchange)
        hops = 1 if asked.passed is None else asked.passed.hops + 1
        given = {
            HOPS: str(hops),
            PARENT: exchange.id,
            TENANT: "/".join(quote(part, safe="") for part in (principal.key_id, principal.name, principal.team)),
            "idempotency-key": _idempotency_key(exchange, body),
            "x-penstock-timeout": f"{max(left_s, LEAST_TIMEOUT_S):.3f}",
            "x-penstock-tags": ",".join(f"{name}={value}" for name, value in asked.tags.items()),
            "x-penstock-region": region if _REGION.fullmatch(region) else "",
            "x-penstock-session": asked.session,
            "x-forwarded-for": asked.address,
            "x-penstock-priority": "batch" if asked.batch else "",
            "cache-control": directive_text(asked.directive),
            ENTRY: _entry(exchange),
            SENSITIVE: "true" if self._is_sensitive(exchange) else "",
        }
        return {name: value for name, value in given.items() if value}


def read_passed(headers: Mapping[bytes, bytes]) -> Passed | None:
    """What a Penstock says of the request; None = no Penstock asks. Raises BadRequest, LoopDetected."""
    hops = headers.get(HOPS.encode())
    if hops is None:
        return None
    if not _HOPS.fullmatch(hops):
        raise BadRequest(f"{HOPS}: {hops[:40].decode('latin-1')!r} is no number of Penstocks")
    if int(hops) > MOST_HOPS:
        raise LoopDetected(f"this request came through {int(hops)} Penstocks: they ask each other in a ring")
    parent, entry = (headers.get(name.encode(), b"").decode("latin-1") for name in (PARENT, ENTRY))
    return Passed(
        hops=int(hops),
        parent=parent if _PARENT.fullmatch(parent) else "",
        tenant=_tenant(headers.get(TENANT.encode(), b"").decode("latin-1")),
        entry=entry if _ENTRY.fullmatch(entry) else "",
    )


def as_tenant(principal: Principal, tenant: Tenant) -> Principal:
    """Whom the edge ``principal`` asks for: with its own cache, and with no right that the edge has not.

    Where the edge's key has a team, that pays, whatever the edge says.
    """
    return Principal(
        key_id=f"{principal.key_id}/{tenant.id}",
        name=f"{principal.name}/{tenant.name}",
        team=principal.team or tenant.team,
        models=principal.models,
        rpm=principal.rpm,
        tpm=principal.tpm,
        concurrency=principal.concurrency,
        edge=principal.name,
        edge_id=principal.key_id,
    )


def read_headers_told(headers: Mapping[str, str]) -> Told:
    """What the centre says of its answer; of one that it only repeats it does not say how that came to be."""
    names = ("x-request-id", "x-penstock-cache", "x-penstock-cost", "age", "x-penstock-degraded")
    request_id, cache, cost, age, degraded = (headers.get(name, "") for name in names)
    repeated = "idempotent-replayed" in headers
    return read_told(request_id, "" if repeated else cache, cost, age, degraded)


def directive_text(directive: CacheDirective) -> str:
    """As ``Cache-Control`` says it; "" = it asks nothing."""
    given = (
        "no-store" if directive.no_store else "",
        "no-cache" if directive.no_cache else "",
        "only-if-cached" if directive.only_if_cached else "",
        "" if directive.max_age_s is None else f"max-age={directive.max_age_s}",
    )
    return ", ".join(filter(None, given))


def entry_text(key: bytes, model: str) -> str:
    """Under what an edge stores an answer: its own cache key and its own name of the model."""
    return f"{key.hex()}/{quote(model, safe='')}"


def read_entry(text: str) -> tuple[bytes, str]:
    """The same, back. Raises ValueError."""
    key, slash, model = text.partition("/")
    if len(key) != 2 * sha256().digest_size or not (slash and model):
        raise ValueError("is no entry of a cache")
    return bytes.fromhex(key), unquote(model, errors="strict")


def _entry(exchange: Exchange) -> str:
    """Only of an answer that we would store ourselves."""
    storable = exchange.cache == "miss" and exchange.key is not None
    text = entry_text(exchange.key or b"", exchange.model.name) if storable else ""
    return text if _ENTRY.fullmatch(text) else ""


def _tenant(text: str) -> Tenant | None:
    parts = text.split("/")
    if len(parts) != _PARTS or not parts[0] or any(len(part) > LONGEST_PART for part in parts):
        return None
    try:
        id_, name, team = (unquote(part, errors="strict") for part in parts)
    except UnicodeDecodeError:
        return None
    return Tenant(id_, name, team) if (id_ + name + team).isprintable() else None


def _idempotency_key(exchange: Exchange, body: bytes) -> str:
    asked = exchange.asked
    client = f"{exchange.principal.key_id}\n{asked.idempotency_key}" if asked.idempotency_key else exchange.id
    return sha256(f"{client}\n{asked.dialect}\n".encode() + body).hexdigest()
