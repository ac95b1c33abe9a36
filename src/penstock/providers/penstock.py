"""A central Penstock as a provider: OpenAI's dialects and messages below one base, with the same key.

What it refuses because of whom we ask for (a budget, a rate, a model of theirs) says nothing of the centre itself: it
goes to the client as the centre said it, and takes nothing out. What its providers failed at it has tried as often as
is good: to ask it again would multiply its retries by ours. What is its own trouble (busy, draining) may be asked
again. Which error it is says the header ``x-penstock-error``, for the bodies of some dialects do not.
"""

from collections.abc import Mapping
from typing import Any, Final

from penstock.errors import CentreRefused, CentreSpent, ProviderAccount, ProviderBusy, UpstreamError
from penstock.providers.openai import OpenAICompatible

_TENANTS_OWN: Final = frozenset(
    {
        "budget_exceeded", "cost_unbounded", "idempotency_mismatch", "loop_detected", "model_forbidden",
        "model_not_found", "not_cached", "provider_account", "provider_refused", "rate_limited",
    }
)  # fmt: skip
"""Kinds of errors that are the request's or its tenant's, or of an account behind the centre."""
_SPENT: Final = frozenset(
    {"provider_error", "provider_unreachable", "provider_timeout", "provider_busy", "provider_bad_answer"}
)
"""Kinds of what comes after its retries."""
_KEY_IS_WRONG: Final = "invalid_api_key"
_LOOP: Final = 508
"""Said before it is known who asks, so without the header."""


class Penstock(OpenAICompatible):
    """The adapter of ``kind: penstock``."""

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """As the centre means it."""
        error, said = super().refusal(status, headers, body), headers.get("x-penstock-error", "")
        if status == _LOOP:
            said = "loop_detected"
        if said in _TENANTS_OWN:
            return _as(CentreRefused, error, said)
        return _as(CentreSpent, error, said) if said in _SPENT else error

    def error_inside(self, dialect: str, body: Mapping[str, Any]) -> UpstreamError | None:
        """Likewise; the centre's account with us is sound as long as it answers at all."""
        error = super().error_inside(dialect, body)
        if error is None:
            return None
        inside = body.get("error")
        code = inside.get("code") if isinstance(inside, dict) else None
        if code in _TENANTS_OWN:
            return _as(CentreRefused, error, code)
        if code in _SPENT:
            return _as(CentreSpent, error, code)
        if isinstance(error, ProviderAccount) and code != _KEY_IS_WRONG:
            return ProviderBusy("the centre cannot serve this now", detail=error.detail, status=error.status)
        return error


def _as(kind: type[CentreRefused | CentreSpent], error: UpstreamError, said: str) -> UpstreamError:
    """The same, for what it is."""
    made = kind(
        error.public,
        detail=error.detail,
        status=error.status,
        body=error.body,
        retry_after_s=error.retry_after_s,
        param=error.param,
    )
    made.said = said
    return made
