"""Errors as the client sees them: one table from kind to status and names, in the shape of the client's dialect.

A new kind of error needs a row here; a test fails until it has one. Three kinds look at the provider's own status:
a refusal goes out as the provider worded it, a busy 429 stays a 429, an empty account stays a 402. The provider's 401
and 403 become a 502: the client's key is not at fault. A refusal by a budget says which one, under ``error.budget``.
"""

import math
from typing import Any, Final, NamedTuple

import msgspec

from penstock.core.budget_report import refusal_fields
from penstock.errors import (
    BudgetExceeded,
    CentreRefused,
    NoDeployment,
    PenstockError,
    ProviderAccount,
    ProviderBusy,
    ProviderRefused,
    UpstreamError,
    WrongMethod,
)

Headers = list[tuple[bytes, bytes]]

ANTHROPIC_DIALECTS: Final = frozenset({"messages", "count_tokens"})
LEAST_RETRY_AFTER_S: Final = 1

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """How one kind of error looks. ``retry_helps`` False tells SDKs not to ask again, whatever the status."""

    status: int
    openai_type: str
    openai_code: str | None
    anthropic_type: str
    retry_helps: bool = True


_REQUEST: Final = "invalid_request_error"
_SERVER: Final = "server_error"
_API: Final = "api_error"
_BUSY: Final = "overloaded_error"

