"""A central Penstock as a provider: OpenAI's dialects and messages below one base, with the same key.

What it refuses because of whom we ask for (a budget, a rate, a model of theirs) says nothing of the centre itself: it
goes to the client as the centre said it, is asked of no one else, and takes nothing out. Which error it is says the
header ``x-penstock-error``, for the bodies of some dialects do not.
"""

from collections.abc import Mapping
from typing import Any, Final

from penstock.errors import CentreRefused, ProviderAccount, ProviderBusy, UpstreamError
from penstock.providers.openai import OpenAICompatible

_TENANTS_OWN: Final = frozenset(
    {
        "budget_exceeded", "cost_unbounded", "idempotency_mismatch", "loop_detected", "model_forbidden",
        "model_not_found", "not_cached", "provider_account", "provider_refused", "rate_limited",
    }
)  # fmt: skip
"""Kinds of errors that are the request's or its tenant's, or of an account behind the centre."""
_KEY_IS_WRONG: Final = "invalid_api_key"
_LOOP: Final = 508
"""Said before it is known who asks, so without the header."""
_BUDGET: Final = "budget_exceeded"


class Penstock(OpenAICompatible):
    """The adapter of ``kind: penstock``."""

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """As the centre means it."""
        error, said = super().refusal(status, headers, body), headers.get("x-penstock-error", "")
        if status == _LOOP:
            said = "loop_detected"
        return _refused(error, said) if said in _TENANTS_OWN else error

    def error_inside(self, dialect: str, body: Mapping[str, Any]) -> UpstreamError | None:
        """Likewise; the centre's account with us is sound as long as it answers at all."""
        error = super().error_inside(dialect, body)
        inside = body.get("error")
        code = inside.get("code") if isinstance(inside, dict) else None
        if error is not None and code == _BUDGET:
            return _refused(error, _BUDGET)
        if isinstance(error, ProviderAccount) and code != _KEY_IS_WRONG:
            return ProviderBusy("the centre cannot serve this now", detail=error.detail, status=error.status)
        return error


def _refused(error: UpstreamError, said: str) -> CentreRefused:
    refused = CentreRefused(
        error.public,
        detail=error.detail,
        status=error.status,
        body=error.body,
        retry_after_s=error.retry_after_s,
        param=error.param,
    )
    refused.said = said
    return refused
