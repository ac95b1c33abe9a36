"""What a process that died left open is settled before anything new is spent: never below what was billed."""

from typing import Any

import pytest

from penstock.background.recovery import CUT, recover
from penstock.clock import LoopClock
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow
from penstock.core.usage import Usage
from penstock.ports.ledger import Posted, PostedQuery
from penstock.stores.memory_ledger import MemoryLedger
from tests.support.house import EPOCH

pytestmark = pytest.mark.looptime(end=1000)

HELD = {"held_nano": 90_000, "held_tokens": 300}


def exchange(**fields: Any) -> ExchangeRow:
    """One that was being answered when the process died."""
    common: dict[str, Any] = {"at": EPOCH, "endpoint": "chat", "model": "m", "key_name": "k", "status": 0}
    return ExchangeRow(
        **{**common, "id": "req_1", "outcome": OPEN, "currency": "CNY", "duration_s": 0.0, **fields}
    )  # fmt: skip


def attempt(**fields: Any) -> AttemptRow:
    """One call of it."""
    common: dict[str, Any] = {"id": "att_1", "exchange_id": "req_1", "started_at": EPOCH, "ended_at": EPOCH}
    return AttemptRow(**{**common, "provider": "p", "deployment": "p/m", "outcome": OPEN, **HELD, **fields})


async def recovered(*rows: LedgerRow) -> tuple[ExchangeRow, list[AttemptRow], list[Posted]]:
    """What the ledger holds after a start."""
    ledger = MemoryLedger()
    ledger.append(rows)
    await recover(ledger, LoopClock(EPOCH + 60))
    found = await ledger.exchange("req_1")
    attempts = [row for row in found if isinstance(row, AttemptRow)]
    (posted,) = await ledger.posted([PostedQuery("global", EPOCH - 1, EPOCH + 1)], excluding=[])
    return next(row for row in found if isinstance(row, ExchangeRow)), attempts, list(posted)


async def test_at_a_provider_that_completes_the_whole_hold_is_charged() -> None:
    """It ran to its end, and nobody saw how long that was."""
    row, (cut,), posted = await recovered(exchange(), attempt())
    assert (row.outcome, row.cost_nano, row.baseline_nano) == (CUT, 90_000, 90_000)
    assert (cut.outcome, cut.charged_book_nano, cut.estimated) == (CUT, 90_000, True)
    assert [(each.amount_nano, each.tokens) for each in posted] == [(90_000, 300)]


async def test_at_a_provider_that_stops_the_journal_counts() -> None:
    """As far as it had come, and what it could make since: no more than was held."""
    told = {"usage": Usage(50, 0, 0, 40), "charged_book_nano": 40_000, "charged_nano": 40_000}
    journalled = attempt(stops=True, estimated=True, **told)
    row, (cut,), _ = await recovered(exchange(), journalled)
    assert (cut.charged_book_nano, cut.usage.output, cut.estimated) == (40_000, 40, True)
    assert row.cost_nano == 40_000


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("output", [40, 400])
async def test_usage_that_was_noted_is_exact(*, stops: bool, output: int) -> None:
    """The client may have seen it: whatever the provider does, and beyond the hold too."""
    noted = attempt(
        stops=stops, usage=Usage(50, 0, 0, output), charged_book_nano=100 * output, charged_nano=100 * output
    )
    row, (cut,), _ = await recovered(exchange(), noted)
    assert (cut.outcome, cut.charged_book_nano, cut.usage.output) == (CUT, 100 * output, output)
    assert (cut.estimated, cut.overrun) == (False, output == 400)
    assert row.cost_nano == 100 * output


async def test_without_a_journal_the_hold_counts() -> None:
    """It died within its first second."""
    _, (cut,), _ = await recovered(exchange(), attempt(stops=True))
    assert cut.charged_book_nano == 90_000


async def test_what_was_settled_stays_as_it_was() -> None:
    """Known usage is exact: only what is open is estimated."""
    first = attempt(outcome="provider_busy", usage=Usage(1, 0, 0, 1), charged_nano=7, charged_book_nano=7)
    row, attempts, _ = await recovered(exchange(), first, attempt(id="att_2"))
    assert [each.charged_book_nano for each in attempts] == [7, 90_000]
    assert [each.estimated for each in attempts] == [False, True]
    assert (row.cost_nano, row.attempts) == (90_007, 2)


async def test_what_no_price_covers_stays_unpriced() -> None:
    """Unpriced is not free."""
    row, (cut,), _ = await recovered(exchange(), attempt(held_nano=None))
    assert cut.charged_book_nano is None
    assert row.cost_nano is None


async def test_recovering_twice_changes_nothing() -> None:
    """A crash while it recovers is a crash like any other."""
    ledger = MemoryLedger()
    ledger.append([exchange(), attempt()])
    assert await recover(ledger, LoopClock(EPOCH + 60)) == 1
    assert await recover(ledger, LoopClock(EPOCH + 90)) == 0


async def test_what_belongs_to_a_living_process_is_left_alone() -> None:
    """While one takes over from another, each settles only what is left by neither."""
    ledger = MemoryLedger()
    rows: list[LedgerRow] = [exchange(owner="old"), attempt()]
    ledger.append([*rows, exchange(id="req_2", owner="new"), attempt(id="att_2", exchange_id="req_2")])
    assert await recover(ledger, LoopClock(EPOCH + 60), spare="old") == 1
    assert [found.id for found, _ in await ledger.open_rows()] == ["req_1"]
    assert await recover(ledger, LoopClock(EPOCH + 60), spare="new") == 1
    assert await ledger.open_rows() == []