ROWS: Final[dict[str, Row]] = {
    "internal_error": Row(500, _SERVER, "internal_error", _API),
    "config_error": Row(500, _SERVER, "config_error", _API, retry_helps=False),
    "store_error": Row(503, _SERVER, "store_error", _API),
    "shared_unavailable": Row(503, _SERVER, "shared_unavailable", _API),
    "price_unknown": Row(500, _SERVER, "price_unknown", _API, retry_helps=False),
    "invalid_request": Row(400, _REQUEST, None, _REQUEST),
    "bad_host": Row(400, _REQUEST, "bad_host", _REQUEST),
    "unknown_path": Row(404, _REQUEST, "unknown_url", "not_found_error"),
    "wrong_method": Row(405, _REQUEST, "method_not_allowed", _REQUEST),
    "body_too_large": Row(413, _REQUEST, "request_too_large", "request_too_large"),
    "body_too_slow": Row(408, _REQUEST, "request_timeout", "timeout_error"),
    "invalid_api_key": Row(401, _REQUEST, "invalid_api_key", "authentication_error"),
    "model_forbidden": Row(403, _REQUEST, "model_forbidden", "permission_error"),
    "model_not_found": Row(404, _REQUEST, "model_not_found", "not_found_error"),
    "idempotency_mismatch": Row(422, "idempotency_error", "idempotency_mismatch", _REQUEST),
    "not_cached": Row(504, _REQUEST, "not_cached", _API, retry_helps=False),
    "loop_detected": Row(508, _REQUEST, "loop_detected", _REQUEST, retry_helps=False),
    "client_gone": Row(499, _REQUEST, "client_gone", _REQUEST),
    "rate_limited": Row(429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error"),
    "budget_exceeded": Row(429, "insufficient_quota", "budget_exceeded", "rate_limit_error", retry_helps=False),
    "cost_unbounded": Row(400, _REQUEST, "cost_unbounded", _REQUEST, retry_helps=False),
    "gateway_error": Row(503, _SERVER, "gateway_error", _API),
    "saturated": Row(503, _SERVER, "saturated", _BUSY),
    "draining": Row(503, _SERVER, "draining", _BUSY),
    "keys_unavailable": Row(503, _SERVER, "keys_unavailable", _API),
    "ledger_unavailable": Row(503, _SERVER, "ledger_unavailable", _API),
    "no_deployment": Row(503, _SERVER, "no_deployment", _API),
    "provider_error": Row(502, _SERVER, "provider_error", _API),
    "provider_unreachable": Row(502, _SERVER, "provider_unreachable", _API),
    "provider_timeout": Row(504, _SERVER, "provider_timeout", "timeout_error"),
    "provider_busy": Row(503, _SERVER, "provider_busy", _BUSY),
    "provider_refused": Row(400, _REQUEST, "provider_refused", _REQUEST),
    "provider_account": Row(502, _SERVER, "provider_account", _API, retry_helps=False),
    "provider_bad_answer": Row(502, _SERVER, "provider_bad_answer", _API),
}

_BUSY_429: Final = Row(429, "rate_limit_error", "provider_busy", "rate_limit_error")
_ACCOUNT_402: Final = Row(402, "insufficient_quota", "provider_account", "billing_error", retry_helps=False)
_REFUSED: Final = {
    404: Row(404, _REQUEST, "provider_refused", "not_found_error"),
    413: Row(413, _REQUEST, "request_too_large", "request_too_large"),
    422: Row(422, _REQUEST, "provider_refused", _REQUEST),
}

_NOT_THE_CLIENTS: Final = frozenset({401, 402, 403, 407, 408, 429})
"""Statuses that speak of our account, our proxy or the hour: never passed on as the client's mistake."""


def row_of(error: PenstockError) -> Row:
    """The row of an error: its kind's, corrected by the provider's own status where that says more."""
    if isinstance(error, UpstreamError):
        return _upstream_row(error)
    return ROWS.get(error.kind, ROWS["internal_error"])


def told_kind(error: PenstockError) -> str:
    """The kind that the client is told: the centre's, where it is one's."""
    return (error.said if isinstance(error, UpstreamError) else "") or error.kind


def render_error(dialect: str, error: PenstockError, request_id: str) -> tuple[int, bytes, Headers]:
    """(status, body, headers) of an error, complete with content-type, content-length and x-request-id.

    ``request_id`` is "" for what never became an exchange.
    """
    row = row_of(error)
    body = error_body(dialect, error, request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    if request_id:
        headers.append((b"x-request-id", request_id.encode("ascii", "replace")))
    is_for_good = row.status in (429, 503) and _is_for_good(error)
    if row.status in (429, 503) and not is_for_good:
        headers.append((b"retry-after", b"%d" % _retry_after_s(error)))
    if row.status == 401:  # noqa: PLR2004 - RFC 9110 15.5.2: a 401 names its scheme
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, WrongMethod):
        headers.append((b"allow", error.allow.encode()))
    if is_for_good or not row.retry_helps:
        headers.append((b"x-should-retry", b"false"))
    return row.status, body, headers


def error_body(dialect: str, error: PenstockError, request_id: str) -> bytes:
    """The error object as JSON, in the shape of the dialect."""
    row = row_of(error)
    own = _own_words(error)
    if dialect in ANTHROPIC_DIALECTS:
        return _encode({"type": "error", "error": _anthropic(row, error, own), "request_id": request_id or None})
    return _encode({"error": _openai(row, error, own)})


def error_event(dialect: str, error: PenstockError, request_id: str) -> bytes:
    """The error as the last event of a stream that has already begun."""
    name = b"event: error\n" if dialect in ANTHROPIC_DIALECTS else b""
    return name + b"data: " + error_body(dialect, error, request_id) + b"\n\n"


def _upstream_row(error: UpstreamError) -> Row:
    if error.said in ROWS:
        return ROWS[error.said]
    if isinstance(error, ProviderBusy) and error.status == 429:  # noqa: PLR2004 - HTTP's own number
        return _BUSY_429
    if isinstance(error, ProviderAccount) and error.status == 402:  # noqa: PLR2004 - likewise
        return _ACCOUNT_402
    if isinstance(error, ProviderRefused):
        return _refused_row(error.status)
    return ROWS.get(error.kind, ROWS["provider_error"])


def _refused_row(status: int | None) -> Row:
    row = ROWS["provider_refused"]
    if status is None or status in _NOT_THE_CLIENTS or not 400 <= status < 500:  # noqa: PLR2004 - the 4xx class
        return row
    return _REFUSED.get(status, row._replace(status=status))


def _is_for_good(error: PenstockError) -> bool:
    """Whether no time will cure it: a budget that is never reset, or a model that nobody ever can serve."""
    if isinstance(error, CentreRefused | NoDeployment):
        return error.retry_after_s is None
    return isinstance(error, BudgetExceeded) and (error.retry_after_s is None or math.isinf(error.retry_after_s))


def _retry_after_s(error: PenstockError) -> int:
    seconds = error.retry_after_s
    if seconds is None or not math.isfinite(seconds):
        return LEAST_RETRY_AFTER_S
    return max(LEAST_RETRY_AFTER_S, math.ceil(seconds))


def _openai(row: Row, error: PenstockError, own: dict[str, Any] | None) -> dict[str, Any]:
    if own is not None:
        return {"type": row.openai_type, "param": None, "code": None} | own
    said = {"message": error.public, "type": row.openai_type, "param": error.param, "code": row.openai_code}
    return said | _refused_by(error)


def _anthropic(row: Row, error: PenstockError, own: dict[str, Any] | None) -> dict[str, Any]:
    if own is None:
        return {"type": row.anthropic_type, "message": error.public} | _refused_by(error)
    kind = own.get("type")
    known = isinstance(kind, str) and kind in _ANTHROPIC_TYPES
    return {"type": kind if known else row.anthropic_type, "message": own["message"]}


def _refused_by(error: PenstockError) -> dict[str, Any]:
    """Which budget, how much of it is used, and when it is reset."""
    return {"budget": refusal_fields(error.refused_by)} if isinstance(error, BudgetExceeded) else {}


_ANTHROPIC_TYPES: Final = frozenset(row.anthropic_type for row in (*ROWS.values(), *_REFUSED.values(), _ACCOUNT_402))


def _own_words(error: PenstockError) -> dict[str, Any] | None:
    """The error object in a refusal's body; both dialects keep it under ``error`` with a ``message`` in it."""
    if not isinstance(error, ProviderRefused) or not error.body:
        return None
    try:
        body = _decode(error.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    own = body.get("error") if isinstance(body, dict) else None
    return own if isinstance(own, dict) and isinstance(own.get("message"), str) else None
