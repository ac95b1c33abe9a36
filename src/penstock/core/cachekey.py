"""The exact cache's key, and what a request says about caching.

Two requests share a key only when tenant, model, dialect, policy and every field that can change the answer are the
same value. The rule is "every field but these few": a field nobody has heard of yet makes a miss, never a wrong hit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec

IGNORED: Final = frozenset(
    ("stream", "stream_options", "user", "user_id", "metadata", "store", "prompt_cache_key", "safety_identifier")
)
"""Top-level fields that say how to deliver, bill or file an answer, not what it is. Nested ones count."""

_encode = msgspec.json.Encoder(order="sorted").encode
_NO_HEADERS: Final[Mapping[str, str]] = {}
_SECONDS: Final = re.compile(r'"?([0-9]{1,18})"?', re.ASCII)


@dataclass(frozen=True, slots=True)
class CacheDirective:
    """What the request's ``Cache-Control`` asks of the exact cache; the default asks nothing."""

    no_store: bool = False
    """Neither read nor write the cache."""
    no_cache: bool = False
    """Do not read it; the fresh answer may be stored."""
    max_age_s: int | None = None
    """Accept no answer older than this, in seconds; None = any unexpired one."""
    only_if_cached: bool = False
    """Answer from the cache or not at all."""


NO_DIRECTIVE: Final = CacheDirective()


def parse_directive(header: str) -> CacheDirective:
    """Read a ``Cache-Control`` request header (RFC 9111, 5.2.1).

    Names are case-insensitive, unknown directives are ignored, a malformed max-age is ignored, the least of several
    counts.
    """
    if not header:
        return NO_DIRECTIVE
    given = [_directive(item) for item in header.lower().split(",")]
    names = {name for name, _ in given}
    ages = [int(found[1]) for name, value in given if name == "max-age" and (found := _SECONDS.fullmatch(value))]
    return CacheDirective(
        no_store="no-store" in names,
        no_cache="no-cache" in names,
        max_age_s=min(ages, default=None),
        only_if_cached="only-if-cached" in names,
    )


def cache_key(
    tenant: str,
    model: str,
    dialect: str,
    policy: str,
    fields: Mapping[str, Any],
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> bytes:
    """The 32 bytes under which an answer to this request is kept.

    ``model``: the public name asked for; ``policy``: the fingerprint of what we do to requests. ``fields``: the
    decoded body; ``headers``: the client's that go on to the provider, where betas change answers. Values are compared
    as JSON values: the order of keys and the spelling of strings do not matter, 1, 1.0 and true all differ. One JSON
    array encodes the lot, so no two lists of parts run together.
    """
    asked = {name: value for name, value in fields.items() if name not in IGNORED}
    parts: tuple[Any, ...] = (tenant, model, dialect, policy, asked)
    return sha256(_encode((*parts, headers) if headers else parts)).digest()


def _directive(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name.strip(), value.strip()
