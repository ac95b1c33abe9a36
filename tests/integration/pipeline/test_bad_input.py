"""Whatever a client sends: the right status, in its dialect's shape, and nothing goes to a provider."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.asgi_client import Asking
from tests.support.house import BASE, END_S, URLS, House, chat, in_virtual_time, message, open_house

pytestmark = pytest.mark.looptime(end=END_S)

HI = b'{"role":"user","content":"hi"}'
BODIES = {
    "empty": b"",
    "blank": b" \n",
    "truncated": b'{"model":"m","messages":[' + HI,
    "garbage": b"\x00\x01\x02",
    "nested 200,000 deep": b'{"model":"m","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep and truncated": b"[" * 200_000,
    "NaN": b'{"model":"m","messages":[%b],"temperature":NaN}' % HI,
    "Infinity": b'{"model":"m","messages":[%b],"temperature":Infinity}' % HI,
    "no UTF-8": b'{"model":"m","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "half a pair": b'{"model":"m","messages":[{"role":"user","content":"\\ud83d"}]}',
    "two values": b'{"model":"m","messages":[%b]}{}' % HI,
    "a list": b"[]",
    "a string": b'"hi"',
    "null": b"null",
    "no model": b'{"messages":[%b],"max_tokens":1}' % HI,
    "a null model": b'{"model":null,"messages":[%b],"max_tokens":1}' % HI,
    "an empty model": b'{"model":"","messages":[%b],"max_tokens":1}' % HI,
    "a model that is a list": b'{"model":["m"],"messages":[%b],"max_tokens":1}' % HI,
    "no messages": b'{"model":"m","max_tokens":1}',
    "messages that are text": b'{"model":"m","messages":"hi","max_tokens":1}',
    "no message": b'{"model":"m","messages":[],"max_tokens":1}',
    "a message that is a number": b'{"model":"m","messages":[1],"max_tokens":1}',
    "a stream that is text": b'{"model":"m","messages":[%b],"stream":"yes","max_tokens":1}' % HI,
    "a temperature that is text": b'{"model":"m","messages":[%b],"temperature":"hot","max_tokens":1}' % HI,
    "tools that are an object": b'{"model":"m","messages":[%b],"tools":{},"max_tokens":1}' % HI,
    "no choices": b'{"model":"m","messages":[%b],"n":0,"max_tokens":1}' % HI,
}


def refused(house: House, asking: Asking, status: int) -> Any:
    """The error object of a refusal that went nowhere."""
    assert asking.status == status
    assert house.upstream.calls == []
    assert asking.headers["content-type"] == "application/json"
    assert int(asking.headers["content-length"]) == len(asking.body)
    assert asking.headers["x-request-id"].startswith("req_")
    return asking.error


def is_openai(error: Any) -> bool:
    """The shape that OpenAI's SDKs read."""
    return set(error) == {"message", "type", "param", "code"} and error["message"] != ""


def is_anthropic(body: Any) -> bool:
    """The shape that Anthropic's SDKs read."""
    return body["type"] == "error" and set(body["error"]) == {"type", "message"}


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_refused(name: str, dialect: str) -> None:
    """400 in the dialect's shape; the connection may go on, for the body was read."""
    async with open_house() as house:
        asking = await house.answer(BODIES[name], URLS[dialect])
        error = refused(house, asking, 400)
        assert error["type"] == "invalid_request_error"
        assert is_openai(error) if dialect == "chat" else is_anthropic(asking.json)
        assert "connection" not in asking.headers
        assert [row.outcome for row in house.exchanges] == ["invalid_request"]


@given(body=st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: repr(v).encode()))
def test_any_bytes_are_answered(body: bytes) -> None:
    """A refusal that is JSON, and never a crash of ours."""

    async def ask() -> None:
        async with open_house() as house:
            asking = await house.answer(body, URLS["chat"])
            assert asking.status == 400
            assert is_openai(asking.error)

    in_virtual_time(ask)


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_oversize_body_is_refused(chunked: bool) -> None:  # noqa: FBT001 - a parameter
    """By its told length before it is read, else as soon as it is too long; the rest of it ends the connection."""
    async with open_house(limits={"max_body": "10KiB"}) as house:
        pieces = [b" " * 4096] * 100
        asking = house.ask(pieces, headers={} if chunked else {"content-length": str(4096 * 100)})
        await asking.done()
        assert refused(house, asking, 413)["code"] == "request_too_large"
        assert asking.headers["connection"] == "close"
        assert len(asking.unsent) == (97 if chunked else 100)


