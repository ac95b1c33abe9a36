"""A collector that is well, down, busy or refusing, and how long it is left alone."""

import logging

import pytest

from penstock.clock import LoopClock, SystemRng
from penstock.observe.courier import MOST_ASKED_S, MOST_BACKOFF_S, Courier, Fate
from penstock.ports.telemetry import CollectorAnswer
from tests.support.ledger_rows import AT
from tests.support.otlp import TRACES, KeptCollector

EMPTY = b'{"resourceSpans":[]}'
OK = CollectorAnswer(200, b"{}")


class Sent:
    """A courier, and the collector that it goes to."""

    def __init__(self) -> None:
        self.clock = LoopClock(AT)
        self.collector = KeptCollector()
        self.courier = Courier(TRACES, self.collector, self.clock, SystemRng(1))

    async def fate(self, answer: CollectorAnswer | None) -> Fate:
        """What becomes of a post that is answered so."""
        self.collector.answers = [answer]
        return (await self.courier.send(EMPTY)).fate

    async def left_alone_s(self) -> float:
        """Wait until it may be told again."""
        since = self.clock.monotonic()
        while not self.courier.may_go:
            await self.clock.sleep(0.25)
        return self.clock.monotonic() - since


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (OK, Fate.TAKEN),
        (CollectorAnswer(202), Fate.TAKEN),
        (None, Fate.LATER),
        (CollectorAnswer(429), Fate.LATER),
        (CollectorAnswer(503), Fate.LATER),
        (CollectorAnswer(400), Fate.REFUSED),
        (CollectorAnswer(500), Fate.REFUSED),
        (CollectorAnswer(302), Fate.REFUSED),
    ],
)
async def test_what_becomes_of_a_post(answer: CollectorAnswer | None, fate: Fate) -> None:
    """Taken, to be tried again, or refused for good, by the statuses that the protocol names."""
    sent = Sent()
    assert await sent.fate(answer) is fate
    assert sent.courier.may_go is (fate is Fate.TAKEN)


@pytest.mark.looptime
async def test_a_collector_is_left_alone_for_longer_each_time() -> None:
    """About 1, 2, 4 s and so on, a minute at most; and once it took something, as at first."""
    sent = Sent()
    waits = []
    for _ in range(9):
        await sent.fate(None)
        waits.append(await sent.left_alone_s())
    assert all(2**time / 2 <= wait <= 2**time + 0.25 for time, wait in enumerate(waits[:6]))
    assert all(MOST_BACKOFF_S / 2 <= wait <= MOST_BACKOFF_S + 0.25 for wait in waits[6:])
    await sent.fate(OK)
    await sent.fate(None)
    assert await sent.left_alone_s() <= 1.25


@pytest.mark.looptime
@pytest.mark.parametrize("status", [429, 503])
async def test_a_collector_is_left_alone_for_as_long_as_it_asks_for(status: int) -> None:
    """Within reason; what it asks for is never less than what we wait by ourselves."""
    sent = Sent()
    for asked_s, waited_s in ((30.0, 30.0), (1e9, MOST_ASKED_S)):
        await sent.fate(CollectorAnswer(status, retry_after_s=asked_s))
        assert waited_s <= await sent.left_alone_s() <= waited_s + 0.25
    await sent.fate(CollectorAnswer(status, retry_after_s=0.0))
    assert await sent.left_alone_s() >= 2


@pytest.mark.looptime
async def test_an_outage_is_said_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever happens in between."""
    caplog.set_level(logging.INFO)
    sent = Sent()
    for answer in (None, CollectorAnswer(503), None, OK, OK):
        await sent.fate(answer)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
