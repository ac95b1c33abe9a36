"""The Anthropic SDK for Python works unchanged on ``/v1/messages``, and the ledger says what it cost."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from penstock.core.usage import Usage
from penstock.providers.answers import sse
from penstock.providers.play import SSE, Pause
from tests.support.sdk_gateway import APP_KEY, NARROW_KEY, SLOW_KEY, UPSTREAM_KEY, SdkGateway, amount, cost_nano
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e

Fresh = Callable[[], str]
Clients = Callable[..., Anthropic]

USAGE = Usage(input_miss=70, input_hit=30, output=9)
WEATHER: Any = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": "up-claude", "stop_sequence": None}


@pytest.fixture
def clients(gateway: SdkGateway) -> Iterator[Clients]:
    """Makes clients for a key; they are closed afterwards. They do not repeat what fails."""
    made: list[Anthropic] = []

    def client(key: str = APP_KEY, **options: Any) -> Anthropic:
        made.append(Anthropic(api_key=key, base_url=gateway.origin, max_retries=0, **options))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.fixture
def client(clients: Clients) -> Anthropic:
    """One with the key that may do everything."""
    return clients()


def say(text: str) -> Any:
    """A conversation of one question."""
    return [{"role": "user", "content": text}]


def create(client: Anthropic, text: str, model: str = "claude") -> anthropic.types.Message:
    """Ask one question."""
    return client.messages.create(model=model, messages=say(text), max_tokens=100)


def text_of(message: anthropic.types.Message) -> str:
    """All that it says."""
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_whole_message_is_in_the_ledger(client: Anthropic, gateway: SdkGateway, up: Upstream, fresh: Fresh) -> None:
    """The answer as the provider gave it; its usage and its cost, to the nano-unit, under its own endpoint."""
    before, _ = gateway.spend("endpoint")
    up.script.reply("水到渠成", usage=USAGE)
    raw = client.messages.with_raw_response.create(model="claude", messages=say(fresh()), max_tokens=100)
    message = raw.parse()
    assert (text_of(message), message.stop_reason) == ("水到渠成", "end_turn")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (70, 30)
    (asked,) = up.calls
    assert asked.call.url == "/up/anthropic/v1/messages"
    assert asked.json["model"] == "up-claude"
    assert asked.call.headers["x-api-key"] == UPSTREAM_KEY
    assert asked.call.headers["anthropic-version"] == client.default_headers["anthropic-version"]

    rows = gateway.exchange(raw.headers["x-request-id"])
    (exchange,), (attempt,), (share,) = rows["exchange"], rows["attempt"], rows["share"]
    assert (exchange["endpoint"], exchange["key_name"], exchange["team"]) == ("messages", "app", "web")
    assert exchange["usage"] == attempt["usage"] == list(USAGE)
    cost = cost_nano(70, 30, 9)
    assert exchange["cost_nano"] == attempt["charged_nano"] == share["amount_nano"] == cost
    after, _ = gateway.spend("endpoint")
    row, none = after["messages"], {"requests": 0, "cost": "0"}
    assert row["requests"] - before.get("messages", none)["requests"] == 1
    assert Decimal(row["cost"]) - Decimal(before.get("messages", none)["cost"]) == Decimal(amount(cost))


def test_a_streamed_message_is_in_the_ledger(
    client: Anthropic, gateway: SdkGateway, up: Upstream, fresh: Fresh
) -> None:
    """The SDK puts it together; usage and cost are those of a whole one."""
    up.script.stream(["it ", "is ", "so"], reasoning=["Hm"], usage=USAGE)
    with client.messages.stream(model="claude", messages=say(fresh()), max_tokens=100) as stream:
        assert list(stream.text_stream) == ["it ", "is ", "so"]
        message = stream.get_final_message()
        request_id = stream.response.headers["x-request-id"]
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.usage.output_tokens == 9
    rows = gateway.exchange(request_id)
    assert rows["exchange"][0]["usage"] == list(USAGE)
    assert rows["exchange"][0]["cost_nano"] == cost_nano(70, 30, 9)
    assert rows["exchange"][0]["streamed"] is True


def test_messages_are_cached_too(client: Anthropic, gateway: SdkGateway, up: Upstream, fresh: Fresh) -> None:
    """The repeat is the same message for nothing, whole and streamed."""
    question = fresh()
    up.script.reply("kept", usage=USAGE)
    first = create(client, question)
    raw = client.messages.with_raw_response.create(model="claude", messages=say(question), max_tokens=100)
    assert raw.headers["x-penstock-cache"] == "exact"
    assert raw.headers["x-penstock-saved"] == f"{amount(cost_nano(70, 30, 9), 6)} CNY"
    assert raw.parse().to_dict() == first.to_dict()
    with client.messages.stream(model="claude", messages=say(question), max_tokens=100) as stream:
        assert text_of(stream.get_final_message()) == "kept"
    assert len(up.calls) == 1
    assert gateway.exchange(raw.headers["x-request-id"])["share"][0]["lever"] == "exact"


def test_counting_tokens_is_free(client: Anthropic, gateway: SdkGateway, up: Upstream, fresh: Fresh) -> None:
    """The provider counts; the ledger has the request and no cost."""
    up.script.json({"input_tokens": 42})
    raw = client.messages.with_raw_response.count_tokens(model="claude", messages=say(fresh()))
    assert raw.parse().input_tokens == 42
    assert up.calls[0].call.url == "/up/anthropic/v1/messages/count_tokens"
    exchange = gateway.exchange(raw.headers["x-request-id"])["exchange"][0]
    assert (exchange["endpoint"], exchange["cost_nano"], exchange["outcome"]) == ("count_tokens", 0, "ok")


def test_tools(client: Anthropic, up: Upstream, fresh: Fresh) -> None:
    """The definition goes out, the use comes back, whole and streamed."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "北京"}}
    usage = {"input_tokens": 9, "output_tokens": 4}
    up.script.json(HEAD | {"content": [use], "stop_reason": "tool_use", "usage": usage})
    message = client.messages.create(model="claude", messages=say(fresh()), tools=WEATHER, max_tokens=100)
    assert [block.to_dict() for block in message.content] == [use]
    assert up.calls[0].json["tools"] == WEATHER

    start: dict[str, Any] = HEAD | {"content": [], "stop_reason": None, "usage": usage}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {**use, "input": {}}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
            for piece in ('{"ci', 'ty":"北', '京"}')
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    up.script.raw(*(sse(event, event["type"]) for event in events), headers=SSE)
    with client.messages.stream(model="claude", messages=say(fresh()), tools=WEATHER, max_tokens=100) as stream:
        assert [block.to_dict() for block in stream.get_final_message().content] == [use]