async def test_a_body_that_is_larger_than_told_is_refused() -> None:
    """A length that lies is no way in."""
    async with open_house(limits={"max_body": "1KiB"}) as house:
        asking = await house.ask([b" " * 2048], headers={"content-length": "10"}).done()
        refused(house, asking, 413)


async def test_an_unknown_model_is_told_the_names_the_key_may_use() -> None:
    """And no other names."""
    async with open_house() as house:
        key = await house.add_key("small", models=("m", "duo"))
        asking = await house.answer(chat(model="gpt-none"), key=key)
        error = refused(house, asking, 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "m, duo" in error["message"]
        assert "stopping" not in error["message"]
        asking = await house.answer(chat(model="stopping"), key=key)
        assert refused(house, asking, 403)["code"] == "model_forbidden"


async def test_strangers_are_refused_before_their_body_is_read() -> None:
    """No key, a wrong one, a revoked and an expired one: 401 and a closed connection."""
    async with open_house() as house:
        good = await house.add_key("good")
        dead, old = await house.add_key("dead"), await house.add_key("old", expires_in_s=10)
        await house.gateway.stores.keys.revoke("dead", house.gateway.clock.now())
        await house.gateway.refresh_keys()
        await house.gateway.clock.sleep(10)
        for key in ("", "psk-wrong", dead, old, "kéy"):
            asking = house.ask([b"{", b"}"], key=key)
            await asking.done()
            error = refused(house, asking, 401)
            assert error["code"] == "invalid_api_key"
            assert asking.headers["connection"] == "close"
            assert asking.headers["www-authenticate"] == "Bearer"
            assert asking.unsent == [b"{", b"}"]
            assert not key or key not in error["message"]
        assert (await house.answer(chat(), key=good)).status == 200
        assert (await house.answer(message(), headers={"x-api-key": good})).status == 200
        assert {row.key_id for row in house.exchanges if row.outcome == "invalid_api_key"} == {""}


async def test_the_first_key_ends_open_mode_for_good() -> None:
    """Revoked, it still counts as one."""
    async with open_house() as house:
        assert (await house.answer(chat(), key="anything")).status == 200
        await house.add_key("first")
        await house.gateway.stores.keys.revoke("first", house.gateway.clock.now())
        await house.gateway.refresh_keys()
        assert (await house.answer(chat(), key="anything")).status == 401


@pytest.mark.parametrize(
    "tags", ["feature", "=x", "feature=", "a b=c", "feature=ü", "x=" + "y" * 65, ",".join(f"t{n}=1" for n in range(17))]
)
async def test_bad_tags_are_refused(tags: str) -> None:
    """They become labels of a report: plain, short, few."""
    async with open_house() as house:
        asking = await house.answer(chat(), headers={"x-penstock-tags": tags})
        assert "x-penstock-tags" in refused(house, asking, 400)["message"]


async def test_a_compressed_body_is_refused() -> None:
    """It is not decoded, so it must not be misread."""
    async with open_house() as house:
        refused(house, await house.answer(chat(), headers={"content-encoding": "gzip"}), 400)


@pytest.mark.parametrize("host", [None, b"evil.example", b"127.0.0.1@evil.example", b"x/admin?", b"", b"[::1", b"a b"])
async def test_a_bad_host_is_refused_in_open_mode(host: bytes | None) -> None:
    """Without keys only loopback names are served: the guard against rebinding."""
    async with open_house() as house:
        asking = await house.answer(chat(), host=host)
        assert refused(house, asking, 400)["code"] == "bad_host"
        assert asking.headers["connection"] == "close"


async def test_two_hosts_are_refused_always() -> None:
    """With keys any one sound name passes; two never do."""
    async with open_house() as house:
        key = await house.add_key("k")
        assert (await house.answer(chat(), key=key, host=b"gateway.example")).status == 200
        house.upstream.calls.clear()
        asking = await house.answer(chat("other"), key=key, headers={"host": "gateway.example"})
        refused(house, asking, 400)


async def test_a_web_page_is_refused_in_open_mode() -> None:
    """A browser cannot hide its Origin; once keys exist the page needs one."""
    async with open_house() as house:
        asking = await house.answer(chat(), headers={"origin": "http://127.0.0.1:3000"})
        refused(house, asking, 400)
        key = await house.add_key("k")
        asking = await house.answer(chat(), key=key, headers={"origin": "https://app.example"})
        assert asking.status == 200
        assert "access-control-allow-origin" not in asking.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/embeddings", 405),
        ("POST", "/v1/nothing", 404),
        ("POST", "/", 404),
        ("POST", "/v1/chat/completions/", 404),
        ("POST", "/V1/chat/completions", 404),
        ("GET", "/v1/models/none", 404),
        ("POST", "/admin/keys", 404),
        ("GET", "/metrics", 404),
    ],
)
async def test_a_wrong_method_or_path_is_refused(method: str, path: str, status: int) -> None:
    """The data plane has its endpoints and no others."""
    async with open_house() as house:
        asking = await house.answer(chat(), path, method=method)
        assert is_openai(refused(house, asking, status))
        assert asking.headers["connection"] == "close"


