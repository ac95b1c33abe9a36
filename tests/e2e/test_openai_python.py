"""The OpenAI SDK for Python works unchanged: only its ``base_url`` is ours."""

import base64
import struct
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai import OpenAI

from penstock.core.usage import Usage
from penstock.errors import BadAnswer
from penstock.providers.answers import Answer, sse, whole
from penstock.providers.play import SSE, Pause, Step
from tests.support.sdk_gateway import APP_KEY, MODELS, NARROW_KEY, SLOW_KEY, UPSTREAM_KEY, SdkGateway, amount, cost_nano
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e

Fresh = Callable[[], str]
Clients = Callable[..., OpenAI]

WEATHER: Any = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"北京"}'}}
HALF = sse(
    {
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}],
    }
)  # fmt: skip


@pytest.fixture
def clients(gateway: SdkGateway) -> Iterator[Clients]:
    """Makes clients, for a key and a path; they are closed afterwards. They do not repeat what fails."""
    made: list[OpenAI] = []

    def client(key: str = APP_KEY, path: str = "/v1") -> OpenAI:
        made.append(OpenAI(api_key=key, base_url=gateway.origin + path, max_retries=0))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.fixture
def client(clients: Clients) -> OpenAI:
    """One with the key that may do everything."""
    return clients()


def say(text: str) -> Any:
    """A conversation of one question."""
    return [{"role": "user", "content": text}]


# --- whole answers


def test_a_whole_answer(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """Text and usage as the provider gave them; the provider got its own key and its own name for the model."""
    up.script.reply("水到渠成", usage=Usage(input_miss=70, input_hit=30, output=9))
    answer = client.chat.completions.create(model="chat", messages=say(fresh()))
    assert answer.choices[0].message.content == "水到渠成"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 9)
    (asked,) = up.calls
    assert asked.json["model"] == "up-chat"
    assert asked.call.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert APP_KEY not in str(asked.call.headers)


def test_the_headers_of_a_whole_answer(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """``with_raw_response`` sees where it came from and, to the last digit that they show, what it cost."""
    up.script.reply(usage=Usage(input_miss=70, input_hit=30, output=9))
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=say(fresh()))
    cost = amount(cost_nano(70, 30, 9), 6)
    assert {name: value for name, value in raw.headers.items() if name.startswith("x-penstock")} == {
        "x-penstock-cache": "miss", "x-penstock-deployment": "up/up-chat", "x-penstock-attempts": "1",
        "x-penstock-cost": f"{cost} CNY", "x-penstock-saved": "0.000000 CNY",
    }  # fmt: skip
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.parse().choices[0].message.content == "hello"


