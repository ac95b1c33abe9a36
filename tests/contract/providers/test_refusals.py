"""Error answers: by status, whatever they say; the provider's words reach the client only where they are about it."""

from typing import Any

import msgspec
import pytest

from penstock.errors import BadAnswer, ProviderAccount, ProviderBusy, ProviderRefused, UpstreamError
from penstock.providers.registry import KINDS, adapter

OPENAI = b'{"error":{"message":"the words","type":"invalid_request_error","param":"top_p","code":null}}'
STATUSES: dict[type[UpstreamError], list[int]] = {
    ProviderBusy: [408, 409, 425, 429, 500, 502, 503, 504, 520, 529, 599],
    ProviderAccount: [401, 402, 403],
    ProviderRefused: [400, 404, 405, 413, 415, 422, 451, 499],
    BadAnswer: [101, 201, 204, 301, 302, 303, 307, 308],
}


@pytest.mark.parametrize(("kind", "status"), [(kind, status) for kind in STATUSES for status in STATUSES[kind]])
@pytest.mark.parametrize(
    "body",
    [OPENAI, b'{"error":{"type":"overloaded_error","message":"overloaded"}}', b"<html>", b"", b"[1]", b"\xff", b"null"],
)
def test_the_status_decides(kind: type[UpstreamError], status: int, body: bytes) -> None:
    """Not the body, whatever it claims."""
    error = adapter("deepseek").refusal(status, {}, body)
    assert type(error) is kind
    assert error.status == status


@pytest.mark.parametrize("name", KINDS)
def test_every_row_reads_errors_the_same_way(name: str) -> None:
    """402 is an empty balance everywhere; its words are the operator's, the body is kept."""
    body = b'{"error":{"message":"Insufficient Balance","type":"unknown_error","code":"invalid_request_error"}}'
    error = adapter(name).refusal(402, {}, body)
    assert isinstance(error, ProviderAccount)
    assert "Insufficient Balance" not in error.public
    assert "Insufficient Balance" in error.detail
    assert error.body == body


def test_a_refusal_keeps_the_provider_s_words_and_field() -> None:
    """They are about the client's request."""
    error = adapter("openai").refusal(422, {}, OPENAI)
    assert error.public == "the words"
    assert error.param == "top_p"
    assert error.body == OPENAI


def test_anthropic_s_error_shape() -> None:
    """The words stand at the same place inside ``error``."""
    body = b'{"type":"error","error":{"type":"not_found_error","message":"model: nope"},"request_id":"r"}'
    assert adapter("anthropic").refusal(404, {}, body).public == "model: nope"


def test_words_and_bodies_are_bounded() -> None:
    """A provider cannot make us carry a megabyte of error."""
    body = msgspec.json.encode({"error": {"message": "x" * 1_000_000}})
    error = adapter("openai").refusal(400, {}, body)
    assert len(error.public) <= 500
    assert len(error.detail) <= 600
    assert len(error.body) <= 64 * 1024


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, 86400.0),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or milliseconds; a date needs a clock and gives nothing."""
    error = adapter("openai").refusal(429, headers, b"")
    assert error.retry_after_s == seconds


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "m", "type": "server_error", "code": None}}, ProviderBusy),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ProviderBusy),
        ({"error": {"code": 429, "message": "upstream limit"}}, ProviderBusy),
        ({"error": {"code": "502", "message": "bad gateway"}}, ProviderBusy),
        ({"error": {"type": "rate_limit_error", "message": ""}}, ProviderBusy),
        ({"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}, ProviderRefused),
        ({"error": {"code": "invalid_api_key", "message": "no"}}, ProviderAccount),
        ({"error": {"type": "billing_error", "message": "no"}}, ProviderAccount),
        ({"error": {"type": "invalid_request_error", "message": "no"}}, ProviderRefused),
        ({"error": {"message": "something happened"}}, BadAnswer),
        ({"error": "something happened"}, BadAnswer),
        ({"error": "slow down", "code": 429}, ProviderBusy),
        ({"type": "error"}, BadAnswer),
        ({"error": {"code": 200, "message": "odd"}}, BadAnswer),
        ({"error": {"code": True}}, BadAnswer),
    ],
)
def test_an_error_inside_an_answer(body: dict[str, Any], kind: type[UpstreamError]) -> None:
    """By its own status or code; one without either is a bad answer."""
    error = adapter("openai").error_inside("chat", body)
    assert type(error) is kind


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [], "error": None},
        {"choices": []},
        {"error": {}},
        {"error": ""},
        {"type": "message_start"},
        {"type": "ping"},
        {"object": "list", "data": []},
        {"error": []},
    ],
)
def test_no_error_inside(body: dict[str, Any]) -> None:
    """A null or empty ``error`` is none."""
    assert adapter("openai").error_inside("chat", body) is None
