"""What repeats cost: nothing, to the last digit, whoever asks them how; and whose answers are whose."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from penstock.core.usage import Usage
from tests.support.gateway_process import GatewayProcess, gateway_process, wait_for
from tests.support.metrics_text import samples
from tests.support.plain_gateway import plain_config, question
from tests.support.sdk_gateway import amount, cost_nano
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e

Fresh = Callable[[], str]

USAGE = Usage(input_miss=1234, input_hit=777, output=56)
COST = cost_nano(1234, 777, 56)
CROWD = 500


class House:
    """A gateway, the provider behind it, and clients with keys of their own."""

    def __init__(self, gateway: GatewayProcess, up: Upstream, keys: dict[str, str]) -> None:
        self.gateway = gateway
        self.up = up
        self.keys = keys
        self.http = httpx2.Client(base_url=gateway.base_url, timeout=30)

    def ask(self, text: str, key: str = "web", *, path: str = "/chat/completions", **headers: str) -> httpx2.Response:
        """Ask one question; ``_`` in header names stands for ``-``."""
        return self.http.post(path, json=question(text), headers=self.headers(key, **headers))

    def headers(self, key: str = "web", **headers: str) -> dict[str, str]:
        """What a client of that key sends."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return {"authorization": f"Bearer {self.keys[key]}"} | given

    def spent(self, tag: str) -> dict[str, Any]:
        """The row of ``spend --by tag``; a tag is a test."""
        return self.gateway.spend("tag")[0][f"test={tag}"]


@pytest.fixture(scope="module")
def served(
    shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, dict[str, str]]]:
    """A gateway with one model, and two keys out of its store."""
    with gateway_process(tmp_path_factory.mktemp("savings"), **plain_config(shared_upstream)) as gateway:
        yield gateway, {name: gateway.create_key(name) for name in ("web", "app")}


@pytest.fixture
def house(served: tuple[GatewayProcess, dict[str, str]], up: Upstream) -> Iterator[House]:
    """The gateway, before a provider whose every answer costs COST."""
    gateway, keys = served
    up.script.reply(usage=USAGE).forever()
    made = House(gateway, up, keys)
    yield made
    made.http.close()


def caches(answers: list[httpx2.Response]) -> list[str]:
    """How each was answered."""
    return [answer.headers["x-penstock-cache"] for answer in answers]


def test_a_repeat_costs_nothing(house: House, fresh: Fresh) -> None:
    """One call for two identical requests; the second is free, and the report says what that saved, exactly."""
    text, tag = fresh(), "repeat"
    answers = [house.ask(text, x_penstock_tags=f"test={tag}") for _ in range(2)]
    assert caches(answers) == ["miss", "exact"]
    assert answers[0].content == answers[1].content
    assert [answer.headers["x-penstock-cost"] for answer in answers] == [f"{amount(COST, 6)} CNY", "0.000000 CNY"]
    assert [answer.headers["x-penstock-saved"] for answer in answers] == ["0.000000 CNY", f"{amount(COST, 6)} CNY"]
    assert len(house.up.calls) == 1

    row = house.spent(tag)
    assert (row["requests"], row["tokens"], row["errors"], row["unpriced"]) == (2, 2 * USAGE.total, 0, 0)
    assert (row["cost"], row["baseline"], row["saved"]) == (amount(COST), amount(2 * COST), amount(COST))
    first, second = (house.gateway.exchange(answer.headers["x-request-id"]) for answer in answers)
    assert (first["attempt"][0]["charged_nano"], second["attempt"]) == (COST, [])
    assert (second["share"][0]["lever"], second["share"][0]["attempt_id"]) == ("exact", first["attempt"][0]["id"])


@pytest.mark.alone
async def test_a_crowd_costs_one_call(house: House, fresh: Fresh) -> None:
    """Of 500 identical requests at once one goes out, 499 join it, and one is paid."""
    text, tag = fresh(), "crowd"
    house.up.forget()
    house.up.hold()
    house.up.script.reply(usage=USAGE, after_s=1).forever()
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=house.gateway.base_url, timeout=60, limits=limits) as http:
        headers = house.headers(x_penstock_tags=f"test={tag}")
        asking = [
            asyncio.ensure_future(http.post("/chat/completions", json=question(text), headers=headers))
            for _ in range(CROWD)
        ]
        await asyncio.to_thread(wait_for, lambda: _active(house.gateway) == CROWD, "the crowd")
        house.up.release()
        answers = await asyncio.gather(*asking)
    assert sorted(caches(answers)) == ["joined"] * (CROWD - 1) + ["miss"]
    assert len({answer.content for answer in answers}) == 1
    assert len(house.up.calls) == 1
    row = house.spent(tag)
    assert (row["requests"], row["cost"], row["saved"]) == (CROWD, amount(COST), amount((CROWD - 1) * COST))


def _active(gateway: GatewayProcess) -> float:
    return samples(gateway.metrics())["penstock_active_requests", ()]


@pytest.mark.alone
async def test_a_crowd_of_streams_costs_one_call(house: House, fresh: Fresh) -> None:
    """Streaming and whole askers join the same call; every stream is whole, and none has usage it did not ask for."""
    text = fresh()
    house.up.forget()
    house.up.hold()
    house.up.script.stream(["it ", "is ", "so"], usage=USAGE, after_s=1)
    before = _active(house.gateway)
    async with httpx2.AsyncClient(base_url=house.gateway.base_url, timeout=60) as http:
        asking = [
            asyncio.ensure_future(
                http.post("/chat/completions", json=question(text, stream=bool(number % 3)), headers=house.headers())
            )
            for number in range(30)
        ]
        await asyncio.to_thread(wait_for, lambda: _active(house.gateway) == before + 30, "the crowd")
        house.up.release()
        answers = await asyncio.gather(*asking)
    assert len(house.up.calls) == 1
    whole = [answer for answer in answers if answer.headers["content-type"] == "application/json"]
    assert {answer.json()["choices"][0]["message"]["content"] for answer in whole} == {"it is so"}
    streamed = {answer.text for answer in answers if answer not in whole}
    assert len(whole) == 10
    assert all(body.endswith("data: [DONE]\n\n") and '"prompt_tokens"' not in body for body in streamed)