def test_the_clients_headers_and_fields_pass(clients: Clients, up: Upstream, fresh: Fresh) -> None:
    """``anthropic-beta``, ``cache_control`` and unknown fields reach the provider."""
    client = clients(default_headers={"anthropic-beta": "new-thing-2026"})
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    client.messages.create(
        model="claude", messages=say(fresh()), max_tokens=100, system=system, extra_body={"x_new": [1.5]}
    )  # fmt: skip
    assert up.calls[0].call.headers["anthropic-beta"] == "new-thing-2026"
    assert (up.calls[0].json["system"], up.calls[0].json["x_new"]) == (system, [1.5])


def test_the_model_list(client: Anthropic) -> None:
    """In Anthropic's shape for who sends ``anthropic-version``."""
    assert "claude" in {model.id for model in client.models.list()}
    assert client.models.retrieve("claude").display_name == "claude"


# --- errors


def test_errors_have_anthropics_shape(clients: Clients, up: Upstream, fresh: Fresh) -> None:
    """Each class of the SDK, with the request's id in the body; nothing goes out."""
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        create(clients("ps-nobody"), fresh())
    assert unknown.value.body is not None
    assert unknown.value.response.json()["error"]["type"] == "authentication_error"
    assert unknown.value.response.json()["request_id"] == unknown.value.response.headers["x-request-id"]
    with pytest.raises(anthropic.NotFoundError, match="use one of chat"):
        create(clients(), fresh(), model="claude-none")
    with pytest.raises(anthropic.PermissionDeniedError):
        create(clients(NARROW_KEY), fresh())
    assert not up.calls


def test_a_rate_limit(clients: Clients, fresh: Fresh) -> None:
    """RateLimitError with the time to wait."""
    client = clients(SLOW_KEY)

    def ask_too_often() -> None:
        for _ in range(3):
            create(client, fresh())

    with pytest.raises(anthropic.RateLimitError) as caught:
        ask_too_often()
    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_an_overloaded_provider(client: Anthropic, up: Upstream, fresh: Fresh) -> None:
    """After the attempts are used up, the error that Claude Code knows as overloaded."""
    up.script.at("busy").fail(529, "Overloaded", kind="overloaded_error").forever()
    with pytest.raises(anthropic.InternalServerError) as caught:
        create(client, fresh(), model="busy")
    assert caught.value.response.json()["error"]["type"] == "overloaded_error"
    assert len(up.calls) == 2


def test_an_error_in_a_begun_stream(client: Anthropic, up: Upstream, fresh: Fresh) -> None:
    """It raises after what came before it."""
    start: dict[str, Any] = HEAD | {
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 9, "output_tokens": 0},
    }
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    begun = sse({"type": "message_start", "message": start}, "message_start") + sse(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        "content_block_start",
    )
    up.hold()
    up.script.raw(begun, Pause(1), sse(error, "error"), headers=SSE)
    events = client.messages.create(model="claude", messages=say(fresh()), max_tokens=9, stream=True)
    assert next(events).type == "message_start"
    up.release()
    with pytest.raises(anthropic.APIStatusError):
        list(events)
