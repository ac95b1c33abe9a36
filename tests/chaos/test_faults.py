"""B05: each fault of a provider, whole and streamed, in both ways of being left, and repeats of requests, in one load.

The oracle's bill says what each call cost: one charge per billed attempt, and none for what was not billed.
"""

import asyncio
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.config.load import load
from penstock.core.usage import Usage
from penstock.providers.registry import KINDS
from tests.support.bill_provider import BillProvider, bill_provider
from tests.support.bill_provider_habits import HABITS, TRUTHFUL
from tests.support.bill_provider_lines import PRICES, by_marker
from tests.support.gateway_process import GatewayProcess, gateway_process, wait_for
from tests.support.house import END_S, chat, open_house
from tests.support.invariants import check_money
from tests.support.invariants_books import Books, integrity, stored_rows
from tests.support.kill_client import Question, Told, ask

pytestmark = pytest.mark.alone

REQUESTS = 500
AT_ONCE = 32
REPEATED = 4
"""Requests that are asked again and again under their Idempotency-Key."""
TIMES = 20
MODELS = [f"{mode}.{habit}".rstrip(".") for mode in ("stops", "completes") for habit in HABITS]


def faulty_config(provider: BillProvider) -> dict[str, Any]:
    """Every habit is a model; short deadlines, one retry, budgets that bind and do not refuse."""
    kinds = {
        name: {"kind": "openai", "base_url": provider.base_url, "prices": PRICES, "after_disconnect": name}
        for name in ("stops", "completes")
    }
    models = {
        model: {
            "deployments": [{"provider": model.partition(".")[0], "model": model}],
            "default_output": 400,
            "timeouts": {"first_byte": "1s", "between": "500ms", "total": "10s"},
        }
        for model in MODELS
    }
    return {
        "providers": {name: kind | {"api_key": "sk-faulty"} for name, kind in kinds.items()},
        "models": models,
        "budgets": [{"name": "all", "scope": "global", "limit": "1000 CNY", "window": "month", "timezone": "UTC"}],
        "retry": {"attempts": 2, "backoff": "20ms", "budget": 0.5},
    }


def questions() -> list[Question]:
    """Every model whole and streamed, more of them by chance, and some that come again and again."""
    rng = random.Random(5)  # noqa: S311 - chance, no secret
    both = [(model, streamed) for model in MODELS for streamed in (True, False)]
    asked = [_question(rng, number, model, streamed=streamed) for number, (model, streamed) in enumerate(both)]
    while len(asked) < REQUESTS - REPEATED * TIMES:
        asked.append(_question(rng, len(asked), rng.choice(MODELS), streamed=rng.random() < 0.5))
    for number, model in enumerate(("completes", "stops", "completes.usage-missing", "completes.503")):
        key = {"idempotency-key": f"key-{number}"}
        asked += [Question(f"mk-again-{number}", model, streamed=number == 1, headers=key)] * TIMES
    rng.shuffle(asked)
    return asked


def _question(rng: random.Random, number: int, model: str, *, streamed: bool) -> Question:
    gap_ms, say = rng.choice((0, 2, 20)), rng.randint(2, 24)
    fields = {"max_tokens": rng.choice((12, 40))} if rng.random() < 0.5 else {}
    leave_after = rng.randrange(4) if rng.random() < 0.1 else None
    return Question(f"mk-{number:05}", model, streamed, say, gap_ms, leave_after=leave_after, fields=fields)


async def ask_all(gateway: GatewayProcess, asked: list[Question]) -> list[Told]:
    """A bounded number at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(question: Question) -> Told:
        async with room:
            return await ask(gateway.port, question)

    return await asyncio.gather(*map(one, asked))


def reports(gateway: GatewayProcess) -> tuple[int, int]:
    """What ``spend`` and ``budgets show`` say was spent, in nano-units."""
    _, total = gateway.spend("model")
    (shown,) = gateway.json("budgets", "show")["rows"]
    return int(Decimal(total["cost"]) * 10**9), int(Decimal(shown["used"]) * 10**9)


def test_one_charge_per_billed_attempt(tmp_path: Path) -> None:
    """Five hundred requests; then books and bill agree, call by call, and repeats have cost nothing."""
    with bill_provider(tmp_path / "bill.jsonl") as provider:
        with gateway_process(tmp_path, **faulty_config(provider)) as gateway:
            told = asyncio.run(ask_all(gateway, questions()))
            wait_for(lambda: all(call.why for call in provider.calls()), "the provider to end what was begun")
            told_cost, told_used = reports(gateway)
        budgets = load(gateway.config, {}, registry=KINDS).budgets
        books = Books(stored_rows(gateway.store), budgets, None, provider.calls())
        figures = check_money(books)
        calls = by_marker(provider.calls())
    assert integrity(gateway.store) == "ok"
    assert told_cost == told_used == figures.charged_nano
    assert figures.attempts >= len(calls)
    assert figures.exact > REQUESTS // 4
    again = [each for each in told if each.question.headers]
    assert len({each.headers["x-request-id"] for each in again}) == len(again)
    for number in range(3):
        assert len(calls[f"mk-again-{number}"]) == 1
    for each in told:
        mode_of_usage = HABITS[each.question.model.partition(".")[2]].usage
        for attempt in books.by_marker.get(each.question.marker, []):
            assert attempt.estimated or attempt.outcome != "ok" or mode_of_usage in TRUTHFUL


@pytest.mark.looptime(end=END_S)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_output_is_no_report_of_an_answer(stream: bool) -> None:  # noqa: FBT001 - a parameter
    """A negative or missing count of output beside a right one of the prompt: our own count, flagged, and never 0."""
    async with open_house() as house:
        house.upstream.reply("a whole answer", usage=Usage(7, output=0)).forever()
        await house.answer(chat(stream=stream))
        (row,) = house.attempts
        assert (row.estimated, row.usage) == (True, Usage(7, output=5))
