"""The oracle itself: what it says it used is what it bills, in both ways of being left, and its file tells it all."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.usage import Usage
from tests.support.bill_provider import BillProvider, bill_provider
from tests.support.bill_provider_habits import HABITS, TRUTHFUL
from tests.support.bill_provider_lines import BilledCall, BillReader, BillWriter, by_marker, total
from tests.support.bill_provider_words import read_wish
from tests.support.gateway_process import wait_for
from tests.support.kill_client import PATIENCE_S, Question, Told, ask

PROMPT_WORDS = 3
"""The marker, ``say`` and ``gap``."""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BillProvider]:
    """One for the file."""
    with bill_provider(tmp_path_factory.mktemp("bill") / "bill.jsonl") as made:
        yield made


def asked(provider: BillProvider, question: Question, within_s: float = PATIENCE_S) -> tuple[Told, BilledCall]:
    """What came, and what was billed for it once it has ended. Who falls silent is given ``within_s``."""

    async def bounded() -> Told:
        try:
            return await asyncio.wait_for(ask(provider.port, question), within_s)
        except TimeoutError:
            return Told(question)

    told = asyncio.run(bounded())
    wait_for(lambda: all(call.why for call in provider.calls()), "the bill")
    (call,) = by_marker(provider.calls())[question.marker]
    return told, call


def usage_told(told: Told) -> dict[str, int]:
    """The last usage object of an answer."""
    if not told.question.streamed:
        return dict(told.json["usage"])
    data = [line[6:] for line in told.body.split(b"\n") if line.startswith(b"data: {")]
    return dict(json.loads(data[-1])["usage"])


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("model", ["stops", "completes", "completes.cached", "stops.usage-over-cap"])
def test_it_bills_what_it_reports(provider: BillProvider, model: str, streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """To the token, prompt and answer, cached and not."""
    told, call = asked(provider, Question(f"mk-{model}-{streamed}", model, streamed, say=9, fields={"max_tokens": 5}))
    said = usage_told(told)
    assert told.complete
    assert (said["prompt_tokens"], said["completion_tokens"]) == (call.usage.prompt, call.usage.output)
    assert said["prompt_cache_hit_tokens"] == call.usage.input_hit
    assert call.usage.prompt == PROMPT_WORDS
    assert call.usage.output == (12 if "over" in model else 5)


def test_an_unhonoured_cap_is_overrun(provider: BillProvider) -> None:
    """All words, and all of them billed."""
    _, call = asked(provider, Question("mk-nocap", "completes.no-cap", say=9, fields={"max_tokens": 5}))
    assert call.usage.output == 9


@pytest.mark.parametrize(("model", "words"), [("stops", range(1, 20)), ("completes", range(40, 41))])
def test_who_leaves_is_billed_by_the_mode(provider: BillProvider, model: str, words: range) -> None:
    """What was generated until then, or all of it."""
    _, call = asked(provider, Question(f"mk-left-{model}", model, say=40, gap_ms=10, leave_after=2))
    assert call.why == "left"
    assert call.output in words


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("habit", sorted(HABITS))
def test_every_habit_ends_its_call_once(provider: BillProvider, habit: str, streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """Whatever it does wrong: one end in the bill, and no answer where it refuses."""
    model = f"completes.{habit}" if habit else "completes"
    wrong = HABITS[habit]
    question = Question(f"mk-{habit}-{streamed}", model, streamed, say=6)
    told, call = asked(provider, question, 0.5 if wrong.silent else PATIENCE_S)
    why = "left" if wrong.silent else "complete"
    if wrong.breaks or (wrong.cut and not streamed):
        why = "broken"
    if wrong.status != 200 or wrong.error_inside:
        why = "refused"
    assert call.why == why
    began = "" if wrong.breaks == "head" or wrong.silent == "head" or (wrong.silent and not streamed) else wrong.status
    assert (told.status or "") == began or wrong.silent, "what never ends is not looked at"
    if wrong.usage in TRUTHFUL and told.complete and why == "complete" and not wrong.cut:
        assert usage_told(told)["total_tokens"] == call.usage.total


def test_the_bill_survives_its_provider(tmp_path: Path) -> None:
    """A killed one has billed what it had told last; the next run appends."""
    provider = BillProvider(tmp_path / "bill.jsonl").start()

    async def begin() -> None:
        asking = asyncio.ensure_future(ask(provider.port, Question("mk-1", say=400, gap_ms=5)))
        while not (provider.calls() and provider.calls()[0].output):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
        provider.kill()
        await asking

    asyncio.run(asyncio.wait_for(begin(), 10))
    (killed,) = provider.calls()
    assert not killed.why
    assert killed.output > 0
    provider.start()
    asyncio.run(ask(provider.port, Question("mk-2")))
    provider.kill()
    assert [call.marker for call in BillReader(provider.path).calls()] == ["mk-1", "mk-2"]


def test_a_call_ends_once(tmp_path: Path) -> None:
    """A second end is a fault of the oracle."""
    bill = BillWriter(tmp_path / "bill.jsonl")
    call = BilledCall("c-1", "mk-1", "stops")
    bill.begin(call)
    bill.end(call, Usage(3, 0, 0, 4), "complete")
    with pytest.raises(KeyError):
        bill.end(call, Usage(3, 0, 0, 4), "complete")
    bill.close()


def test_half_a_line_waits_for_its_rest(tmp_path: Path) -> None:
    """The reader may look in the middle of a write."""
    path = tmp_path / "bill.jsonl"
    line = b'{"what":"begin","call":"c-1","marker":"mk-1","model":"stops"}\n'
    path.write_bytes(line[:20])
    reader = BillReader(path)
    assert reader.calls() == []
    path.write_bytes(line)
    assert [call.marker for call in reader.calls()] == ["mk-1"]


def test_money_is_counted_per_token() -> None:
    """Misses, hits and output at their own prices."""
    calls = [BilledCall("c-1", "m", "stops", prompt=10, hit=4, output=3)] * 2
    assert total(calls) == (Usage(12, 8, 0, 6), 2 * (6 * 2000 + 4 * 500 + 3 * 8000))


def test_a_prompt_is_its_words() -> None:
    """In every form that a request has, and nothing where there is none."""
    parts = [{"type": "text", "text": "mk-9 say=4"}, {"type": "image_url"}]
    wish = read_wish("chat", {"model": "stops", "messages": [{"content": parts}, {"content": "gap=20"}]})
    assert (wish.prompt, wish.marker, wish.words, wish.gap_s) == (3, "mk-9", 4, 0.02)
    assert read_wish("completions", {"prompt": ["a b", "c"]}).prompt == 3
    assert read_wish("embeddings", {"input": 7}).prompt == 0
