"""What providers billed in a span, and what one of them was charged; the same in every store."""

import asyncio
from pathlib import Path
from zoneinfo import ZoneInfo

from penstock.background.today import Today
from penstock.clock import LoopClock
from penstock.core.reconcile import Charges
from penstock.core.records import OPEN
from penstock.core.usage import Usage
from penstock.ports.ledger import Billed
from penstock.ports.stores import Stores
from tests.contract.stores.conftest import POSTGRES, opened
from tests.support.ledger_rows import AT, attempt_row, exchange_row

USED = Usage(1, 2, 3, 4, 2)
DAY_S = 86_400.0


async def test_calls_count_with_their_exchange(stores: Stores) -> None:
    """By its arrival: retries of it too, what has no price by its tokens; what is open, or from a cache, not at all."""
    rows = [exchange_row(f"ex_{second}", at=AT + second, usage=Usage(9)) for second in range(4)]
    calls = [
        attempt_row(f"at_{row.id}", row.id, started_at=row.at, usage=USED, charged_book_nano=5) for row in rows[:3]
    ]
    calls += [
        attempt_row("at_again", "ex_1", started_at=AT + 90, outcome="provider_busy", usage=Usage(100)),
        attempt_row("at_dear", "ex_1", started_at=AT + 91, usage=Usage(1000), charged_book_nano=None),
        attempt_row("at_open", "ex_1", started_at=AT + 1, outcome=OPEN, usage=Usage(7), charged_book_nano=7),
    ]
    stores.ledger.append([*rows, *calls])
    await stores.ledger.flush()
    assert await stores.reader.billed(AT + 1, AT + 2) == Billed(Usage(1101, 2, 3, 4, 2), 5)
    assert await stores.reader.billed(AT, AT + 1000) == Billed(Usage(1103, 6, 9, 12, 6), 15)
    assert await stores.reader.billed(AT + 3, AT + 1000) == Billed()


async def test_a_server_knows_what_a_provider_was_charged(stores: Stores) -> None:
    """In a span, to the instant; not what a dead process left for days. A ledger that forgets cannot be asked."""
    charged = {"usage": USED, "charged_nano": 7, "charged_book_nano": 50, "currency": "USD"}
    early, late = AT - 3 * DAY_S, AT + 20
    stores.ledger.append(
        [
            exchange_row("ex_1"),
            exchange_row("ex_2", at=early),
            attempt_row("at_1", "ex_1", ended_at=AT + 10, **charged),
            attempt_row("at_2", "ex_1", ended_at=AT + 20, **charged),
            attempt_row("at_3", "ex_1", ended_at=AT + 10, **charged, outcome=OPEN),
            attempt_row("at_4", "ex_1", ended_at=AT + 10, **{**charged, "provider": "other"}),
            attempt_row("at_5", "ex_2", started_at=early, ended_at=AT + 10, **charged, outcome="gateway_died"),
        ]
    )
    await stores.ledger.flush()
    if stores.audit is None:
        assert "memory" in stores.description
        return
    found = await stores.audit.charges("deepseek", AT + 10, late, "completion")
    assert found == [Charges(int(AT + 10) // 900, "deepseek/flash", "USD", 1, 10, 7, 50, 0, 0, 0)]
    assert await stores.audit.charges("deepseek", AT, AT + 10, "completion") == []


async def test_of_two_nodes_one_tells_the_day(tmp_path: Path) -> None:
    """Which is that of both, and told by the other one when the first is gone: nowhere is it told twice."""
    nodes = [await opened(POSTGRES, tmp_path, []) for _ in range(2)]
    clock = LoopClock(AT - asyncio.get_running_loop().time())
    days = [Today(clock, each.reader, lambda: ZoneInfo("UTC"), each.leader) for each in nodes]
    try:
        for number, node in enumerate(nodes):
            node.ledger.append(
                [exchange_row(f"ex_{number}"), attempt_row("at", f"ex_{number}", usage=USED, charged_book_nano=5)]
            )
            await node.ledger.flush()
        for day in days:
            await day.look()
        assert [day.billed() for day in days] == [Billed(Usage(2, 4, 6, 8, 4), 10), None]
        await nodes.pop(0).close()
        await days[1].look()
        assert days[1].billed() == Billed(Usage(2, 4, 6, 8, 4), 10)
    finally:
        for node in nodes:
            await node.close()
