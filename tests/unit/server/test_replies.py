"""Errors as the client sees them."""

import json
from collections.abc import Iterator

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import errors
from penstock.server.replies import ROWS, error_event, render_error


def every_class(root: type[errors.PenstockError] = errors.PenstockError) -> Iterator[type[errors.PenstockError]]:
    """The whole tree."""
    yield root
    for child in root.__subclasses__():
        yield from every_class(child)


def test_every_kind_of_error_has_a_row() -> None:
    """A new error without a row fails here."""
    kinds = {error.kind for error in every_class() if error.__module__ == errors.__name__}
    assert kinds == set(ROWS)


def test_the_openai_shape() -> None:
    """Message, type, param and code stand where the SDK reads them."""
    status, body, headers = render_error("chat", errors.BadRequest("model is missing", param="model"), "req_1")
    assert status == 400
    assert json.loads(body) == {
        "error": {"message": "model is missing", "type": "invalid_request_error", "param": "model", "code": None}
    }
    assert dict(headers) == {
        b"content-type": b"application/json",
        b"content-length": str(len(body)).encode(),
        b"x-request-id": b"req_1",
    }


@pytest.mark.parametrize("dialect", ["messages", "count_tokens"])
def test_the_anthropic_shape(dialect: str) -> None:
    """Anthropic's dialects get Anthropic's error object, request id included."""
    status, body, _ = render_error(dialect, errors.UnknownKey("no such key"), "req_1")
    assert status == 401
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": "authentication_error", "message": "no such key"},
        "request_id": "req_1",
    }


def test_the_detail_never_leaves() -> None:
    """What is for the operator is not in the answer."""
    error = errors.Unreachable("the provider cannot be reached", detail="canary-detail 10.0.0.7")
    _, body, headers = render_error("chat", error, "req_1")
    assert b"canary" not in body + repr(headers).encode()


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (errors.RateLimited("slow down", retry_after_s=2.1), b"3"),
        (errors.RateLimited("slow down", retry_after_s=0.0), b"1"),
        (errors.Saturated("full"), b"1"),
        (errors.ProviderBusy("busy", status=429, retry_after_s=30), b"30"),
        (errors.ProviderBusy("busy", status=500, retry_after_s=float("nan")), b"1"),
    ],
)
def test_a_429_and_a_503_say_when_to_come_back(error: errors.PenstockError, retry_after: bytes) -> None:
    """Whole seconds, rounded up, at least one."""
    _, _, headers = render_error("chat", error, "req_1")
    assert dict(headers)[b"retry-after"] == retry_after


@given(st.sampled_from(sorted(ROWS)), st.none() | st.floats())
def test_retry_after_is_a_positive_integer_wherever_it_stands(kind: str, retry_after_s: float | None) -> None:
    """No wait, however odd, makes a header that a client cannot read."""
    error = errors.PenstockError("x", retry_after_s=retry_after_s)
    error.kind = kind  # type: ignore[misc] # any row, without its class
    status, _, headers = render_error("chat", error, "req_1")
    value = dict(headers).get(b"retry-after")
    assert (value is not None) == (status in (429, 503))
    assert value is None or int(value) >= 1


def over(unit: str, resets_at: float | None, retry_after_s: float | None = None) -> errors.BudgetExceeded:
    """A refusal by a budget: 1 of 2 nano-units or tokens are used."""
    fields: dict[str, str | float | None] = {
        "budget": "b",
        "scope": "user",
        "value": "alice",
        "unit": unit,
        "used": 1,
        "limit": 2,
    }
    refused_by = fields | {"resets_at": resets_at, "timezone": "Asia/Shanghai"}
    return errors.BudgetExceeded("used up", refused_by=refused_by, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("dialect", "names"),
    [
        ("chat", {"type": "insufficient_quota", "param": None, "code": "budget_exceeded"}),
        ("messages", {"type": "rate_limit_error"}),
    ],
)
def test_a_budget_says_which_it_is_and_until_when(dialect: str, names: dict[str, str | None]) -> None:
    """In both shapes, exact to the nano-unit, the reset in the budget's zone, and SDKs do not ask again."""
    status, body, headers = render_error(dialect, over("CNY", 1_795_363_200.0, 60.5), "req_1")
    assert status == 429
    assert json.loads(body)["error"] == {
        **names,
        "message": "used up",
        "budget": {
            "budget": "b",
            "scope": "user",
            "value": "alice",
            "unit": "CNY",
            "used": "0.000000001",
            "limit": "0.000000002",
            "currency": "CNY",
            "resets_at": "2026-11-23T00:00:00+08:00",
        },
    }
    assert dict(headers)[b"retry-after"] == b"61"
    assert dict(headers)[b"x-should-retry"] == b"false"


