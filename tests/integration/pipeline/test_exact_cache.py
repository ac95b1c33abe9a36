"""The exact cache through the gateway: who gets a stored answer, for what, for how long; what is never stored."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.cachekey import IGNORED
from penstock.core.usage import Usage
from penstock.providers.answers import Answer, events
from penstock.providers.play import SSE, Play
from penstock.providers.scripted import ANSWERED, Asked, Scripted
from tests.support.asgi_client import Asking
from tests.support.house import BASE, END_S, URLS, House, chat, in_virtual_time, message, open_house, settings_of

pytestmark = pytest.mark.looptime(end=END_S)

FULL: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "u"}}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ],
    "temperature": 0.5,
    "max_tokens": 10,
    "seed": 7,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "response_format": {"type": "json_object"},
    "stop": ["a", "b"],
    "thinking": {"type": "enabled", "budget": {"tokens": 1}},
    "x_unknown": {"deep": [{"deeper": [True, None, 1.5]}]},
}
"""A request with fields of every kind, known and unknown."""


def cache(asking: Asking) -> str:
    """Where the answer came from."""
    return asking.headers["x-penstock-cache"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *[place for name, inner in items for place in places(inner, (*path, name))]]


def changed(body: dict[str, Any], path: tuple[Any, ...], how: str) -> dict[str, Any]:
    """The body with what stands at ``path`` changed."""
    body = copy.deepcopy(body)
    box: Any = body
    for name in path[:-1]:
        box = box[name]
    value = box[path[-1]]
    if how == "another type":
        box[path[-1]] = [value] if not isinstance(value, list) else {"in": value}
    elif how == "more" and isinstance(value, dict):
        value["extra"] = 1
    elif how == "more" and isinstance(value, list):
        value.append("extra")
    elif how == "gone":
        del box[path[-1]]
    else:
        box[path[-1]] = f"{value}!" if isinstance(value, str) else "!"
    return body


FREE = [
    path
    for path in places(FULL)
    if len(path) > 3 or (path and path[0] in {"seed", "stop", "thinking", "x_unknown", "response_format"})
]
"""What a provider may be asked in any form: the fields that Penstock checks keep their types."""


@settings(max_examples=60)
@given(path=st.sampled_from(FREE), how=st.sampled_from(["another value", "another type", "more", "gone"]))
def test_a_changed_field_is_another_request(path: tuple[Any, ...], how: str) -> None:
    """At any depth, known or not: a wrong answer is worse than a miss."""

    async def ask() -> None:
        async with open_house() as house:
            await house.answer(FULL, URLS["chat"])
            assert cache(await house.answer(FULL, URLS["chat"])) == "exact"
            assert cache(await house.answer(changed(FULL, path, how), URLS["chat"])) == "miss"
            assert cache(await house.answer(FULL, URLS["chat"])) == "exact"

    in_virtual_time(ask)


@settings(max_examples=40)
@given(
    name=st.text(min_size=1).filter(lambda name: name not in IGNORED and name not in FULL),
    value=st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(), st.lists, max_leaves=4),
)
def test_a_field_nobody_has_heard_of_is_another_request(name: str, value: Any) -> None:
    """Even a null: some providers tell it from nothing."""

    async def ask() -> None:
        async with open_house() as house:
            await house.answer(FULL, URLS["chat"])
            asking = await house.answer({**FULL, name: value}, URLS["chat"])
            assert asking.status == 400 or cache(asking) == "miss"

    in_virtual_time(ask)


@pytest.mark.parametrize("order", [False, True])
@pytest.mark.parametrize("name", sorted(IGNORED - {"stream"}))
async def test_an_ignored_field_is_the_same_request(name: str, order: bool) -> None:  # noqa: FBT001 - a parameter
    """They say how to deliver, bill or file an answer; the order of fields says nothing."""
    values: dict[str, Any] = {"stream_options": {"include_usage": True}, "metadata": {"a": "b"}, "store": True}
    async with open_house() as house:
        await house.answer(chat())
        body = {**chat(), name: values.get(name, "x")}
        asking = await house.answer(dict(reversed(body.items())) if order else body)
        assert cache(asking) == "exact"
        assert len(house.upstream.calls) == 1


async def test_a_hit_costs_nothing_and_saves_what_it_would_have_cost() -> None:
    """The issue's own example: miss, then exact; cost 0; the saving under its lever."""
    async with open_house() as house:
        house.upstream.reply("hello", usage=Usage(input_miss=100, input_hit=20, output=30))
        first, second = await house.answer(chat()), await house.answer(chat())
        assert [cache(asking) for asking in (first, second)] == ["miss", "exact"]
        assert second.body == first.body
        full = 100 * 2000 + 20 * 500 + 30 * 8000
        assert first.headers["x-penstock-cost"] == f"0.000{full // 1000:03} CNY"
        assert second.headers["x-penstock-cost"].startswith("0.000000 ")
        assert second.headers["x-penstock-saved"] == first.headers["x-penstock-cost"]
        assert [row.cost_nano for row in house.exchanges] == [full, 0]
        assert [row.baseline_nano for row in house.exchanges] == [full, full]
        assert [share.lever for share in house.shares] == ["direct", "exact"]


