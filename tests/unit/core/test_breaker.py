"""The breaker: every transition of its table, what opens it, how long, and whom an error blames."""

from collections.abc import Callable, Iterator

import pytest

from penstock import errors
from penstock.core.breaker import (
    ACCOUNT,
    DEPLOYMENT,
    SPREAD,
    TRANSITIONS,
    Blame,
    Breaker,
    Policy,
    Signal,
    State,
    blame,
    is_slow,
)

ERRORS = errors.PenstockError


def say(breaker: Breaker, now: float, *, ok: bool, chance: float = 0.0) -> None:
    """A call that answers or fails at the instant it was sent."""
    assert breaker.admit(now)
    breaker.report(ok=ok, sent_at=now, now=now, chance=chance)


def opened(policy: Policy = DEPLOYMENT, now: float = 100.0) -> Breaker:
    """A breaker that has just opened, for the whole open time."""
    breaker = Breaker(policy)
    for _ in range(policy.trip.in_a_row):
        say(breaker, now, ok=False)
    assert breaker.state(now) is State.OPEN
    return breaker


def half_open() -> Breaker:
    """A deployment's breaker at 101.0, where its first probe is due."""
    breaker = opened()
    assert breaker.state(101.0) is State.HALF_OPEN
    return breaker


def _ok_closed() -> Breaker:
    breaker = Breaker(DEPLOYMENT)
    say(breaker, 101.0, ok=True)
    return breaker


def _failure_closed() -> Breaker:
    breaker = Breaker(DEPLOYMENT)
    say(breaker, 101.0, ok=False)
    return breaker


def _trip() -> Breaker:
    return opened(now=101.0)


def _sent() -> Breaker:
    breaker = half_open()
    assert breaker.admit(101.0)
    return breaker


def _probe(*outcomes: bool) -> Breaker:
    breaker = half_open()
    for ok in outcomes:
        say(breaker, 101.0, ok=ok)
    return breaker


STORIES: dict[tuple[State, Signal], Callable[[], Breaker]] = {
    (State.CLOSED, Signal.OK): _ok_closed,
    (State.CLOSED, Signal.FAILURE): _failure_closed,
    (State.CLOSED, Signal.TRIP): _trip,
    (State.OPEN, Signal.DUE): half_open,
    (State.HALF_OPEN, Signal.SENT): _sent,
    (State.HALF_OPEN, Signal.OK): lambda: _probe(True),
    (State.HALF_OPEN, Signal.FAILURE): lambda: _probe(False),
    (State.HALF_OPEN, Signal.HEALED): lambda: _probe(True, True, True),
}


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_every_row_of_the_table_is_reached(row: tuple[State, Signal]) -> None:
    """The story of each row ends in the state that the table says, at 101.0."""
    assert STORIES[row]().state(101.0) is TRANSITIONS[row]


def test_the_table_has_these_rows_and_no_others() -> None:
    """What is not in the table does not happen: an open breaker hears no report, a closed one has no probes."""
    assert set(TRANSITIONS) == set(STORIES)


def test_half_open_lets_one_through_at_a_time() -> None:
    """While a probe is out nobody else passes; when it has reported, the next one may."""
    breaker = half_open()
    assert breaker.admit(101.0)
    assert not breaker.admit(101.5)
    assert breaker.until(101.5) == 101.0 + DEPLOYMENT.probe_s
    breaker.report(ok=True, sent_at=101.0, now=102.0, chance=0.0)
    assert breaker.until(102.0) is None
    assert breaker.admit(102.0)


def test_a_probe_that_never_reports_expires() -> None:
    """Its place is free after probe_s, and its late report does not free the place of the next one."""
    breaker = half_open()
    assert breaker.admit(101.0)
    late = 101.0 + DEPLOYMENT.probe_s
    assert not breaker.allows(late - 0.1)
    assert breaker.admit(late)
    breaker.report(ok=True, sent_at=101.0, now=late + 1, chance=0.0)
    assert not breaker.allows(late + 1)


def test_a_probe_that_says_nothing_gives_its_place_back() -> None:
    """A client that left during the probe neither heals nor opens, and holds nobody up."""
    breaker = half_open()
    assert breaker.admit(101.0)
    breaker.forget(101.0)
    assert breaker.admit(101.1)
    assert breaker.state(101.1) is State.HALF_OPEN


def test_a_call_from_before_is_not_heard() -> None:
    """Neither a failure of the sick time after the healing, nor an answer begun before the opening, counts."""
    breaker = _probe(True, True, True)
    for _ in range(20):
        breaker.report(ok=False, sent_at=99.0, now=102.0, chance=0.0)
    assert breaker.state(102.0) is State.CLOSED
    breaker = half_open()
    for _ in range(20):
        breaker.report(ok=True, sent_at=99.0, now=102.0, chance=0.0)
    assert breaker.state(102.0) is State.HALF_OPEN


def test_open_times_double_to_the_most() -> None:
    """1, 2, 4, 8, 16, 30, 30 s while every probe fails; 30 s to 5 min for an account."""
    for policy, times in ((DEPLOYMENT, [1, 2, 4, 8, 16, 30, 30]), (ACCOUNT, [30, 60, 120, 240, 300, 300])):
        breaker, now = opened(policy), 100.0
        for open_s in times:
            assert breaker.until(now) == now + open_s
            assert not breaker.allows(now + open_s - 0.01)
            now += open_s
            say(breaker, now, ok=False)