async def test_the_messages_path_refuses_in_its_own_shape() -> None:
    """Whatever is wrong: method, key, model."""
    async with open_house() as house:
        assert is_anthropic((await house.answer(message(), method="GET")).json)
        assert is_anthropic((await house.answer(message(model="none"))).json)
        await house.add_key("k")
        asking = await house.answer(message(), URLS["count_tokens"])
        assert is_anthropic(asking.json)
        assert asking.json["error"]["type"] == "authentication_error"
        assert asking.json["request_id"] == asking.headers["x-request-id"]


@pytest.mark.parametrize("prefix", ["", "/v1", "/beta"])
@pytest.mark.parametrize("path", ["/chat/completions", "/models"])
async def test_every_prefix_serves(prefix: str, path: str) -> None:
    """With and without /v1, and under /beta."""
    async with open_house() as house:
        method = "GET" if path == "/models" else "POST"
        assert (await house.answer(chat(), prefix + path, method=method)).status == 200


async def test_a_model_whose_name_has_slashes_is_found() -> None:
    """As the SDKs ask for it: decoded, a path has no other slashes."""
    models = {"Qwen/Qwen3-8B": BASE["models"]["m"], "m": BASE["models"]["m"]}
    async with open_house(models=models) as house:
        asking = await house.answer(b"", "/v1/models/Qwen/Qwen3-8B", method="GET")
        assert (asking.status, asking.json["id"]) == (200, "Qwen/Qwen3-8B")


async def test_the_model_list_is_the_keys_own() -> None:
    """What a key may not use it does not see."""
    async with open_house() as house:
        key = await house.add_key("small", models=("m",))
        listed = await house.answer(b"", "/v1/models", method="GET", key=key)
        assert [model["id"] for model in listed.json["data"]] == ["m"]
        assert (await house.answer(b"", "/v1/models/duo", method="GET", key=key)).status == 404


@pytest.mark.parametrize(("given", "said"), [("", "an API key is needed"), ("stranger", "unknown, revoked or expired")])
async def test_a_stranger_is_told_the_same_on_every_path(given: str, said: str) -> None:
    """The list of models is what people try first."""
    async with open_house() as house:
        await house.add_key("k")
        asked = await house.answer(chat(), key=given)
        listed = await house.answer(b"", "/v1/models", method="GET", key=given)
        assert [listed.status, asked.status] == [401, 401]
        assert listed.json == asked.json
        assert said in listed.json["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/m", "GET, HEAD"),
        ("POST", "/v1/models", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allow: str) -> None:
    """RFC 9110 15.5.6."""
    async with open_house() as house:
        asking = await house.answer(b"", path, method=method)
        assert refused(house, asking, 405)["code"] == "method_not_allowed"
        assert asking.headers["allow"] == allow


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/models", {}, 200),
        ("GET", "/v1/models", {"authorization": "Bearer stranger"}, 401),
        ("GET", "/v1/models/none", {}, 404),
        ("POST", "/v1/nothing", {}, 404),
        ("GET", "/v1/chat/completions", {}, 405),
        ("POST", "/v1/chat/completions", {"x-penstock-tags": "none"}, 400),
        ("POST", "/v1/chat/completions", {"authorization": "Bearer stranger"}, 401),
    ],
)
@pytest.mark.parametrize("listed", ["https://a.example", "*"])
async def test_a_browser_may_read_every_answer(
    method: str, path: str, headers: dict[str, str], status: int, listed: str
) -> None:
    """Refusals too, where its origin is listed; without that they look like a network error to its page."""
    async with open_house(server={**BASE["server"], "cors": [listed]}) as house:
        key = await house.add_key("k")
        headers = {"authorization": f"Bearer {key}", "origin": "https://a.example", **headers}
        asking = await house.answer(chat(), path, method=method, headers=headers)
        assert asking.status == status
        assert asking.headers["access-control-allow-origin"] == "https://a.example"


