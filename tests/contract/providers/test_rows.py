"""The contract of every row: where its calls go, what they carry, what they do not."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from penstock.config.kinds import DIALECTS
from penstock.config.prices import load_book
from penstock.config.settings import DeploymentSettings, ProviderSettings, Secret
from penstock.errors import ProviderRefused
from penstock.ports.providers import UpstreamCall
from penstock.providers.registry import KINDS, adapter

KEY = "sk-a-key-of-ours"
PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "messages": "/messages",
    "count_tokens": "/messages/count_tokens",
}
SPOKEN = [
    (name, dialect)
    for name, kind in KINDS.items()
    for dialect in (*kind.base_urls, *(("count_tokens",) if "messages" in kind.base_urls else ()))
]


def deployment(kind: str, **changes: Any) -> DeploymentSettings:
    """A deployment named ``upstream-name`` at a provider of that kind."""
    row: dict[str, Any] = {
        "name": "p", "kind": kind, "base_urls": KINDS[kind].base_urls, "api_key": Secret(KEY), "prices": None,
        "private": False, "after_disconnect": "stops", "billed_at": "completion", "price_book": "", "currency": "CNY",
        "proxy": None, "ca_file": None, "headers": {},
    }  # fmt: skip
    return DeploymentSettings(ProviderSettings(**{**row, **changes}), "upstream-name", 1, "")


def encoded(
    kind: str, dialect: str, raw: bytes, forwarded: Mapping[str, str] | None = None, **row: Any
) -> UpstreamCall:
    """The call that asks for this body; ``row`` changes the provider's."""
    return adapter(kind).encode(dialect, msgspec.json.decode(raw), raw, deployment(kind, **row), forwarded or {})


def test_the_kinds_that_the_contract_names() -> None:
    """Nobody's config breaks by a row that went away."""
    named = "deepseek openai anthropic dashscope zhipu moonshot ark siliconflow openrouter vllm sglang llamacpp ollama"
    assert set(KINDS) == {*named.split(), "penstock", "sim", "scripted"}
    assert all(set(kind.base_urls) <= set(DIALECTS) for kind in KINDS.values())