async def test_two_keys_never_share() -> None:
    """Nor does a key share with its twin of the same team, unless the config says so."""
    async with open_house() as house:
        keys = [await house.add_key(name, team="sales") for name in ("a", "b")]
        assert [cache(await house.answer(chat(), key=key)) for key in [*keys, *keys]] == [
            "miss",
            "miss",
            "exact",
            "exact",
        ]


@pytest.mark.parametrize(
    ("share", "wanted"), [("team", ["miss", "exact", "miss", "miss"]), ("all", ["miss"] + ["exact"] * 3)]
)
async def test_teams_or_all_may_share(share: str, wanted: list[str]) -> None:
    """Without a team a key shares with nobody, not with the other one that has none."""
    async with open_house(cache={"share": share}) as house:
        keys = [await house.add_key(name, team=team) for name, team in (("a", "x"), ("b", "x"), ("c", ""), ("d", ""))]
        assert [cache(await house.answer(chat(), key=key)) for key in keys] == wanted


async def test_models_aliases_and_dialects_do_not_share() -> None:
    """An alias sets fields of its own; the same text in another format is another answer."""
    models = {**BASE["models"], "m": {**BASE["models"]["m"], "aliases": {"same": {}, "cool": {"temperature": 0}}}}
    async with open_house(models=models) as house:
        asked = [chat(), chat(model="same"), chat(model="cool"), chat(model="duo"), chat(temperature=0)]
        assert [cache(await house.answer(body)) for body in asked] == ["miss"] * 5
        assert cache(await house.answer(chat(max_tokens=100), URLS["chat"])) == "miss"
        assert cache(await house.answer(message())) == "miss"
        assert house.upstream.calls[2].json["temperature"] == 0


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
async def test_whole_and_streaming_askers_share(dialect: str, first: bool) -> None:  # noqa: FBT001 - a parameter
    """In both directions, in every dialect that streams: the same text, well-formed."""
    body = {"chat": chat(), "completions": {"model": "m", "prompt": "hi"}, "messages": message()}[dialect]
    async with open_house() as house:
        house.upstream.stream(["Grüße", " 你好"], reasoning=("hm",))
        given = await house.answer({**body, "stream": first})
        again = await house.answer({**body, "stream": not first})
        assert [cache(asking) for asking in (given, again)] == ["miss", "exact"]
        assert given.text == again.text == "Grüße 你好"
        last = again if not first else given
        assert last.data[-1] == b"[DONE]" if dialect != "messages" else b'"message_stop"' in last.data[-1]
        assert house.exchanges[0].usage == house.exchanges[1].usage == ANSWERED


@pytest.mark.parametrize("usage", [False, True])
async def test_a_retold_answer_has_its_usage_chunk_for_who_asks(usage: bool) -> None:  # noqa: FBT001 - a parameter
    """Not for others."""
    async with open_house() as house:
        await house.answer(chat())
        options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
        again = await house.answer(chat(stream=True, **options))
        assert cache(again) == "exact"
        assert any(not chunk["choices"] for chunk in again.chunks) is usage


async def test_embeddings_are_stored() -> None:
    """By their input and encoding; a stray ``stream`` changes nothing."""
    async with open_house() as house:
        body = {"model": "m", "input": ["a", "b"]}
        house.upstream.embed([1.0, 2.0], [3.0, 4.0])
        first = await house.answer(body)
        again = await house.answer({**body, "stream": True})
        assert [cache(asking) for asking in (first, again)] == ["miss", "exact"]
        assert again.body == first.body
        assert again.headers["content-type"] == "application/json"
        assert cache(await house.answer({**body, "encoding_format": "base64"})) == "miss"


async def test_count_tokens_is_not_stored() -> None:
    """It is free anyway."""
    async with open_house() as house:
        for _ in range(2):
            assert cache(await house.answer(message(), URLS["count_tokens"])) == "off"


# --- how long


async def test_an_answer_expires() -> None:
    """At its time to live, to the second."""
    async with open_house(cache={"exact": {"ttl": "10s"}}) as house:
        await house.answer(chat())
        await house.gateway.clock.sleep(9.99)
        assert cache(await house.answer(chat())) == "exact"
        await house.gateway.clock.sleep(0.02)
        assert cache(await house.answer(chat())) == "miss"