def test_a_flapping_deployment_is_not_forgiven_at_once() -> None:
    """Opened again soon after it closed it stays out longer; after a calm time it begins anew."""
    breaker = _probe(True, True, True)
    for _ in range(3):
        say(breaker, 105.0, ok=False)
    assert breaker.until(105.0) == 107.0
    for _ in range(3):
        say(breaker, 107.0, ok=True)
    for _ in range(3):
        say(breaker, 140.0, ok=False)
    assert breaker.until(140.0) == 141.0


def test_chance_only_shortens() -> None:
    """The open time is spread below its bound, never above."""
    breaker = Breaker(DEPLOYMENT)
    for _ in range(3):
        say(breaker, 100.0, ok=False, chance=0.999)
    until = breaker.until(100.0)
    assert until is not None
    assert 100.0 + 1 - SPREAD <= until < 101.0


def test_one_refused_account_is_out_until_a_probe_succeeds() -> None:
    """One 401 or 402 opens, one good probe closes."""
    breaker = opened(ACCOUNT)
    say(breaker, 130.0, ok=True)
    assert breaker.state(130.0) is State.CLOSED


def test_slow_answers_open_and_do_not_heal() -> None:
    """Ten slow answers are half of twenty; a slow probe opens again. Alone, slow is good enough."""
    for alone in (False, True):
        breaker = Breaker(DEPLOYMENT)
        for _ in range(20):
            breaker.report(ok=True, slow=True, alone=alone, sent_at=100.0, now=100.0, chance=0.0)
        assert (breaker.state(100.0) is State.CLOSED) == alone
    breaker = half_open()
    assert breaker.admit(101.0)
    breaker.report(ok=True, slow=True, sent_at=101.0, now=102.0, chance=0.0)
    assert breaker.state(102.0) is State.OPEN


def test_old_reports_do_not_count() -> None:
    """A failure every six seconds among as many answers is no outage, whatever the rate of all together."""
    breaker = Breaker(DEPLOYMENT)
    for index in range(100):
        say(breaker, 100.0 + 3 * index, ok=index % 2 == 0)
    assert breaker.state(400.0) is State.CLOSED


@pytest.mark.parametrize(("waited_s", "usual_s", "slow"), [(9.0, None, False), (0.2, 0.01, False), (1.0, 0.4, False),
                                                           (1.3, 0.4, True)])  # fmt: skip
def test_slow_is_three_times_the_usual(waited_s: float, usual_s: float | None, *, slow: bool) -> None:
    """Above three times what the others need, and above a quarter of a second; unknown is never slow."""
    assert is_slow(waited_s, usual_s) is slow


def _tree(root: type[ERRORS]) -> Iterator[type[ERRORS]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


@pytest.mark.parametrize("error", list(_tree(ERRORS)), ids=lambda error: error.__name__)
def test_only_what_a_provider_did_is_blamed(error: type[ERRORS]) -> None:
    """Errors of clients, of operators and of our own blame nobody; those of a provider somebody, or a bad request."""
    blamed = blame(error.kind, None)
    harmless = error is errors.UpstreamError or issubclass(error, errors.ProviderRefused)
    harmless = harmless or not issubclass(error, errors.UpstreamError)
    assert (blamed is Blame.NOBODY) == harmless


@pytest.mark.parametrize(
    ("kind", "status", "blamed"),
    [
        ("provider_unreachable", None, Blame.DEPLOYMENT),
        ("provider_timeout", None, Blame.DEPLOYMENT),
        ("provider_bad_answer", 200, Blame.DEPLOYMENT),
        *(("provider_busy", status, Blame.DEPLOYMENT) for status in (408, 500, 502, 503, 504, 529, None)),
        ("provider_busy", 429, Blame.SHARE),
        ("provider_busy", 501, Blame.NOBODY),
        ("provider_account", 401, Blame.ACCOUNT),
        ("provider_account", 402, Blame.ACCOUNT),
        ("provider_account", 403, Blame.DEPLOYMENT),
        ("provider_refused", 404, Blame.DEPLOYMENT),
        *(("provider_refused", status, Blame.NOBODY) for status in (400, 413, 422)),
        ("client_gone", None, Blame.NOBODY),
        ("client_gone", 429, Blame.NOBODY),
    ],
)
def test_the_table_of_blame(kind: str, status: int | None, blamed: Blame) -> None:
    """Each status goes where the issue says."""
    assert blame(kind, status) is blamed


# --- another process goes on with it


def test_nothing_goes_over_of_one_that_is_closed() -> None:
    """Failures that opened nothing are forgotten."""
    breaker = Breaker(DEPLOYMENT)
    say(breaker, 100.0, ok=False)
    assert breaker.past(100.0) is None


def test_an_open_one_opens_no_earlier_elsewhere() -> None:
    """And longer each time, as here."""
    breaker = opened()
    other = Breaker(DEPLOYMENT, breaker.past(100.5) or pytest.fail("nothing is known"))
    assert [other.allows(now) for now in (100.5, 100.99, 101.0)] == [False, False, True]
    say(other, 101.0, ok=False)
    assert other.until(101.0) == 103.0


def test_the_probe_of_one_process_bars_no_other() -> None:
    """What comes of it is told where it was sent, so the place is free; what was sent before says nothing."""
    breaker = half_open()
    assert breaker.admit(101.0)
    other = Breaker(DEPLOYMENT, breaker.past(102.0) or pytest.fail("nothing is known"))
    other.report(ok=False, sent_at=100.9, now=102.0, chance=0.0)
    for now in (102.0, 102.1, 102.2):
        assert other.state(now) is State.HALF_OPEN
        say(other, now, ok=True)
    assert other.is_closed
