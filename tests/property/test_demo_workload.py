"""The demo's traffic is what it is said to be, for every size and seed."""

from collections import Counter
from string import Formatter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.cli.demo_workload import Ask, Language, load_languages, repeats_of, workload
from penstock.clock import SystemRng

BANK = load_languages()
SIZES = st.integers(1, 400)
SEEDS = st.integers(0, 2**32)


@given(SIZES, SEEDS)
@example(600, 1)
@example(2, 7)
def test_two_questions_of_five_repeat(size: int, seed: int) -> None:
    """Exactly 40 % (to the nearest whole question) were asked before in the same words, and are marked so."""
    asked: set[tuple[str, str]] = set()
    repeats = 0
    for ask in workload(BANK, size, SystemRng(seed), rate=10):
        assert ask.repeats == ((ask.system, ask.question) in asked)
        asked.add((ask.system, ask.question))
        repeats += ask.repeats
    assert repeats == repeats_of(size)
    assert len(asked) == size - repeats


@given(st.integers(0, 10**6))
def test_a_size_divisible_by_five_has_no_rounding(fifths: int) -> None:
    """Forty in a hundred, not thirty-nine."""
    assert repeats_of(5 * fifths) == 2 * fifths


@given(SIZES, SEEDS)
def test_a_seed_replays_the_traffic(size: int, seed: int) -> None:
    """The same questions by the same people at the same instants."""
    assert workload(BANK, size, SystemRng(seed), rate=10) == workload(BANK, size, SystemRng(seed), rate=10)


@given(SEEDS)
def test_both_languages_are_asked(seed: int) -> None:
    """Among the new questions and among the repeated ones."""
    asks = workload(BANK, 200, SystemRng(seed), rate=10)
    assert {(ask.language, ask.repeats) for ask in asks} == {
        (name, again) for name in ("zh", "en") for again in (True, False)
    }


@given(SEEDS)
def test_few_questions_make_most_repeats(seed: int) -> None:
    """The most popular question is asked several times as often as the tenth."""
    ranked = Counter(
        ask.question for ask in workload(BANK, 1000, SystemRng(seed), rate=10) if ask.repeats
    ).most_common()
    assert ranked[0][1] >= 3 * ranked[9][1]


@given(SIZES, SEEDS, st.floats(1, 100))
def test_questions_arrive_one_after_the_other(size: int, seed: int, rate: float) -> None:
    """Arrivals never go back in time."""
    arrivals = [ask.at_s for ask in workload(BANK, size, SystemRng(seed), rate=rate)]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] > 0


def test_another_seed_is_another_traffic() -> None:
    """The seed matters."""
    assert workload(BANK, 50, SystemRng(1), rate=10) != workload(BANK, 50, SystemRng(2), rate=10)


@pytest.mark.parametrize("bank", BANK.values(), ids=list(BANK))
def test_a_bank_is_sound(bank: Language) -> None:
    """Common questions are all different and name no value; each personal one names an order that no other has."""
    assert len(set(bank.common)) == len(bank.common)
    assert not any("{" in text for text in (*bank.common, bank.system))
    for text in bank.personal:
        assert "order" in {name for _, name, _, _ in Formatter().parse(bank.record + text)}


def test_a_request_is_what_a_client_sends() -> None:
    """Model, both messages, who asks, and ``stream`` only where the chat window shows the answer being written."""
    ask = Ask(0.5, "en", "Be brief.", "Where is it?", "customer-1", stream=True, repeats=False)
    assert ask.body("sim-chat") == {
        "model": "sim-chat",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is it?"}],
        "user": "customer-1",
        "stream": True,
    }
