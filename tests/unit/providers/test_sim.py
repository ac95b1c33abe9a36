"""The simulated provider: paced, cached and busy like a real one, and the same again for the same seed."""

import asyncio
import base64
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from penstock.clock import LoopClock, SystemRng
from penstock.config.settings import DeploymentSettings, ProviderSettings, SimulationSettings
from penstock.core.usage import Usage
from penstock.ports.providers import UpstreamCall
from penstock.providers.registry import KINDS, adapter
from penstock.providers.sim import Sim
from penstock.providers.sim_prefixes import KEPT_S, UNIT_TOKENS, PrefixStore
from penstock.wire.fold import fold_for
from penstock.wire.sse import SseParser

SYSTEM = {"role": "system", "content": "You answer for a shop. " * 40}


def call(dialect: str = "chat", **fields: Any) -> UpstreamCall:
    """A call as the adapter makes it."""
    row = ProviderSettings(
        "sim", "sim", KINDS["sim"].base_urls, None, None, False, "stops", "completion", "", "CNY", None, None, {}
    )
    fields = {"model": "sim-chat", **fields}
    raw = msgspec.json.encode(fields)
    return adapter("sim").encode(dialect, fields, raw, DeploymentSettings(row, "sim-chat", 1, ""), {})


def asking(question: str, **fields: Any) -> UpstreamCall:
    """A chat call with the shop's system prompt."""
    return call(messages=[SYSTEM, {"role": "user", "content": question}], **fields)


def sim(**settings: Any) -> Sim:
    """One that is never busy unless told."""
    return Sim(LoopClock(1_795_000_000), SystemRng(7), **{"busy_rate": 0.0, **settings})


async def whole(provider: Sim, asked: UpstreamCall) -> Any:
    """The decoded body."""
    return msgspec.json.decode(await (await provider.send(asked)).read(1 << 22))


def hits(body: Any) -> int:
    """Cached prompt tokens."""
    return (adapter("sim").usage("chat", body, None) or Usage()).input_hit


@pytest.mark.looptime
async def test_the_same_seed_gives_the_same_run() -> None:
    """Bodies and instants; nothing but the ports decides them."""
    runs = []
    for _ in range(2):
        started, provider = asyncio.get_running_loop().time(), Sim(LoopClock(0), SystemRng(3), busy_rate=0.3)
        seen = []
        for number in range(20):
            response = await provider.send(asking(f"Where is order {number}?"))
            body = msgspec.json.decode(await response.read(1 << 20))
            body.pop("created", None)
            seen.append((response.status, body, round(asyncio.get_running_loop().time() - started, 3)))
        runs.append(seen)
    assert runs[0] == runs[1]


@pytest.mark.looptime
@pytest.mark.parametrize(("question", "mark"), [("Where is my order?", "simulated"), ("我的订单在哪里?", "模拟")])
async def test_it_answers_in_the_language_of_the_question(question: str, mark: str) -> None:
    """And says that it is simulated."""
    body = await whole(sim(), asking(question))
    text = body["choices"][0]["message"]["content"]
    assert mark in text
    assert question in text


@pytest.mark.looptime
@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
async def test_a_stream_says_what_the_whole_answer_says(dialect: str) -> None:
    """The same text, finish reason and usage."""
    fields = {"prompt": "def f(", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}
    expected = await whole(sim(), call(dialect, **fields))
    response = await sim().send(call(dialect, stream=True, **fields))
    parser, fold = SseParser(), fold_for(dialect)
    for event in parser.feed(await response.read(1 << 20)) + parser.finish():
        fold.add(event)
    folded = msgspec.json.decode(fold.whole())
    usage = adapter("sim").usage(dialect, expected, None)
    assert adapter("sim").usage(dialect, folded, None) == usage
    assert usage is not None
    assert usage.output == 12
    for name in ("choices", "content"):
        assert folded.get(name) == expected.get(name)


@pytest.mark.looptime
async def test_streams_are_paced_and_speed_scales_it() -> None:
    """First byte after some 0.35 s, a token every 20 ms or so; at speed 10 a tenth of that."""
    loop = asyncio.get_running_loop()
    took = []
    for speed in (1.0, 10.0):
        since = loop.time()
        response = await sim(speed=speed).send(asking("Where?", stream=True))
        first = loop.time() - since
        await response.read(1 << 20)
        took.append((first, loop.time() - since))
    assert 0.1 < took[0][0] < 1.5
    assert 0.5 < took[0][1] < 6
    assert took[1][1] == pytest.approx(took[0][1] / 10, rel=0.01)


@pytest.mark.looptime
async def test_a_repeated_beginning_is_cached_in_whole_units() -> None:
    """A multiple of 64 tokens, less than the prompt; another ``user_id`` shares nothing."""
    provider = sim()
    first, again = await whole(provider, asking("One?")), await whole(provider, asking("Another?"))
    other = await whole(provider, asking("One?", user_id="u2"))
    assert (hits(first), hits(other)) == (0, 0)
    assert hits(again) > 0
    assert hits(again) % UNIT_TOKENS == 0
    usage = adapter("sim").usage("chat", again, None)
    assert usage is not None
    assert usage.input_miss > 0