# --- headers in several lines


async def twice(house: House, name: str, first: str, second: str) -> Asking:
    """A message whose header comes in two lines."""
    asking = house.ask(message(), headers={name: first})
    asking.scope["headers"].append((name.encode(), second.encode()))
    return await asking.done()


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "idempotency-key"])
async def test_two_different_headers_are_refused(name: str) -> None:
    """What is not a list has one value: which of two is meant nobody can know."""
    async with open_house() as house:
        error = refused(house, await twice(house, name, "Bearer a", "Bearer b"), 400)
        assert f"two different {name} headers" in error["message"]
        assert (await twice(house, name, "Bearer a", "Bearer a")).status == 200


@pytest.mark.parametrize("name", ["anthropic-beta", "anthropic-version"])
async def test_a_list_in_two_lines_reaches_the_provider_whole(name: str) -> None:
    """As RFC 9110 5.3 joins them."""
    async with open_house() as house:
        assert (await twice(house, name, "a-1", "b-2")).status == 200
        assert house.upstream.calls[0].call.headers[name] == "a-1, b-2"


@pytest.mark.parametrize("name", ["anthropic-beta", "anthropic-version"])
@pytest.mark.parametrize("value", ["caf\xe9", "a\tb", "a\x01"])
async def test_what_cannot_be_sent_on_is_refused(name: str, value: str) -> None:
    """By name, before it would look like a provider that cannot be reached."""
    async with open_house() as house:
        error = refused(house, await house.answer(message(), headers={name: value}), 400)
        assert error["message"].startswith(name)


@pytest.mark.parametrize(
    ("name", "value", "cache"),
    [("cache-control", "no-store", "off"), ("x-penstock-tags", "a=b", "miss"), ("idempotency-key", "k", "miss")],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_every_header_counts_however_few_there_are(name: str, value: str, cache: str, chunked: bool) -> None:  # noqa: FBT001 - a parameter
    """Without a key, with or without a length: one header alone is read."""
    async with open_house() as house:
        body: Any = chat()
        if chunked:
            body = [b'{"model":"m",', b'"messages":[%b]}' % HI]
        asking = await house.answer(body, headers={name: value})
        assert asking.headers["x-penstock-cache"] == cache
        if name == "x-penstock-tags":
            assert house.exchanges[0].tags == {"a": "b"}
        if name == "idempotency-key":
            again = await house.answer(body, headers={name: value})
            assert again.headers["idempotent-replayed"] == "true"


async def test_who_leaves_while_sending_is_recorded_as_gone() -> None:
    """Half a body goes nowhere."""
    async with open_house() as house:
        asking = house.ask([b"{", b"}"])
        asking.hold(5)
        await house.gateway.clock.sleep(1)
        asking.leave()
        await asking.done()
        assert house.upstream.calls == []
        assert [row.outcome for row in house.exchanges] == ["client_gone"]


async def test_unknown_fields_and_headers_reach_the_provider_unchanged() -> None:
    """Every value keeps its bytes; only the model's name is ours."""
    async with open_house() as house:
        raw = b'{"model": "m", "messages": [%b], "x_new": {"b": 1.0, "a": [1e3, "\\u00e9"]}, "n": 1}' % HI
        headers = {"anthropic-beta": "tools-2026", "x-secret": "kept here"}
        await house.answer(raw, URLS["chat"], headers=headers)
        call = house.upstream.calls[0].call
        assert b'"x_new":{"b": 1.0, "a": [1e3, "\\u00e9"]}' in call.body.replace(b'"x_new": ', b'"x_new":')
        assert house.upstream.calls[0].json["model"] == "m-1"
        assert "kept here" not in str(call.headers)


async def test_a_model_that_nobody_can_serve_in_this_dialect_is_refused_by_name() -> None:
    """503, the reason for each deployment, and that no time will cure it."""
    providers = {"one": {**BASE["providers"]["one"], "dialects": ["chat"]}}
    async with open_house(providers=providers, models={"m": BASE["models"]["m"]}) as house:
        asking = await house.answer({"model": "m", "input": "x"})
        assert "one/m-1 does not speak embeddings" in refused(house, asking, 503)["message"]
        assert "retry-after" not in asking.headers
        assert asking.headers["x-should-retry"] == "false"