async def test_a_key_overrides_a_tag_overrides_a_model_overrides_the_rest() -> None:
    """By how long its answer lives; of several tags the shortest."""
    models = {**BASE["models"], "stopping": {**BASE["models"]["stopping"], "cache": {"exact": {"ttl": "20s"}}}}
    overrides = {
        "exact": {"ttl": "10s"},
        "by_tag": {"env=x": {"ttl": "30s"}, "team=z": {"ttl": "50s"}, "zone=y": {"ttl": "25s"}},
        "by_key": {"vip": {"ttl": "40s"}},
    }
    async with open_house(models=models, cache=overrides) as house:
        vip, plain = await house.add_key("vip"), await house.add_key("plain")
        cases: list[tuple[float, dict[str, Any]]] = [
            (10, {"body": chat(), "key": plain}),
            (20, {"body": chat(model="stopping"), "key": plain}),
            (30, {"body": chat("t"), "key": plain, "headers": {"x-penstock-tags": "env=x"}}),
            (25, {"body": chat("u"), "key": plain, "headers": {"x-penstock-tags": "team=z,zone=y"}}),
            (40, {"body": chat("t"), "key": vip, "headers": {"x-penstock-tags": "env=x"}}),
        ]
        for lives_s, how in cases:
            await house.answer(**how)
            await house.gateway.clock.sleep(lives_s - 0.1)
            assert cache(await house.answer(**how)) == "exact"
            await house.gateway.clock.sleep(0.2)
            assert cache(await house.answer(**how)) == "miss"


async def test_off_for_a_model_is_off() -> None:
    """And on for the rest."""
    models = {**BASE["models"], "m": {**BASE["models"]["m"], "cache": {"exact": {"ttl": "0s"}}}}
    async with open_house(models=models) as house:
        assert [cache(await house.answer(chat())) for _ in range(2)] == ["off", "off"]
        assert [cache(await house.answer(chat(model="duo"))) for _ in range(2)] == ["miss", "exact"]


async def test_cache_control_is_obeyed() -> None:
    """RFC 9111's request directives that mean something here."""

    async def ask(house: House, directive: str = "", text: str = "hi") -> Asking:
        return await house.answer(chat(text), headers={"cache-control": directive} if directive else {})

    async with open_house() as house:
        assert (await ask(house, "only-if-cached")).status == 504
        assert house.upstream.calls == []
        assert cache(await ask(house, "no-store")) == "off"
        assert cache(await ask(house)) == "miss"
        assert cache(await ask(house, "no-store")) == "off"
        assert cache(await ask(house, "only-if-cached")) == "exact"
        house.upstream.reply("fresh")
        assert cache(await ask(house, "no-cache")) == "miss"
        assert (await ask(house)).text == "fresh"
        await house.gateway.clock.sleep(10)
        assert cache(await ask(house, "max-age=10")) == "exact"
        assert cache(await ask(house, "max-age=9")) == "miss"
        assert (await ask(house, "only-if-cached", "never asked")).status == 504


async def test_nothing_is_stored_where_the_cache_is_off() -> None:
    """``only-if-cached`` never calls a provider, whatever stage is missing."""
    async with open_house(cache={"exact": {"ttl": "0s"}, "join": False}) as house:
        assert (await house.answer(chat(), headers={"cache-control": "only-if-cached"})).status == 504
        assert house.upstream.calls == []


async def test_an_asker_takes_nothing_older_than_its_own_time_to_live() -> None:
    """Whoever had it stored, and for how long."""
    overrides = {"exact": {"ttl": "1h"}, "by_tag": {"fresh=yes": {"ttl": "10s"}}}
    async with open_house(cache=overrides) as house:
        await house.answer(chat())
        await house.gateway.clock.sleep(11)
        assert cache(await house.answer(chat(), headers={"x-penstock-tags": "fresh=yes"})) == "miss"


async def test_a_beta_is_another_question() -> None:
    """Headers that go on to the provider may change its answer."""
    async with open_house() as house:
        askings = [await house.answer(message(), headers={"anthropic-beta": beta}) for beta in ("a", "b", "a")]
        assert [cache(asking) for asking in askings] == ["miss", "miss", "exact"]


async def test_another_provider_behind_the_same_names_is_another_policy() -> None:
    """A reload that points a provider elsewhere does not serve the old one's answers."""
    async with open_house() as house:
        await house.answer(chat())
        moved = {**BASE["providers"]["one"], "headers": {"x-region": "elsewhere"}}
        await house.gateway.adopt(settings_of(providers={**BASE["providers"], "one": moved}))
        assert cache(await house.answer(chat())) == "miss"


# --- what is never stored


