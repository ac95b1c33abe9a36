"""What is sensitive reaches private providers only, on every way there is; where there is none it is refused."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.asgi_client import Asking
from tests.support.fleet import NO_SHARING, deployment, model, open_fleet, provider, served, state
from tests.support.house import END_S, House, chat, message, settings_of

pytestmark = pytest.mark.looptime(end=END_S)

CANARY = "canary-7f3a"
OWN = {"own": provider(private=True)}
PUBLIC = {"a": provider(), "b": provider()}
TAGGED = {"x-penstock-tags": "data=patients"}


def mixed(**fields: Any) -> dict[str, Any]:
    """A public one first, then our own; an alias."""
    return model("a", "own", "b", aliases={"nick": {}}, **fields)


def house_of(sensitive: Mapping[str, Any], **config: Any) -> Any:
    """A fleet of two public providers and one of our own."""
    config = {"providers": {**PUBLIC, **OWN}, "models": {"m": mixed()}, **config}
    return open_fleet(sensitive=sensitive, watched=False, **config)


def secret(**fields: Any) -> dict[str, Any]:
    """A request with the canary in it."""
    return chat(f"{CANARY} {fields.pop('number', '')}", **fields)


def heard(house: House) -> set[str]:
    """The providers that a canary came to, in whatever part of a call."""
    return {
        asked.call.provider.name
        for asked in house.upstream.calls
        if CANARY in f"{asked.call.url} {asked.call.headers} {asked.call.body!r}"
    }


def refused(asking: Asking) -> bool:
    """Clearly, and for this reason."""
    error = asking.json["error"]
    return asking.status == 503 and "is not private, and this request is sensitive" in error["message"]


# --- by key, tag, model


async def test_what_a_sensitive_key_sends_stays_with_us() -> None:
    """Whatever the weights say; other keys go anywhere."""
    async with house_of({"keys": ["ward"]}) as house:
        ward, other = await house.add_key("ward"), await house.add_key("other")
        asked = [await house.answer(secret(number=n), key=ward) for n in range(6)]
        assert (served(asked), heard(house)) == ({"own": 6}, {"own"})
        asked = [await house.answer(chat(str(n)), key=other) for n in range(6)]
        assert served(asked) == {"a": 2, "own": 2, "b": 2}


async def test_what_has_a_sensitive_tag_stays_with_us() -> None:
    """That value of it, among others."""
    async with house_of({"tags": ["data=patients"]}) as house:
        tags = {"x-penstock-tags": "env=prod,data=patients"}
        asked = [await house.answer(secret(number=n), headers=tags) for n in range(6)]
        assert (served(asked), heard(house)) == ({"own": 6}, {"own"})
        asked = [await house.answer(chat(str(n)), headers={"x-penstock-tags": "data=weather"}) for n in range(6)]
        assert served(asked) == {"a": 2, "own": 2, "b": 2}


@pytest.mark.parametrize("name", ["m", "nick"])
async def test_what_is_asked_of_a_sensitive_model_stays_with_us(name: str) -> None:
    """By its aliases too."""
    async with house_of({"models": ["m"]}) as house:
        asked = [await house.answer(secret(number=n, model=name)) for n in range(6)]
        assert (served(asked), heard(house)) == ({"own": 6}, {"own"})


async def test_an_alias_may_be_sensitive_where_its_model_is_not() -> None:
    """It is the name that was asked for."""
    async with house_of({"models": ["nick"]}) as house:
        asked = [await house.answer(secret(number=n, model="nick")) for n in range(6)]
        assert (served(asked), heard(house)) == ({"own": 6}, {"own"})
        assert len(served([await house.answer(chat(str(n))) for n in range(3)])) == 3


@pytest.mark.parametrize("how", ["stream", "messages", "count_tokens", "embeddings", "completions"])
async def test_every_endpoint_is_held_to_it(how: str) -> None:
    """Whatever the dialect, whole and streamed."""
    body, path = {
        "stream": (secret(stream=True), ""),
        "messages": (message(CANARY), ""),
        "count_tokens": (message(CANARY), "/v1/messages/count_tokens"),
        "embeddings": ({"model": "m", "input": CANARY}, ""),
        "completions": ({"model": "m", "prompt": CANARY}, ""),
    }[how]
    async with house_of({"tags": ["data=patients"]}) as house:
        for _ in range(4):
            await house.answer(body, path, headers=TAGGED)
        assert heard(house) == {"own"}


# --- on other ways


@pytest.mark.parametrize("status", [402, 429, 503])
async def test_a_failure_is_no_reason_to_send_it_elsewhere(status: int) -> None:
    """Retries and fail-over keep to it."""
    async with house_of({"keys": ["ward"]}) as house:
        ward = await house.add_key("ward")
        house.upstream.at("own").fail(status).forever()
        asked = [await house.answer(secret(number=n), key=ward) for n in range(8)]
        assert 200 not in {asking.status for asking in asked}
        assert heard(house) == {"own"}


async def test_while_ours_is_out_it_is_refused() -> None:
    """Told why and until when, though public ones are well."""
    async with house_of({"keys": ["ward"]}, retry={"attempts": 1}) as house:
        ward = await house.add_key("ward")
        house.upstream.at("own").fail(503).times(20).reply().forever()
        for number in range(20):
            await house.answer(secret(number=number), key=ward)
        assert state(house, "own").state == "open"
        asking = await house.answer(secret(), key=ward)
        assert refused(asking)
        assert "own/x is out; it is asked again in" in asking.error["message"]
        assert asking.headers["retry-after"] == "1"
        await asyncio.sleep(1)
        assert served([await house.answer(secret(), key=ward)]) == {"own": 1}
        assert heard(house) == {"own"}


async def test_while_ours_is_full_it_waits() -> None:
    """And holds nobody else up: what is not sensitive goes on to the others meanwhile."""
    providers = {**PUBLIC, "own": provider(private=True, concurrency=1)}
    async with house_of({"tags": ["data=patients"]}, providers=providers) as house:
        house.upstream.at("own").reply(after_s=2).forever()
        house.upstream.reply(after_s=0.1).forever()
        waiting = [house.ask(secret(number=n), headers=TAGGED) for n in range(2)]
        await asyncio.sleep(0.5)
        assert [asking.status for asking in waiting] == [0, 0]
        other = await house.answer(chat("weather"))
        assert (other.status, house.now) == (200, pytest.approx(0.6))
        await house.rest()
        assert served(waiting) == {"own": 2}
        assert heard(house) == {"own"}


async def test_the_ladder_steps_down_to_private_ones_only() -> None:
    """Its cheaper model is at a public provider: refused, not sent."""
    models = {
        "m": {"deployments": [deployment("own")], "cheaper": "small"},
        "small": {"deployments": [{"provider": "a", "model": "s"}]},
    }
    budget = {"name": "all", "limit": "0.01 CNY", "window": "total", "ladder": {"cheaper": 0.001}}
    async with house_of({"models": ["m"]}, models=models, budgets=[budget]) as house:
        assert (await house.answer(secret(max_tokens=10))).status == 200
        asking = await house.answer(secret(number=2, max_tokens=10))
        assert refused(asking)
        assert heard(house) == {"own"}


async def test_who_takes_over_from_a_leader_keeps_to_its_own_rules() -> None:
    """Two askers of the same, one of them sensitive: whoever calls, calls where it may."""
    cache = {"exact": {"ttl": "0s"}, "join": True}
    models = {"m": {"deployments": [deployment("a"), deployment("own", weight=0)]}}
    async with house_of({"tags": ["data=patients"]}, models=models, cache=cache, retry={"attempts": 1}) as house:
        house.upstream.at("a").raw(status=503).call(lambda _: pytest.fail("sent again"))
        leader = house.ask(chat("same"))
        follower = house.ask(chat("same"), headers=TAGGED)
        await house.rest()
        assert leader.status == 503
        assert served([follower]) == {"own": 1}


@pytest.mark.parametrize("by", ["keys", "tags", "models"])
async def test_where_nothing_is_private_it_is_refused(by: str) -> None:
    """Fails closed: 503 at once, with the reason for each deployment, and no call."""
    sensitive = {"keys": ["ward"], "tags": ["data=patients"], "models": ["m"]}
    async with house_of({by: sensitive[by]}, models={"m": model("a", "b")}) as house:
        key = await house.add_key("ward")
        for body in (secret(), secret(stream=True), message(CANARY)):
            asking = await house.answer(body, key=key, headers=TAGGED)
            assert refused(asking), asking.body
            assert "a/x is not private" in asking.json["error"]["message"]
        assert heard(house) == set()
        assert house.upstream.calls == []


async def test_a_reload_holds_at_once() -> None:
    """From the next request on."""
    config = {"providers": {**PUBLIC, **OWN}, "models": {"m": mixed()}, "cache": NO_SHARING}
    async with house_of({}) as house:
        assert len(served([await house.answer(chat(str(n))) for n in range(3)])) == 3
        await house.gateway.adopt(settings_of(**config, sensitive={"models": ["m"]}))
        assert served([await house.answer(secret(number=n)) for n in range(6)]) == {"own": 6}
        assert heard(house) == {"own"}


# --- and what others were told


@pytest.mark.parametrize("stream", [False, True])
async def test_nobody_sensitive_joins_a_call_to_a_public_provider(*, stream: bool) -> None:
    """Nor the other way round: each kind has a flight of its own, whoever comes first."""
    models = {"m": {"deployments": [deployment("a"), deployment("own", weight=0)]}}
    async with house_of({"tags": ["data=patients"]}, models=models, cache={"join": True}) as house:
        house.upstream.at("a").reply("public", after_s=1).forever()
        house.upstream.at("own").reply("private", after_s=1).forever()
        asked = [house.ask(chat("same", stream=stream), headers=TAGGED if n % 2 else {}) for n in range(6)]
        await house.rest()
        assert {asking.text for asking in asked[1::2]} == {"private"}
        assert {asking.text for asking in asked[::2]} == {"public"}
        assert len(house.upstream.calls) == 2


@pytest.mark.parametrize("first", [{}, TAGGED])
async def test_an_answer_is_kept_for_its_like_only(first: Mapping[str, str]) -> None:
    """What a public provider said is no hit for who is sensitive, and what ours said none for the others."""
    other = {} if first else TAGGED
    async with house_of({"tags": ["data=patients"]}, cache={"join": True}) as house:
        assert (await house.answer(chat("same"), headers=first)).headers["x-penstock-cache"] == "miss"
        assert (await house.answer(chat("same"), headers=other)).headers["x-penstock-cache"] == "miss"
        assert (await house.answer(chat("same"), headers=first)).headers["x-penstock-cache"] == "exact"
        assert (await house.answer(chat("same"), headers=other)).headers["x-penstock-cache"] == "exact"


async def test_what_was_kept_before_a_model_became_sensitive_is_not_served_as_if_it_had_been() -> None:
    """A reload that makes it sensitive makes a miss."""
    config: dict[str, Any] = {"providers": {**PUBLIC, **OWN}, "models": {"m": mixed()}, "cache": {"join": True}}
    async with house_of({}, **config) as house:
        await house.answer(chat("same"))
        await house.gateway.adopt(settings_of(**config, sensitive={"models": ["m"]}))
        asking = await house.answer(chat("same"))
        assert (asking.headers["x-penstock-cache"], served([asking])) == ("miss", {"own": 1})


def test_a_model_that_can_never_be_served_is_warned_about() -> None:
    """``penstock check`` says so."""
    settings = settings_of(providers=PUBLIC, models={"m": model("a", "b")}, sensitive={"models": ["m"]})
    assert any("m has no deployment at a private provider" in warning for warning in settings.warnings), (
        settings.warnings
    )


@pytest.mark.parametrize("sensitive", [{"keys": ["ward"]}, {"tags": ["data=patients"]}])
def test_keys_and_tags_that_can_never_be_served_are_warned_about(sensitive: dict[str, list[str]]) -> None:
    """Where no model has a private provider; not where one has."""
    public = settings_of(providers=PUBLIC, models={"m": model("a", "b")}, sensitive=sensitive)
    mixed_up = settings_of(providers={**PUBLIC, **OWN}, models={"m": mixed()}, sensitive=sensitive)
    said = "sensitive: nothing is served at a private provider"
    assert any(warning.startswith(said) for warning in public.warnings)
    assert not any(warning.startswith(said) for warning in mixed_up.warnings)
