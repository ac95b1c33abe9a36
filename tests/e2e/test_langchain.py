"""langchain-openai works unchanged: invoke, stream, tools, structured output, embeddings."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from penstock.core.usage import Usage
from tests.support.sdk_gateway import APP_KEY, SdkGateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e

Fresh = Callable[[], str]
USAGE = Usage(input_miss=6, input_hit=4, output=5)
CALL = {"id": "call_1", "type": "function", "function": {"name": "Weather", "arguments": '{"city":"北京"}'}}


class Weather(BaseModel):
    """The weather of a city."""

    city: str


@pytest.fixture
def chat(gateway: SdkGateway) -> Callable[..., ChatOpenAI]:
    """Makes chat models with the options of a test."""

    def made(**options: Any) -> ChatOpenAI:
        return ChatOpenAI(
            model="chat", base_url=gateway.base_url, api_key=SecretStr(APP_KEY), max_retries=0, **options
        )  # fmt: skip

    return made


def test_invoke(chat: Callable[..., ChatOpenAI], up: Upstream, fresh: Fresh) -> None:
    """Text, usage and what of it came from the provider's cache."""
    up.script.reply("水到渠成", usage=USAGE)
    answer = chat().invoke(fresh())
    assert answer.text == "水到渠成"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] == 15
    assert answer.usage_metadata["input_token_details"]["cache_read"] == 4


@pytest.mark.parametrize("options", [{}, {"stream_usage": True}, {"stream_usage": False}])
def test_stream(chat: Callable[..., ChatOpenAI], up: Upstream, fresh: Fresh, options: dict[str, bool]) -> None:
    """The pieces as they came; the usage once, where it was asked for. By itself LangChain asks only OpenAI's own."""
    up.script.stream(["it ", "is"], usage=USAGE)
    chunks = list(chat(**options).stream(fresh()))
    assert [chunk.text for chunk in chunks if chunk.text] == ["it ", "is"]
    totals = [chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata]
    assert totals == ([15] if options.get("stream_usage") else [])


def test_bind_tools(chat: Callable[..., ChatOpenAI], up: Upstream, fresh: Fresh) -> None:
    """The call is understood, whole and streamed."""
    for _ in range(2):
        up.script.reply("", finish="tool_calls", tool_calls=[CALL])
    model = chat().bind_tools([Weather])
    answer = model.invoke(fresh())
    assert isinstance(answer, AIMessage)
    streamed = AIMessageChunk(content="")
    for chunk in model.stream(fresh()):
        assert isinstance(chunk, AIMessageChunk)
        streamed += chunk
    for told in (answer, streamed):
        assert [(call["name"], call["args"]) for call in told.tool_calls] == [("Weather", {"city": "北京"})]
    assert up.calls[0].json["tools"][0]["function"]["name"] == "Weather"


def test_structured_output(chat: Callable[..., ChatOpenAI], up: Upstream, fresh: Fresh) -> None:
    """JSON mode gives the object that was described."""
    up.script.reply('{"city": "北京"}')
    model = chat().with_structured_output(Weather, method="json_mode")
    assert model.invoke(f"{fresh()}, in JSON") == Weather(city="北京")
    assert up.calls[0].json["response_format"] == {"type": "json_object"}


def test_embeddings(gateway: SdkGateway, up: Upstream, fresh: Fresh) -> None:
    """Of documents and of a query, sent as text: a tokenizer of OpenAI's would be no use to other providers."""
    embedder = OpenAIEmbeddings(
        model="embed", base_url=gateway.base_url, api_key=SecretStr(APP_KEY), check_embedding_ctx_length=False
    )
    up.script.embed([0.25, -1.5], [3.0, 0.0]).embed([0.5, 0.0])
    assert embedder.embed_documents([fresh(), fresh()]) == [[0.25, -1.5], [3.0, 0.0]]
    assert embedder.embed_query(fresh()) == [0.5, 0.0]