def test_unknown_fields_pass_untouched(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """What nobody here has heard of reaches the provider with every byte of its value, in any nesting."""
    extra = {"thinking": {"type": "enabled", "水": [1, 1.50, 1e-7, None, {}]}, "x_new": 0.1, "top_k": 12345678901234567}
    client.chat.completions.create(model="chat", messages=say(fresh()), extra_body=extra, seed=7)
    body = up.calls[0].call.body.decode()
    assert '"thinking":{"type":"enabled","水":[1,1.5,1e-07,null,{}]},"x_new":0.1,"top_k":12345678901234567' in body
    assert '"seed":7' in body


def test_tools(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """The tool's definition goes out, its call comes back."""
    up.script.reply("", finish="tool_calls", tool_calls=[CALL])
    answer = client.chat.completions.create(model="chat", messages=say(fresh()), tools=WEATHER, tool_choice="auto")
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert [call.to_dict() for call in calls] == [CALL]
    assert up.calls[0].json["tools"] == WEATHER


def test_json_mode_vision_choices_and_logprobs(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """One request with all of them: each reaches the provider as it was asked, each comes back as it was said."""
    logprobs = {"content": [{"token": "{", "logprob": -0.25, "bytes": [123], "top_logprobs": []}], "refusal": None}
    choice = {"message": {"role": "assistant", "content": "{}"}, "logprobs": logprobs, "finish_reason": "stop"}
    up.script.json(
        {
            "id": "c", "object": "chat.completion", "created": 1, "model": "up-chat",
            "choices": [{"index": 0, **choice}, {"index": 1, **choice}],
        }
    )  # fmt: skip
    parts: Any = [
        {"type": "text", "text": fresh()},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
    ]
    answer = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": parts}], response_format={"type": "json_object"}, n=2,
        logprobs=True, top_logprobs=3,
    )  # fmt: skip
    assert [each.to_dict() for each in answer.choices] == [{"index": 0, **choice}, {"index": 1, **choice}]
    asked = up.calls[0].json
    assert asked["messages"][0]["content"] == parts
    assert (asked["response_format"], asked["n"], asked["top_logprobs"]) == ({"type": "json_object"}, 2, 3)


def test_a_folded_answer(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """Under ``stream_upstream`` a whole asker gets a whole answer, though the provider streamed it."""
    up.script.stream(["it ", "is"], reasoning=["Hm", "!"], usage=Usage(input_miss=5, output=2))
    answer = client.chat.completions.create(model="folded", messages=say(fresh()))
    message = answer.choices[0].message.to_dict()
    assert (message["content"], message["reasoning_content"]) == ("it is", "Hm!")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 7
    assert up.calls[0].streamed


# --- streams


@pytest.mark.parametrize("asks_usage", [None, False, True])
def test_a_streamed_answer(client: OpenAI, up: Upstream, fresh: Fresh, asks_usage: bool | None) -> None:  # noqa: FBT001 - a parameter of the test
    """The pieces as they came; exactly one usage chunk for who asks for it, none for who does not."""
    up.script.stream(["it ", "is ", "so"], usage=Usage(input_miss=5, output=3))
    options: Any = {} if asks_usage is None else {"stream_options": {"include_usage": asks_usage}}
    chunks = list(client.chat.completions.create(model="chat", messages=say(fresh()), stream=True, **options))
    text = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert text == ["it ", "is ", "so"]
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert [usage.total_tokens for usage in usages] == ([8] if asks_usage else [])
    assert all(chunk.choices for chunk in chunks) is not bool(asks_usage)
    assert up.calls[0].json["stream_options"] == {"include_usage": True}


def test_reasoning_is_streamed(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """``reasoning_content`` reaches the client though the SDK does not know it."""
    up.script.stream(["so"], reasoning=["First", ", then"])
    chunks = client.chat.completions.create(model="chat", messages=say(fresh()), stream=True)
    deltas = [choice.delta.to_dict() for chunk in chunks for choice in chunk.choices]
    assert "".join(str(delta.get("reasoning_content", "")) for delta in deltas) == "First, then"


def test_tools_are_streamed(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """The SDK puts the pieces of the arguments together."""
    pieces = ['{"ci', 'ty":"北', '京"}']
    calls: list[dict[str, Any]] = [{"index": 0, **CALL, "function": {"name": "weather", "arguments": ""}}]
    calls += [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "up-chat"}
    deltas: list[Any] = [{"role": "assistant", "content": None}, *({"tool_calls": [call]} for call in calls)]
    events = [head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    up.script.events(*events, head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    with client.chat.completions.stream(model="chat", messages=say(fresh()), tools=WEATHER) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.arguments == '{"city":"北京"}'


# --- other endpoints


def test_embeddings(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """As base64, which the SDK asks for by itself, and as numbers: the same vectors either way."""
    vectors = [[0.25, -1.5], [3.0, 0.0]]
    for asked, sent in (({}, "base64"), ({"encoding_format": "float"}, "float")):
        up.forget()
        up.script.embed(*vectors, usage=Usage(input_miss=6))
        options: Any = asked
        answer = client.embeddings.create(model="embed", input=[fresh(), "两"], **options)
        assert [item.embedding for item in answer.data] == vectors
        assert answer.usage.prompt_tokens == 6
        assert up.calls[0].json["encoding_format"] == sent


def test_embeddings_stay_as_they_were_encoded(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """The text of base64 passes unchanged."""
    packed = base64.b64encode(struct.pack("<2f", 0.5, 2.0)).decode()
    up.script.embed([0.5, 2.0])
    raw = client.embeddings.with_raw_response.create(model="embed", input=fresh(), encoding_format="base64")
    assert f'"{packed}"' in raw.text


def test_completions_fill_in_the_middle(clients: Clients, up: Upstream, fresh: Fresh) -> None:
    """Whole and streamed, under ``/beta`` as DeepSeek has it; the suffix reaches the provider."""
    client = clients(path="/beta")
    up.script.reply("return a + b").stream(["return ", "a"])
    answer = client.completions.create(model="chat", prompt=fresh(), suffix="\n}", max_tokens=9)
    assert answer.choices[0].text == "return a + b"
    chunks = client.completions.create(model="chat", prompt=fresh(), suffix="\n}", stream=True)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "return a"
    assert [asked.json["suffix"] for asked in up.calls] == ["\n}", "\n}"]
    assert up.calls[0].dialect == "completions"


@pytest.mark.parametrize("path", ["", "/v1", "/beta"])
def test_every_prefix(clients: Clients, fresh: Fresh, path: str) -> None:
    """With ``/v1``, without, and under ``/beta``: the same endpoints, the same model list."""
    client = clients(path=path)
    assert client.chat.completions.create(model="chat", messages=say(fresh())).choices[0].message.content == "hello"
    assert {model.id for model in client.models.list()} == set(MODELS)


def test_the_model_list_is_the_keys_own(clients: Clients) -> None:
    """A key that may use one model sees one, and finds no other."""
    client = clients(NARROW_KEY)
    assert [model.id for model in client.models.list()] == ["chat"]
    assert client.models.retrieve("chat").id == "chat"
    with pytest.raises(openai.NotFoundError, match="use one of chat"):
        client.models.retrieve("claude")


# --- errors


def test_an_unknown_key(clients: Clients, up: Upstream, fresh: Fresh) -> None:
    """AuthenticationError, for calls and for the model list; nothing goes out."""
    stranger = clients("ps-nobody")
    with pytest.raises(openai.AuthenticationError) as caught:
        create(stranger, "chat", fresh())
    assert caught.value.code == "invalid_api_key"
    assert "ps-nobody" not in str(caught.value)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    assert not up.calls


def create(client: OpenAI, model: str, text: str) -> Any:
    """Ask one question."""
    return client.chat.completions.create(model=model, messages=say(text))


def test_a_model_that_is_not_allowed(clients: Clients, up: Upstream, fresh: Fresh) -> None:
    """PermissionDeniedError, naming what is allowed."""
    with pytest.raises(openai.PermissionDeniedError, match="it may use chat"):
        create(clients(NARROW_KEY), "claude", fresh())
    assert not up.calls


def test_an_unknown_model(client: OpenAI, clients: Clients, up: Upstream, fresh: Fresh) -> None:
    """NotFoundError, naming all that this key may use and nothing else."""
    with pytest.raises(openai.NotFoundError, match=f"use one of {', '.join(MODELS)}") as caught:
        create(client, "gpt-none", fresh())
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError) as narrow:
        create(clients(NARROW_KEY), "gpt-none", fresh())
    assert "claude" not in str(narrow.value)
    assert not up.calls


def test_a_bad_request(client: OpenAI, up: Upstream) -> None:
    """BadRequestError from the gateway itself; nothing goes out."""
    nothing: Any = "no list"
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model="chat", messages=nothing)
    assert not up.calls


def test_a_rate_limit(clients: Clients, fresh: Fresh) -> None:
    """RateLimitError above the key's rate, with the time to wait; the SDK waits by itself if it may."""
    client = clients(SLOW_KEY)

    def ask_too_often() -> None:
        for _ in range(3):
            create(client, "chat", fresh())

    with pytest.raises(openai.RateLimitError, match="2 requests per minute") as caught:
        ask_too_often()
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 120


def test_a_busy_provider(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """RateLimitError once the attempts are used up; a provider that recovers is no error."""
    up.script.at("busy").fail(429, "slow down").times(2).reply("at last").fail(429).reply("again")
    with pytest.raises(openai.RateLimitError) as caught:
        create(client, "busy", fresh())
    assert caught.value.response.headers["x-penstock-attempts"] == "2"
    assert len(up.calls) == 2
    assert create(client, "busy", fresh()).choices[0].message.content == "at last"
    assert create(client, "busy", fresh()).choices[0].message.content == "again"
    assert len(up.calls) == 5


def test_what_the_provider_refuses(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """UnprocessableEntityError in the provider's own words, after one call."""
    up.script.fail(422, "temperature 9 is too hot", kind="invalid_request_error", code="hot")
    with pytest.raises(openai.UnprocessableEntityError, match="temperature 9 is too hot") as caught:
        create(client, "chat", fresh())
    assert caught.value.code == "hot"
    assert len(up.calls) == 1


def test_our_trouble_with_the_provider_is_not_the_clients(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """The provider refusing our key is a 502: the client's key is fine, and ours is not shown."""
    up.script.at("refused").fail(401, f"Incorrect API key provided: {UPSTREAM_KEY}", kind="authentication_error")
    with pytest.raises(openai.InternalServerError) as caught:
        create(client, "refused", fresh())
    assert caught.value.status_code == 502
    assert UPSTREAM_KEY not in caught.value.response.text


def test_a_provider_that_is_down(client: OpenAI, fresh: Fresh) -> None:
    """InternalServerError (502) that names no address of ours; with another deployment it is no error at all."""
    with pytest.raises(openai.InternalServerError) as caught:
        create(client, "down", fresh())
    assert (caught.value.status_code, caught.value.code) == (502, "provider_unreachable")
    assert "127.0.0.1" not in caught.value.response.text
    raw = client.chat.completions.with_raw_response.create(model="backed", messages=say(fresh()))
    assert (raw.headers["x-penstock-deployment"], raw.headers["x-penstock-attempts"]) == ("up/up-backed", "2")


@pytest.mark.parametrize("end", [BadAnswer("scripted"), sse({"error": {"message": "busy", "type": "server_error"}})])
def test_an_error_in_a_begun_stream(client: OpenAI, up: Upstream, fresh: Fresh, end: Step) -> None:
    """Cut or told, it raises APIError after what came before it; the half answer is never served again."""
    question = fresh()
    up.hold()
    up.script.raw(HALF, Pause(1), end, headers=SSE).reply("whole")
    stream = client.chat.completions.create(model="chat", messages=say(question), stream=True)
    assert next(stream).choices[0].delta.content == "half"
    up.release()
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.type == "server_error"
    assert create(client, "chat", question).choices[0].message.content == "whole"


def test_what_is_cached_is_the_same_for_the_sdk(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """The first answer came whole; its repeat streams as well as it is whole, and costs no call."""
    question = fresh()
    up.script.reply("kept", reasoning=["Hm"], usage=Usage(input_miss=5, output=1))
    first = create(client, "chat", question)
    assert create(client, "chat", question) == first
    with client.chat.completions.stream(
        model="chat", messages=say(question), stream_options={"include_usage": True}
    ) as stream:
        retold = stream.get_final_completion()
    assert retold.choices[0].message.content == "kept"
    assert retold.usage == first.usage
    assert len(up.calls) == 1


def test_the_answer_is_not_rewritten(client: OpenAI, up: Upstream, fresh: Fresh) -> None:
    """A whole answer keeps every byte, fields that nobody knows included."""
    body = whole(Answer(extra={"system_fingerprint": "fp", "水": [1e-7, 0.10]}), "chat")
    up.script.raw(body)
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=say(fresh()))
    assert raw.content == body


def test_each_request_is_in_the_one_ledger(client: OpenAI, gateway: SdkGateway, up: Upstream, fresh: Fresh) -> None:
    """Counted once and charged to the nano-unit, whichever node had it; all nodes have their share."""
    nodes, none = gateway.nodes, {"requests": 0, "cost": "0"}
    before, _ = gateway.spend("model")
    asked = [node.answered() for node in nodes]
    up.script.reply(usage=Usage(input_miss=70, input_hit=30, output=9)).forever()
    for _ in range(6):
        create(client, "chat", fresh())
    after, _ = gateway.spend("model")
    row, old = after["chat"], before.get("chat", none)
    assert row["requests"] - old["requests"] == 6
    assert Decimal(row["cost"]) - Decimal(old["cost"]) == Decimal(amount(6 * cost_nano(70, 30, 9)))
    assert [node.answered() - past for node, past in zip(nodes, asked, strict=True)] == [6 / len(nodes)] * len(nodes)
