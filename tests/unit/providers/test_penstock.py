"""What a centre's errors mean to its edge, and what the client is told of them."""

import json

import pytest

from penstock.core.breaker import Blame, blame
from penstock.errors import CentreRefused, CentreSpent, ProviderAccount, ProviderBusy, Retry, UpstreamError
from penstock.providers.penstock import Penstock
from penstock.server.replies import ROWS, render_error, told_kind


def told(kind: str, status: int) -> UpstreamError:
    """The error of a centre, as it comes."""
    body = json.dumps({"error": {"message": "because", "code": ROWS[kind].openai_code, "budget": {"value": "eu/web"}}})
    return Penstock().refusal(status, {"x-penstock-error": kind, "retry-after": "7"}, body.encode())


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("budget_exceeded", 429), ("rate_limited", 429), ("model_forbidden", 403), ("cost_unbounded", 400),
        ("loop_detected", 508), ("provider_account", 402), ("idempotency_mismatch", 422), ("not_cached", 504),
    ],
)  # fmt: skip
def test_a_refusal_for_the_tenants_sake_blames_nobody(kind: str, status: int) -> None:
    """It is not asked again there, and the client hears it as the centre said it, its own words too."""
    error = told(kind, status)
    assert isinstance(error, CentreRefused)
    assert (error.retry, blame(error.kind, status)) == (Retry.ELSEWHERE, Blame.NOBODY)
    shown, body, headers = render_error("chat", error, "req_1")
    row = ROWS[kind]
    assert (shown, told_kind(error)) == (row.status, kind)
    assert json.loads(body)["error"]["budget"] == {"value": "eu/web"}
    assert (b"x-should-retry", b"false") in headers or row.retry_helps
    assert ((b"retry-after", b"7") in headers) == (row.status in {429, 503})


@pytest.mark.parametrize(
    ("kind", "status"), [("provider_timeout", 504), ("provider_busy", 429), ("provider_bad_answer", 502)]
)
def test_what_the_centre_tried_in_vain_is_held_against_it_and_not_repeated(kind: str, status: int) -> None:
    """Its deployment may be out; the client hears what it was."""
    error = told(kind, status)
    assert isinstance(error, CentreSpent)
    assert (error.retry, told_kind(error)) == (Retry.ELSEWHERE, kind)
    assert blame(error.kind, status) is not Blame.NOBODY
    assert render_error("chat", error, "")[0] == ROWS[kind].status


@pytest.mark.parametrize(("kind", "status"), [("saturated", 503), ("draining", 503), ("internal_error", 500)])
def test_the_centres_own_trouble_may_be_asked_again(kind: str, status: int) -> None:
    """As any provider's."""
    error = told(kind, status)
    assert (type(error), error.retry) == (ProviderBusy, Retry.ANYWHERE)


def test_a_key_that_the_centre_does_not_know_takes_the_account_out() -> None:
    """Nothing will come of asking on."""
    assert isinstance(told("invalid_api_key", 401), ProviderAccount)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("budget_exceeded", CentreRefused), ("provider_timeout", CentreSpent), ("insufficient_quota", ProviderBusy),
        ("invalid_api_key", ProviderAccount), ("server_error", ProviderBusy),
    ],
)  # fmt: skip
def test_an_error_inside_a_stream_means_the_same(code: str, expected: type[UpstreamError]) -> None:
    """Of the centre's account with its providers nothing follows for ours with the centre."""
    error = Penstock().error_inside("chat", {"error": {"code": code, "message": "because", "type": "server_error"}})
    assert type(error) is expected
    assert Penstock().error_inside("chat", {"choices": []}) is None