@pytest.mark.parametrize(("kind", "dialect"), SPOKEN)
def test_where_a_call_goes_and_what_it_carries(kind: str, dialect: str) -> None:
    """The dialect's base and path, our key as it wants it, the upstream's name, every other byte as it came."""
    raw = b'{"model":"public",  "messages":[ {"role":"user","content":"\\u00e9"} ],"x_unknown": 1.50}'
    call = encoded(kind, dialect, raw)
    base = KINDS[kind].base_urls["messages" if dialect == "count_tokens" else dialect]
    assert call.method == "POST"
    assert call.url == base + PATHS[dialect]
    assert not call.stream
    assert call.headers["content-type"] == call.headers["accept"] == "application/json"
    messages = dialect in {"messages", "count_tokens"}
    assert call.headers.get("x-api-key") == (KEY if messages else None)
    assert ("authorization" in call.headers) == (kind != "anthropic")
    assert call.headers.get("authorization", f"Bearer {KEY}") == f"Bearer {KEY}"
    assert ("anthropic-version" in call.headers) == messages
    body = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
    assert bytes(body.pop("model")) == b'"upstream-name"'
    assert {name: bytes(value).strip() for name, value in body.items()} == {
        "messages": b'[ {"role":"user","content":"\\u00e9"} ]',
        "x_unknown": b"1.50",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_never_printed(kind: str) -> None:
    """Neither in the call's repr nor in that of its provider."""
    for dialect in KINDS[kind].base_urls:
        call = encoded(kind, dialect, b'{"model":"m"}', headers={"x-more": Secret("hidden")})
        assert KEY not in repr(call)
        assert "hidden" not in repr(call)
        assert call.headers["x-more"] == "hidden"


@pytest.mark.parametrize("dialect", ["chat", "completions"])
@pytest.mark.parametrize("options", [None, {}, {"include_usage": False, "include_obfuscation": False}])
def test_a_stream_is_asked_for_its_usage(dialect: str, options: dict[str, Any] | None) -> None:
    """``include_usage`` is added, and the client's other stream options stay."""
    raw = msgspec.json.encode({"model": "upstream-name", "stream": True, "stream_options": options})
    call = encoded("openai", dialect, raw)
    assert call.stream
    assert call.headers["accept"] == "text/event-stream"
    sent = msgspec.json.decode(call.body)
    assert sent["stream"] is True
    assert sent["stream_options"] == {**(options or {}), "include_usage": True}


def test_the_fields_say_whether_to_stream() -> None:
    """Not the raw body: the pipeline may fetch as a stream what the client wants whole."""
    call = adapter("openai").encode("chat", {"model": "m", "stream": True}, b'{"model":"m"}', deployment("openai"), {})
    assert call.stream
    assert msgspec.json.decode(call.body)["stream"] is True


def test_other_dialects_know_no_stream_options() -> None:
    """Messages streams carry their usage anyway; embeddings are never streamed."""
    raw = b'{"model":"m","stream":true}'
    messages, embeddings = encoded("anthropic", "messages", raw), encoded("openai", "embeddings", raw)
    assert messages.stream
    assert b"stream_options" not in messages.body
    assert not embeddings.stream


def test_every_value_but_the_model_goes_out_as_it_came() -> None:
    """Byte for byte, in its order; of a field that came twice only the one that was read goes out."""
    raw = b' {"temperature": 0.10, "model" : "dear", "messages":[ ], "big": 1e2, "model":"cheap"} '
    body = encoded("openai", "chat", raw).body
    assert body == b'{"temperature":0.10,"model":"upstream-name","messages":[ ],"big":1e2}'


def test_no_key_no_credentials() -> None:
    """A provider without a key is called without."""
    headers = encoded("vllm", "messages", b'{"model":"m"}', api_key=None).headers
    assert not {"authorization", "x-api-key"} & set(headers)


def test_the_operator_s_own_headers_win() -> None:
    """A gateway that wants its key elsewhere can have it so."""
    mine = {"Authorization": Secret("Basic abc"), "X-Org": Secret("o")}
    headers = encoded("openai", "chat", b'{"model":"m"}', headers=mine).headers
    assert headers["authorization"] == "Basic abc"
    assert headers["x-org"] == "o"


def test_client_headers_pass_to_messages_only() -> None:
    """``anthropic-version`` and ``anthropic-beta`` unchanged; the version has a default."""
    raw = b'{"model":"m"}'
    forwarded = {"anthropic-version": "2024-01-01", "anthropic-beta": "a,b"}
    assert encoded("anthropic", "messages", raw).headers["anthropic-version"] == "2023-06-01"
    sent = encoded("deepseek", "messages", raw, forwarded).headers
    assert {name: sent[name] for name in forwarded} == forwarded
    assert not set(forwarded) & set(encoded("deepseek", "chat", raw, forwarded).headers)


def test_a_dialect_without_a_base_is_refused() -> None:
    """By name, so that the operator sees what the row lacks."""
    with pytest.raises(ProviderRefused, match="does not speak messages"):
        encoded("zhipu", "messages", b'{"model":"m"}')


def test_a_base_may_end_in_a_slash() -> None:
    """Continue's configs do."""
    urls = {"chat": "http://h/v1/"}
    assert encoded("openai", "chat", b'{"model":"m"}', base_urls=urls).url == "http://h/v1/chat/completions"


def test_what_a_row_offers_is_priced() -> None:
    """Every default model and alias has a price today, in the row's currency."""
    book = load_book()
    today = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    for kind in KINDS.values():
        for model in (*kind.default_models, *(alias.model for alias in kind.default_aliases.values())):
            assert book.rates(kind.price_book, model, kind.currency, today, 1000)
        assert not kind.price_book or kind.default_models
