"""Laws of the breaker over any course of events, and how fast it ejects and restores."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.breaker import ACCOUNT, DEPLOYMENT, Breaker, Policy, State

SEED = 11

moves = st.lists(
    st.tuples(
        st.floats(0, 4),
        st.sampled_from(["send", "report", "forget"]),
        st.booleans(),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 5),
    ),
    max_size=200,
)


@given(moves, st.sampled_from([DEPLOYMENT, ACCOUNT]))
def test_laws(course: list[tuple[float, str, bool, float, int]], policy: Policy) -> None:
    """It allows just when nothing is awaited; it admits only what it allows; no wait beyond its bounds; one probe."""
    breaker, now, out = Breaker(policy), 100.0, []
    probes: list[float] = []
    for gap, what, ok, chance, which in course:
        now += gap
        if breaker.state(now) is not State.HALF_OPEN:
            probes = []
        until = breaker.until(now)
        assert breaker.allows(now) == (until is None)
        assert until is None or now < until <= now + max(policy.open_most_s, policy.probe_s)
        if what == "send":
            probing = breaker.state(now) is State.HALF_OPEN
            assert breaker.admit(now) == (until is None)
            if until is None:
                assert not probing or all(sent <= now - policy.probe_s for sent in probes)
                probes += [now] * probing
                out.append(now)
        elif out:
            sent = out.pop(which % len(out))
            probes = [probe for probe in probes if probe != sent]
            if what == "forget":
                breaker.forget(sent)
            else:
                breaker.report(ok=ok, sent_at=sent, now=now, chance=chance)


@given(moves)
def test_an_answer_in_time_is_told_in_short(course: list[tuple[float, str, bool, float, int]]) -> None:
    """While it is closed ``answered`` is all that ``report`` is: what comes after is the same."""
    short, long, now = Breaker(DEPLOYMENT), Breaker(DEPLOYMENT), 100.0
    for gap, _, ok, chance, late in course:
        now += gap / 4
        sent_at = now - late
        assert short.admit(now) == long.admit(now)
        long.report(ok=ok, sent_at=sent_at, now=now, chance=chance)
        if ok and short.is_closed:
            short.answered(sent_at, now)
        else:
            short.report(ok=ok, sent_at=sent_at, now=now, chance=chance)
        assert vars(short) == vars(long)


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 40))
def test_it_always_lets_in_again(chance: float, failures: int) -> None:
    """However often it opened, a probe is due within the most, and good probes close it."""
    breaker, now = Breaker(DEPLOYMENT), 100.0
    for _ in range(failures):
        now = max(now, breaker.until(now) or now)
        assert breaker.admit(now)
        breaker.report(ok=False, sent_at=now, now=now, chance=chance)
    due = breaker.until(now)
    assert due is None or due - now <= DEPLOYMENT.open_most_s
    now = due or now
    for _ in range(DEPLOYMENT.probes):
        assert breaker.admit(now)
        breaker.report(ok=True, sent_at=now, now=now, chance=chance)
    assert breaker.state(now) is State.CLOSED


def brownout(seed: int, per_s: float, usual_s: float) -> float:
    """Seconds until a deployment is out: from 100.0 on 30 % 503, 5 % resets, first bytes 20 times as late.

    It gets ``per_s`` calls a second. One that is silent when it is overdue is reported then.
    """
    rng = random.Random(seed)  # noqa: S311 - chance, no secret
    breaker, at = Breaker(DEPLOYMENT), 80.0
    reports: list[tuple[float, float, bool]] = []
    while at < 110.0:
        at += 1 / per_s
        sick = at >= 100.0
        ok = not sick or rng.random() > 0.35
        reports.append((at + (min(20 * usual_s, 3 * usual_s + 0.01) if sick else usual_s), at, ok))
    for when, sent_at, ok in sorted(reports):
        breaker.report(ok=ok, slow=when - sent_at > 3 * usual_s, sent_at=sent_at, now=when, chance=rng.random())
        if breaker.state(when) is State.OPEN:
            return when - 100.0
    return 99.0


@pytest.mark.parametrize("per_s", [10.0, 20.0, 100.0, 500.0])
def test_a_browned_out_deployment_is_out_within_two_seconds(per_s: float) -> None:
    """Ten calls a second at the sick one (20 over two) are enough, and never before it is sick."""
    times = [brownout(seed, per_s, usual_s=0.1) for seed in range(50)]
    assert min(times) > 0
    assert max(times) <= 2.0


@pytest.mark.parametrize("rate", [0.1, 0.35, 0.5])
def test_alone_it_serves_what_it_can(rate: float) -> None:
    """With nobody to take over, failures at that rate keep it out for less than 1 % of 50,000 calls."""
    rng = random.Random(SEED)  # noqa: S311 - chance, no secret
    breaker, out = Breaker(DEPLOYMENT), 0
    for index in range(50_000):
        now = 100.0 + index / 20
        if breaker.admit(now):
            breaker.report(ok=rng.random() > rate, alone=True, slow=True, sent_at=now, now=now, chance=0.0)
        else:
            out += 1
    assert out < 500


def test_alone_and_dead_it_is_out_after_twenty() -> None:
    """Then those who ask are told until when; alone, one good probe is enough."""
    breaker, at = Breaker(DEPLOYMENT), 100.0
    for _ in range(20):
        assert breaker.admit(at)
        breaker.report(ok=False, alone=True, sent_at=at, now=at, chance=0.0)
    assert breaker.until(at) == at + 1
    assert breaker.admit(at + 1)
    breaker.report(ok=True, alone=True, sent_at=at + 1, now=at + 1, chance=0.0)
    assert breaker.state(at + 1) is State.CLOSED


def unsent(breaker: Breaker, at: float) -> None:
    """A call that found nobody there, alone."""
    breaker.report(ok=False, alone=True, unsent=True, sent_at=at, now=at, chance=0.0)


def test_alone_and_not_there_it_is_out_after_three() -> None:
    """At a request a second; twenty refusals of a second are not enough, two seconds of them are."""
    breaker = Breaker(DEPLOYMENT)
    for at in (100.0, 101.0, 102.0):
        assert breaker.admit(at)
        unsent(breaker, at)
    assert breaker.until(102.0) == 102.5
    breaker = Breaker(DEPLOYMENT)
    for number in range(19):
        unsent(breaker, 100.0 + number / 19)
    assert breaker.state(101.0) is State.CLOSED


def test_alone_and_not_there_it_is_asked_again_within_five_seconds() -> None:
    """However long it has been away: to ask costs it nothing, and nobody else is there."""
    breaker, now, waits = Breaker(DEPLOYMENT), 102.0, []
    for at in (100.0, 101.0, now):
        unsent(breaker, at)
    for _ in range(10):
        due = breaker.until(now)
        assert due is not None
        waits.append(due - now)
        now = due
        assert breaker.admit(now)
        unsent(breaker, now)
    assert waits == [0.5, 1.0, 2.0, 4.0] + [5.0] * 6


def test_any_word_of_its_own_says_that_it_is_there() -> None:
    """A refusal by the provider between those by nobody, or an answer, and it serves on."""
    for ok in (False, True):
        breaker = Breaker(DEPLOYMENT)
        for number in range(18):
            at = 100.0 + number
            if number % 3 == 2:
                breaker.report(ok=ok, alone=True, sent_at=at, now=at, chance=0.0)
            else:
                unsent(breaker, at)
        assert breaker.state(118.0) is State.CLOSED


@pytest.mark.parametrize("per_s", [0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0])
def test_alone_with_three_of_ten_not_there_it_serves_what_it_can(per_s: float) -> None:
    """As behind an address where some machines are down: hardly a call that would have been answered is lost."""
    rng = random.Random(SEED)  # noqa: S311 - chance, no secret
    breaker, out = Breaker(DEPLOYMENT), 0
    for index in range(50_000):
        now = 100.0 + index / per_s
        if not breaker.admit(now):
            out += 1
        elif rng.random() < 0.3:
            breaker.report(ok=False, unsent=True, alone=True, sent_at=now, now=now, chance=rng.random())
        else:
            breaker.report(ok=True, alone=True, sent_at=now, now=now, chance=rng.random())
    assert out < 0.03 * 50_000


def test_alone_and_late_it_is_not_judged_by_its_refusals() -> None:
    """Forty refusals a second while answers are under way: it stays in for ten seconds, and one answer is enough."""
    breaker, at = Breaker(DEPLOYMENT), 100.0
    for number in range(790):
        at = 100.0 + number / 40
        breaker.report(ok=number == 395, alone=True, sent_at=at, now=at, chance=0.0, under_way=50)
    assert breaker.state(at) is State.CLOSED
    breaker.report(ok=False, alone=True, sent_at=at, now=at + 1, chance=0.0, under_way=50)
    assert breaker.state(at + 1) is State.OPEN


def test_a_healthy_deployment_stays_in() -> None:
    """With 2 % of failures among others it is out for less than a thousandth of the time."""
    rng = random.Random(SEED)  # noqa: S311 - chance, no secret
    breaker, out = Breaker(DEPLOYMENT), 0
    for index in range(50_000):
        now = 100.0 + index / 20
        if breaker.admit(now):
            breaker.report(ok=rng.random() > 0.02, sent_at=now, now=now, chance=rng.random())
        else:
            out += 1
    assert out < 50