@pytest.mark.looptime
async def test_a_conversation_hits_what_was_answered() -> None:
    """The end of a turn is stored too; hours later nothing is left."""
    provider = sim()
    turn = {"role": "user", "content": "Tell me everything about returns, please. " * 20}
    answer = await whole(provider, call(messages=[turn]))
    history = [turn, answer["choices"][0]["message"], {"role": "user", "content": "And refunds?"}]
    assert hits(await whole(provider, call(messages=history))) >= UNIT_TOKENS
    await asyncio.sleep(KEPT_S + 1)
    assert hits(await whole(provider, call(messages=history))) == 0


@pytest.mark.looptime
async def test_it_is_busy_at_its_rate() -> None:
    """503 and 429 with ``retry-after``, about as often as told."""
    provider = sim(busy_rate=0.25)
    statuses = []
    for _ in range(200):
        response = await provider.send(asking("Hi?"))
        statuses.append(response.status)
        if response.status != 200:
            assert response.headers["retry-after"] == "1"
    assert {200, 429, 503} == set(statuses)
    assert 25 < len(statuses) - statuses.count(200) < 80


@pytest.mark.looptime
async def test_embeddings_are_deterministic_unit_vectors() -> None:
    """One per input, of the asked size, in the asked encoding, counted as prompt."""
    body = await whole(sim(), call("embeddings", input=["a", "b", "a"], dimensions=16))
    vectors = [each["embedding"] for each in body["data"]]
    assert vectors[0] == vectors[2] != vectors[1]
    assert sum(number**2 for number in vectors[0]) == pytest.approx(1, abs=1e-6)
    assert len(vectors[0]) == 16
    assert body["usage"]["prompt_tokens"] == 3
    packed = await whole(sim(), call("embeddings", input=[1, 2], encoding_format="base64"))
    assert len(base64.b64decode(packed["data"][0]["embedding"])) == 4 * 256
    assert len(packed["data"]) == 1


@pytest.mark.looptime
async def test_what_else_a_request_may_ask() -> None:
    """Several choices, JSON, token counts; a body that says nothing is answered too."""
    several = await whole(sim(), asking("Hi?", n=3))
    assert len(several["choices"]) == 3
    as_json = await whole(sim(), asking("Hi?", response_format={"type": "json_object"}))
    assert msgspec.json.decode(as_json["choices"][0]["message"]["content"])["simulated"] is True
    assert (await whole(sim(), call("count_tokens", messages=[SYSTEM])))["input_tokens"] > 200
    assert (await whole(sim(), call()))["choices"]


def test_the_prefix_store_is_bounded_and_forgets_the_longest_unused() -> None:
    """What is used again stays."""
    store = PrefixStore(max_units=100)
    kept = ["k"] * UNIT_TOKENS
    store.store("a", kept, 0)
    for round_ in range(3):
        store.store("a", [str(round_)] * UNIT_TOKENS * 60, 1)
        store.store("a", kept, 1)
    assert store.hit_tokens("a", kept, 2) == UNIT_TOKENS
    assert store.hit_tokens("a", ["0"] * UNIT_TOKENS, 2) == 0


def test_an_incomplete_unit_is_never_cached() -> None:
    """63 tokens are none; 64 behind other 64 are found only with them."""
    store = PrefixStore()
    store.store("a", ["x"] * 63, 0)
    assert store.hit_tokens("a", ["x"] * 63, 0) == 0
    store.store("a", ["x"] * 64 + ["y"] * 64, 0)
    assert store.hit_tokens("a", ["x"] * 64 + ["z"] * 64, 0) == 64
    assert store.hit_tokens("a", ["y"] * 64, 0) == 0
    assert store.hit_tokens("b", ["x"] * 64, 0) == 0


def as_told(asked: UpstreamCall, **simulation: float) -> UpstreamCall:
    """The same call to a provider that does as the config says."""
    return replace(asked, provider=replace(asked.provider, simulation=SimulationSettings(**simulation)))


@pytest.mark.looptime
async def test_a_provider_of_the_config_does_as_that_says() -> None:
    """Call by call, whatever its kind usually does: sick with one, well with the next, and again."""
    provider = sim()
    sick, well = as_told(asking("Hi?"), busy=0, failing=1), as_told(asking("Hi?"), busy=0)
    assert [(await provider.send(each)).status for each in (sick, well, sick, asking("Hi?"))] == [500, 200, 500, 200]
    assert (await whole(provider, sick))["error"]["type"] == "server_error"


@pytest.mark.looptime
async def test_a_provider_of_the_config_is_as_slow_as_that_says() -> None:
    """Ten times as slow, with the same dice."""
    loop, took = asyncio.get_running_loop(), []
    for asked in (asking("Hi?"), as_told(asking("Hi?"), speed=0.1, busy=0)):
        since = loop.time()
        await (await sim().send(asked)).read(1 << 20)
        took.append(loop.time() - since)
    assert took[1] == pytest.approx(10 * took[0])


@pytest.mark.looptime
async def test_it_fails_at_its_rate_beside_being_busy() -> None:
    """What is not the one may be the other."""
    provider = sim()
    statuses = [(await provider.send(as_told(asking("Hi?"), busy=0.25, failing=0.25))).status for _ in range(200)]
    assert 25 < statuses.count(500) < 80
    assert 25 < statuses.count(503) + statuses.count(429) < 80
    assert statuses.count(200) > 60
