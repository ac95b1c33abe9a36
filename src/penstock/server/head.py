"""The head of a request: what its path and headers ask for, before its body is read."""

import re
from collections.abc import Mapping
from typing import Any, Final

from penstock.core.cachekey import NO_DIRECTIVE, parse_directive
from penstock.errors import BadHost, BadRequest, UnknownPath, WrongMethod
from penstock.pipeline.exchange import Asked
from penstock.pipeline.passing import PASSED, SENSITIVE, read_passed
from penstock.server.hosts import NO_ORIGIN, host_mistake

ENDPOINTS: Final[Mapping[str, str]] = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/messages": "messages",
    "/messages/count_tokens": "count_tokens",
}
PREFIXES: Final = ("", "/v1", "/beta")
DIALECTS: Final[Mapping[str, str]] = {
    prefix + path: dialect for prefix in PREFIXES for path, dialect in ENDPOINTS.items()
}
MODEL_LISTS: Final = frozenset(prefix + "/models" for prefix in PREFIXES)
MODEL_PATHS: Final = tuple(path + "/" for path in MODEL_LISTS)
"""One model of the list: what follows is its name, slashes included."""

MAX_TAGS: Final = 16
MAX_TAG_CHARS: Final = 64
MAX_NAME_CHARS: Final = 128
"""Of a region or a session."""
MAX_IDEMPOTENCY_KEY_CHARS: Final = 255
_TAG: Final = re.compile(r"[A-Za-z0-9_.:/@-]+", re.ASCII)
_SECONDS: Final = re.compile(rb"\d{1,9}(\.\d{1,9})?")
_TIMEOUTS: Final = (b"timeout", b"x-penstock-timeout")
_FORWARDED: Final = frozenset({b"anthropic-version", b"anthropic-beta"})
_LISTS: Final = _FORWARDED | {
    b"cache-control", b"x-penstock-tags", b"x-forwarded-for", b"tracestate", b"traceparent"
}  # fmt: skip
"""Headers that may come in several lines, which are one (RFC 9110 5.3). Of several ``traceparent`` none holds."""
_READ: Final = frozenset(
    {
        b"authorization", b"x-api-key", b"cache-control", b"idempotency-key", b"x-penstock-tags", b"content-length",
        b"content-encoding", b"origin", b"x-forwarded-for", b"x-penstock-region", b"x-penstock-session",
        b"x-penstock-priority", b"traceparent", b"tracestate", SENSITIVE.encode(), *_TIMEOUTS, *PASSED,
    }
)  # fmt: skip
_USUAL: Final = frozenset(
    {
        b"authorization", b"x-api-key", b"content-length", b"origin", b"x-forwarded-for", b"traceparent", b"tracestate",
    }
)  # fmt: skip
"""Headers that ask nothing of the pipeline."""

Headers = dict[bytes, bytes]


def read_headers(scope: Mapping[str, Any], *, open_mode: bool) -> Headers:
    """The headers that matter here, by lower-case name. Raises BadHost, BadRequest.

    In open mode only loopback host names are answered, and no web page at all.
    """
    headers: Headers = {}
    hosts = []
    for name, value in scope["headers"]:
        if name in _READ or name in _FORWARDED:
            headers[name] = value if name not in headers else _repeated(name, headers[name], value)
        elif name == b"host":
            hosts.append(value)
    mistake = host_mistake(hosts, open_mode=open_mode)
    if mistake is None and open_mode and b"origin" in headers:
        mistake = NO_ORIGIN
    if mistake is not None:
        raise BadHost(mistake)
    return headers


def read_asked(dialect: str, headers: Headers) -> Asked:
    """What the headers of a data-plane request ask. Raises BadRequest, LoopDetected."""
    asked = Asked(dialect, credential=read_credential(headers))
    if b"traceparent" in headers:
        asked.trace = headers[b"traceparent"], headers.get(b"tracestate", b"")
    if headers.keys() <= _USUAL:
        return asked
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise BadRequest("send the body uncompressed: content-encoding is not supported on requests")
    directive = headers.get(b"cache-control")
    asked.directive = parse_directive(directive.decode("latin-1")) if directive else NO_DIRECTIVE
    asked.idempotency_key = _read_idempotency_key(headers.get(b"idempotency-key", b""))
    asked.tags = read_tags(headers.get(b"x-penstock-tags", b"").decode("latin-1"))
    asked.timeout_s = read_timeout(headers)
    asked.region = _read_name(b"x-penstock-region", headers)
    asked.session = _read_name(b"x-penstock-session", headers)
    asked.batch = _read_priority(headers.get(b"x-penstock-priority", b"interactive"))
    asked.sensitive = _read_sensitive(headers.get(SENSITIVE.encode(), b"false"))
    asked.passed = read_passed(headers)
    asked.forward = {name.decode(): _read_forwarded(name, headers[name]) for name in headers.keys() & _FORWARDED}
    return asked