@pytest.mark.parametrize("retry_after_s", [None, float("inf")])
def test_a_budget_that_is_never_reset_names_no_time(retry_after_s: float | None) -> None:
    """Neither in the body nor as Retry-After."""
    _, body, headers = render_error("chat", over("tokens", None, retry_after_s), "")
    shown = json.loads(body)["error"]["budget"]
    assert (shown["used"], shown["limit"], shown["currency"], shown["resets_at"]) == ("1", "2", None, None)
    assert b"retry-after" not in dict(headers)
    assert (b"x-should-retry", b"false") in headers


def test_sdks_are_told_not_to_ask_again_where_that_cannot_help() -> None:
    """An account without credit or a model without price is not cured by asking again."""
    for error in (
        errors.ProviderAccount("no credit", status=402),
        errors.ProviderAccount("key refused", status=401),
        errors.PriceError("no price"),
    ):
        assert (b"x-should-retry", b"false") in render_error("chat", error, "req_1")[2]
    assert b"x-should-retry" not in dict(render_error("chat", errors.Saturated("full"), "req_1")[2])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ProviderAccount("x", status=401), 502),
        (errors.ProviderAccount("x", status=403), 502),
        (errors.ProviderAccount("x", status=402), 402),
        (errors.ProviderBusy("x", status=429), 429),
        (errors.ProviderBusy("x", status=500), 503),
        (errors.ProviderBusy("x"), 503),
        (errors.ProviderTimeout("x"), 504),
        (errors.Unreachable("x"), 502),
        (errors.BadAnswer("x", status=200), 502),
        (errors.ProviderRefused("x", status=422), 422),
        (errors.ProviderRefused("x", status=404), 404),
        (errors.ProviderRefused("x", status=451), 451),
        (errors.ProviderRefused("x", status=401), 400),
        (errors.ProviderRefused("x", status=200), 400),
        (errors.ProviderRefused("x"), 400),
        (errors.LedgerUnavailable("x"), 503),
    ],
)
def test_the_providers_status_decides_where_it_says_more(error: errors.PenstockError, status: int) -> None:
    """The client's own mistakes keep the provider's status, ours do not look like the client's."""
    assert render_error("chat", error, "req_1")[0] == status


def test_a_refusal_keeps_the_providers_own_words() -> None:
    """An error object that already has the right shape goes out as it came, unknown fields included."""
    own = {"message": "context too long", "type": "invalid_request_error", "code": "context_length", "max": 4}
    error = errors.ProviderRefused("refused", status=400, body=json.dumps({"error": own, "trace": 1}).encode())
    assert json.loads(render_error("chat", error, "r")[1]) == {"error": {"param": None, **own}}
    assert json.loads(render_error("messages", error, "r")[1])["error"] == {
        "type": "invalid_request_error",
        "message": "context too long",
    }


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"error": "text"}', b'{"error": {"message": 1}}', b'{"a":' * 100_000, b"\xff"],
)
def test_a_body_in_another_shape_is_not_passed_on(body: bytes) -> None:
    """Then the client gets our own sentence."""
    error = errors.ProviderRefused("the provider refused", status=422, body=body)
    assert json.loads(render_error("chat", error, "r")[1])["error"]["message"] == "the provider refused"


def test_an_error_in_a_stream_is_one_event() -> None:
    """Both dialects end a begun stream with one well-formed event."""
    error = errors.Unreachable("cut")
    chat = error_event("chat", error, "r")
    assert chat.startswith(b'data: {"error":')
    assert chat.endswith(b"}\n\n")
    assert error_event("messages", error, "r").startswith(b'event: error\ndata: {"type":"error"')


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.UnknownKey("x"), openai.AuthenticationError),
        (errors.RateLimited("x"), openai.RateLimitError),
        (errors.UnknownModel("x"), openai.NotFoundError),
        (errors.UnknownPath("x"), openai.NotFoundError),
        (errors.BadRequest("x"), openai.BadRequestError),
        (errors.IdempotencyMismatch("x"), openai.UnprocessableEntityError),
        (errors.ModelForbidden("x"), openai.PermissionDeniedError),
        (errors.Unreachable("x"), openai.InternalServerError),
    ],
)
def test_the_openai_sdk_raises_the_right_class(
    error: errors.PenstockError, expected: type[openai.APIStatusError]
) -> None:
    """An application's ``except`` clauses work unchanged."""
    status, body, headers = render_error("chat", error, "req_7")

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers=headers)

    client = openai.OpenAI(
        api_key="k",
        base_url="http://127.0.0.1/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )
    with client, pytest.raises(expected) as caught:
        client.models.list()
    assert type(caught.value) is expected
    assert caught.value.request_id == "req_7"