def done_without_an_end(asked: Asked) -> Play:
    """No choice has its finish reason, but the stream says that it is over."""
    said = events(Answer(("a", "b"), ANSWERED), asked.dialect, usage=True)
    return Play([*said[:3], said[-1]], headers=SSE)


NOT_COMPLETE: dict[str, tuple[Callable[[Scripted], object], dict[str, Any]]] = {
    "unfinished": (lambda upstream: upstream.reply("a", finish="pause"), {}),
    "no finish reason": (
        lambda upstream: upstream.json({"choices": [{"index": 0, "message": {"content": "a"}}]}),
        {},
    ),
    "filtered": (lambda upstream: upstream.reply("a", finish="content_filter"), {}),
    "empty": (lambda upstream: upstream.reply(""), {}),
    "blank": (lambda upstream: upstream.reply(" \n"), {}),
    "capacity-cut after the first byte": (
        lambda upstream: upstream.stream(["a"], finish="insufficient_system_resource", gap_s=1),
        {"stream": True},
    ),
    "n short": (lambda upstream: upstream.reply("a", n=1), {"n": 2}),
    "n short in a stream": (lambda upstream: upstream.stream(["a"], n=1), {"n": 2, "stream": True}),
    "cut off": (lambda upstream: upstream.cut(["a"]), {"stream": True}),
    "done without an end": (lambda upstream: upstream.call(done_without_an_end), {"stream": True}),
    "fewer vectors than texts": (
        lambda upstream: upstream.json({"data": [{"index": 0, "embedding": [0.5]}]}),
        {"input": ["a", "b"]},
    ),
}
"""What a provider answers, and the fields of the request it answers."""


@pytest.mark.parametrize("how", NOT_COMPLETE)
async def test_what_is_not_a_complete_answer_is_never_stored(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The next asker gets a call of its own; and nothing is logged as a failure of ours."""
    script, fields = NOT_COMPLETE[how]
    async with open_house() as house:
        script(house.upstream)
        await house.answer(chat(**fields))
        assert cache(await house.answer(chat(**fields))) == "miss"
        assert len(house.upstream.calls) == 2
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_failure_is_never_stored() -> None:
    """Of any kind."""
    async with open_house(retry={"attempts": 1}) as house:
        for status in (400, 429, 500):
            house.upstream.fail(status)
            assert (await house.answer(chat())).status >= 400
        assert cache(await house.answer(chat())) == "miss"


async def test_what_its_client_left_at_a_stopping_provider_is_not_stored() -> None:
    """It is half an answer."""
    async with open_house() as house:
        house.upstream.stream(["a", "b", "c"], gap_s=1)
        asking = await house.ask(chat(model="stopping", stream=True)).begun(2)
        asking.leave()
        await asking.done()
        assert cache(await house.answer(chat(model="stopping"))) == "miss"


async def test_a_hit_is_not_stored_anew() -> None:
    """Its time runs from the provider's answer."""
    async with open_house(cache={"exact": {"ttl": "10s"}}) as house:
        await house.answer(chat())
        await house.gateway.clock.sleep(6)
        assert cache(await house.answer(chat())) == "exact"
        await house.gateway.clock.sleep(6)
        assert cache(await house.answer(chat())) == "miss"


async def test_what_was_under_way_at_a_purge_is_not_stored() -> None:
    """It was asked of the world before the purge."""
    async with open_house() as house:
        house.upstream.reply("old", after_s=2).reply("new")
        asking = house.ask(chat())
        await house.gateway.clock.sleep(1)
        await house.gateway.stores.answers.purge()
        assert (await asking.done()).text == "old"
        assert (await house.answer(chat())).text == "new"


async def test_an_older_answer_never_replaces_a_younger_one() -> None:
    """A slow one asked first, a quick one asked anew: the one that was asked last stays."""
    async with open_house() as house:
        house.upstream.reply("old", after_s=5).reply("new", after_s=1)
        slow = house.ask(chat())
        await house.gateway.clock.sleep(1)
        await house.answer(chat(), headers={"cache-control": "no-cache"})
        await slow.done()
        assert (await house.answer(chat())).text == "new"


async def test_purged_is_gone() -> None:
    """By model, key, tag, or all."""
    async with open_house() as house:
        answers = house.gateway.stores.answers
        await house.answer(chat(), headers={"x-penstock-tags": "a=b"})
        await house.answer(chat(model="duo"))
        assert await answers.purge(model="m", tag="other=1") == 0
        assert await answers.purge(tag="a=b") == 1
        assert cache(await house.answer(chat())) == "miss"
        assert cache(await house.answer(chat(model="duo"))) == "exact"
        assert await answers.purge(tenant="anonymous") == 2
        assert cache(await house.answer(chat(model="duo"))) == "miss"