def read_credential(headers: Headers) -> str:
    """The key of ``Authorization: Bearer`` or ``x-api-key``; "" when there is none."""
    given = headers.get(b"authorization")
    if given is not None and given[:7].lower() == b"bearer ":
        return given[7:].strip().decode("latin-1")
    return headers.get(b"x-api-key", b"").strip().decode("latin-1")


def read_tags(header: str) -> dict[str, str]:
    """``feature=search,env=prod`` as a mapping. Raises BadRequest."""
    tags: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in header.split(","))):
        name, _, value = item.partition("=")
        for text in (name, value):
            if not _TAG.fullmatch(text) or len(text) > MAX_TAG_CHARS:
                raise BadRequest(
                    f"x-penstock-tags: {item[:80]!r} is not name=value of up to {MAX_TAG_CHARS} plain characters"
                )
        tags[name] = value
    if len(tags) > MAX_TAGS:
        raise BadRequest(f"x-penstock-tags: at most {MAX_TAGS} tags")
    return tags


def read_timeout(headers: Headers) -> float | None:
    """Seconds that the request allows itself; None = it does not say. The shorter of two. Raises BadRequest.

    What SDKs tell of their own timeouts (``x-stainless-timeout``, ``x-stainless-read-timeout``) is not this: it stands
    on every request, 600 s by default, and means silence or the wait for headers, not the whole. When such a client
    has waited long enough it leaves, and that is seen.
    """
    allowed = [_read_seconds(name, headers[name]) for name in _TIMEOUTS if name in headers]
    return min(allowed, default=None)


def find_dialect(path: str, method: str) -> str:
    """The dialect that a path speaks. Raises UnknownPath, WrongMethod."""
    dialect = DIALECTS.get(path)
    if dialect is None:
        raise UnknownPath(
            f"no endpoint {path[:200]!r} here: see /v1/chat/completions, /v1/messages, /v1/embeddings, /v1/models"
        )
    if method != "POST":
        raise WrongMethod(f"{path} takes POST", allow="POST")
    return dialect


def asks_for_models(path: str, method: str) -> bool:
    """Whether it is the list of models, or one of them, that is asked for. Raises WrongMethod."""
    if path not in MODEL_LISTS and not path.startswith(MODEL_PATHS):
        return False
    if method not in {"GET", "HEAD"}:
        raise WrongMethod("the model list takes GET", allow="GET, HEAD")
    return True


def _repeated(name: bytes, first: bytes, second: bytes) -> bytes:
    """One header in two lines: a list is joined, anything else must be the same."""
    if name in _LISTS:
        return first + b", " + second
    if first != second:
        raise BadRequest(f"two different {name.decode()} headers: send one")
    return first


def _read_forwarded(name: bytes, value: bytes) -> str:
    text = value.decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise BadRequest(f"{name.decode()}: only printable ASCII can be sent on")
    return text


def _read_seconds(name: bytes, value: bytes) -> float:
    seconds = float(value) if _SECONDS.fullmatch(value) else 0.0
    if not seconds:
        raise BadRequest(f"{name.decode()}: {value[:40].decode('latin-1')!r} is no number of seconds above 0, like 30")
    return seconds


def _read_name(name: bytes, headers: Headers) -> str:
    text = headers.get(name, b"").decode("latin-1")
    if text and not (_TAG.fullmatch(text) and len(text) <= MAX_NAME_CHARS):
        raise BadRequest(f"{name.decode()}: {text[:80]!r} is no name of up to {MAX_NAME_CHARS} plain characters")
    return text


def _read_priority(value: bytes) -> bool:
    """Whether it may wait behind the others."""
    if value not in {b"interactive", b"batch"}:
        raise BadRequest(f"x-penstock-priority: {value[:40].decode('latin-1')!r} is unknown; use interactive or batch")
    return value == b"batch"


def _read_sensitive(value: bytes) -> bool:
    """Whether it may go to private providers only."""
    if value not in {b"true", b"false"}:
        raise BadRequest(f"{SENSITIVE}: {value[:40].decode('latin-1')!r} is unknown; use true or false")
    return value == b"true"


def _read_idempotency_key(value: bytes) -> str:
    if len(value) > MAX_IDEMPOTENCY_KEY_CHARS:
        raise BadRequest(f"Idempotency-Key: at most {MAX_IDEMPOTENCY_KEY_CHARS} characters")
    return value.decode("latin-1")
