"""What a provider's error means, by its status and its machine-readable codes, never by its words.

Only ``ProviderRefused`` shows the provider's words to the client: it is about the client's request. What a provider
says of our account or its own troubles is the operator's (``detail``).
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.errors import BadAnswer, ProviderAccount, ProviderBusy, ProviderRefused, UpstreamError

MAX_WORDS: Final = 500
"""Characters of a provider's own words that we pass on."""
MAX_BODY: Final = 64 * 1024
"""Bytes of an error body that we keep."""
LONGEST_WAIT_S: Final = 24 * 3600.0

_THREE_DIGITS: Final = re.compile("[0-9]{3}")
_ACCOUNT: Final = frozenset({401, 402, 403})
_BUSY: Final = frozenset({408, 409, 425, 429})
_STATUS_OF_CODE: Final = {
    "api_error": 500,
    "authentication_error": 401,
    "bad_gateway": 502,
    "billing_error": 402,
    "insufficient_balance": 402,
    "insufficient_quota": 402,
    "internal_error": 500,
    "internal_server_error": 500,
    "internalservererror": 500,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "not_found_error": 404,
    "overloaded": 503,
    "overloaded_error": 529,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "request_too_large": 413,
    "server_error": 500,
    "server_overloaded": 503,
    "service_unavailable": 503,
    "timeout": 504,
    "timeout_error": 504,
    "too_many_requests": 429,
}
"""The ``type`` and ``code`` words of OpenAI, Anthropic, DeepSeek, vLLM and their kin, as the status they stand for."""


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """The error that a response with this status means. A 3xx is never followed: the key stays with its origin."""
    error = _error_of(_decoded(body))
    return _error(status, error, body[:MAX_BODY], retry_after_s=retry_after_s(headers))


def error_inside(body: Mapping[str, Any]) -> UpstreamError | None:
    """The error in the body of a 200 or in a stream's event; None when there is none."""
    error = _error_of(body)
    if error is None:
        return None
    status = _embedded_status(error)
    if status is None:
        return BadAnswer("the provider answered with an error", detail=_words(error), status=200)
    return _error(status, error, msgspec.json.encode({"error": error})[:MAX_BODY], retry_after_s=None)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from ``retry-after-ms`` or ``retry-after``; a date gives None, because this reads no clock."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    seconds = milliseconds / 1000 if milliseconds is not None else _number(headers.get("retry-after", ""))
    return None if seconds is None else min(seconds, LONGEST_WAIT_S)


def _error(status: int, error: Mapping[str, Any] | None, body: bytes, *, retry_after_s: float | None) -> UpstreamError:
    words = _words(error) if error else ""
    detail = f"status {status}: {words or body[:MAX_WORDS].decode(errors='replace')}"
    if status in _BUSY or status >= 500:  # noqa: PLR2004 - the 5xx class
        public = "the provider is overloaded or limits our rate"
        return ProviderBusy(public, detail=detail, status=status, body=body, retry_after_s=retry_after_s)
    if status in _ACCOUNT:
        public = "the provider does not accept the gateway's account"
        return ProviderAccount(public, detail=detail, status=status, body=body)
    if status >= 400:  # noqa: PLR2004 - the 4xx class
        param = error.get("param") if error else None
        return ProviderRefused(
            words or f"the provider refused the request with status {status}",
            detail=detail,
            status=status,
            body=body,
            param=param if isinstance(param, str) else None,
        )
    return BadAnswer(f"the provider answered with status {status}", detail=detail, status=status, body=body)


def _error_of(body: Any) -> Mapping[str, Any] | None:
    """The error object of a body, whatever its shape; None when it has none."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if error and isinstance(error, dict):
        return error
    if error and isinstance(error, str):
        return {"message": error, "code": body.get("code"), "type": body.get("type")}
    if body.get("object") == "error" or body.get("type") == "error":
        return body
    return None


def _embedded_status(error: Mapping[str, Any]) -> int | None:
    """The status that an error's own fields name."""
    for name in ("status", "code", "type"):
        value = error.get(name)
        if isinstance(value, str):
            word = value.strip().lower()
            value = int(word) if _THREE_DIGITS.fullmatch(word) else _STATUS_OF_CODE.get(word)
        if isinstance(value, int) and 400 <= value < 600:  # noqa: PLR2004 - the error classes
            return value
    return None


def _words(error: Mapping[str, Any]) -> str:
    message = error.get("message")
    return message[:MAX_WORDS] if isinstance(message, str) else ""


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _number(text: str) -> float | None:
    """A finite number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