def test_keys_share_nothing(house: House, fresh: Fresh) -> None:
    """The same request of another key is a miss and another call, in flight and afterwards."""
    text = fresh()
    assert caches([house.ask(text), house.ask(text, "app"), house.ask(text), house.ask(text, "app")]) == [
        "miss", "miss", "exact", "exact",
    ]  # fmt: skip
    assert len(house.up.calls) == 2


def test_any_other_field_is_another_question(house: House, fresh: Fresh) -> None:
    """A miss for every field that may change the answer, known or not; a hit for what only files or delivers it."""
    text = fresh()
    house.ask(text)

    def cache(**more: Any) -> str:
        return caches(
            [house.http.post("/chat/completions", json=question(text, **more), headers=house.headers())]
        )[0]  # fmt: skip

    others: list[dict[str, Any]] = [
        {"temperature": 0.5}, {"seed": 1}, {"max_tokens": 9}, {"tools": []}, {"x_unheard_of": None},
        {"messages": [{"role": "user", "content": text + " "}]}, {"n": 1}, {"thinking": {"type": "enabled"}},
    ]  # fmt: skip
    assert [cache(**other) for other in others] == ["miss"] * len(others)
    same: list[dict[str, Any]] = [
        {"user": "u1"}, {"metadata": {"a": "b"}}, {"store": True}, {"stream": False}, {"safety_identifier": "s"},
        {"prompt_cache_key": "p"}, {"user_id": "u"}, {"stream_options": None},
    ]  # fmt: skip
    assert [cache(**other) for other in same] == ["exact"] * len(same)


def test_what_cache_control_asks(house: House, fresh: Fresh) -> None:
    """``only-if-cached`` is a 504 before and a hit after; ``no-cache`` asks anew; ``no-store`` leaves nothing."""
    text = fresh()
    assert house.ask(text, cache_control="only-if-cached").status_code == 504
    assert caches([house.ask(text, cache_control="no-store"), house.ask(text)]) == ["off", "miss"]
    assert caches([house.ask(text, cache_control="no-cache"), house.ask(text, cache_control="only-if-cached")]) == [
        "miss", "exact",
    ]  # fmt: skip
    assert len(house.up.calls) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_an_idempotency_key_is_charged_once(house: House, fresh: Fresh, stream: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The same answer again without a call, though nothing is cached; another body under it is a 422."""
    text, tag = fresh(), f"once-{stream}"
    headers = house.headers(
        idempotency_key=text, cache_control="no-store", x_penstock_tags=f"test={tag}"
    )  # fmt: skip
    body = question(text, stream=stream)
    first, second = (house.http.post("/chat/completions", json=body, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert (first.headers.get("idempotent-replayed"), second.headers["idempotent-replayed"]) == (None, "true")
    assert len(house.up.calls) == 1
    assert house.spent(tag)["cost"] == amount(COST)

    other = house.http.post("/chat/completions", json=question(f"{text}!", stream=stream), headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    same_key = house.http.post("/chat/completions", json=body, headers=headers | house.headers("app"))
    assert same_key.status_code == 200
    assert "idempotent-replayed" not in same_key.headers
    assert len(house.up.calls) == 2


def test_purge(house: House, fresh: Fresh) -> None:
    """``penstock cache purge`` forgets what it is told to, in the running server at once."""
    texts = {"web": fresh(), "app": fresh()}
    for key, text in texts.items():
        house.ask(text, key, x_penstock_tags=f"kind={key}")
    house.gateway.command("cache", "purge", "--key", "web")
    assert caches([house.ask(texts["web"]), house.ask(texts["app"], "app")]) == ["miss", "exact"]
    assert house.gateway.command("cache", "purge", "--tag", "kind=app") == "Purged 1 answers.\n"
    assert caches([house.ask(texts["app"], "app"), house.ask(texts["web"])]) == ["miss", "exact"]
    house.gateway.command("cache", "purge", "--model", "chat")
    assert caches([house.ask(texts["app"], "app"), house.ask(texts["web"])]) == ["miss", "miss"]


@pytest.mark.alone  # after the crowds: what they joined is a part of what has to agree
def test_the_metrics_agree_with_the_ledger(house: House, fresh: Fresh) -> None:
    """Requests, cost and savings since the start are the same figures in both."""
    text = fresh()
    house.ask(text)
    house.ask(text)
    levers, total = house.gateway.spend("lever")
    counted = samples(house.gateway.metrics())

    def sum_of(name: str, **labels: str) -> float:
        found = [
            value for (each, given), value in counted.items() if each == name and set(labels.items()) <= set(given)
        ]
        return sum(found)

    assert sum_of("penstock_requests_total") == total["requests"]
    assert round(sum_of("penstock_cost_total", currency="CNY") * 10**9) == _nano(total["cost"])
    for lever in ("exact", "joined"):
        assert round(sum_of("penstock_saved_total", lever=lever) * 10**9) == _nano(levers[lever]["saved"])
    assert sum_of("penstock_requests_total", cache="exact", model="chat", outcome="ok") > 0
    assert sum_of("penstock_attempts_total", deployment="up/chat", outcome="ok") > 0
    assert sum_of("penstock_cache_entries", cache="exact") > 0


def _nano(text: str) -> int:
    units, _, decimals = text.partition(".")
    return int(units + decimals)
