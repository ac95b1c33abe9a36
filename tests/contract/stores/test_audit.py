"""What reconciling asks of the store: charges per quarter, what has no price, balances; and the one rewrite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.core.reconcile import Balance, Charges
from penstock.core.records import OPEN, LedgerRow
from penstock.core.rerate import Entry
from penstock.core.usage import Usage
from penstock.errors import StoreError
from penstock.ports.ledger import AuditStore, Extent, PostedQuery
from penstock.ports.stores import Stores
from penstock.stores.open import open_audit, sole_use
from tests.contract.stores.conftest import opened
from tests.support.ledger_rows import AT, attempt_row, exchange_row, share_row

USED = Usage(10, 5, 0, 5, 0)
ALWAYS = (float("-inf"), "")


def unpriced(number: int, **fields: object) -> list[LedgerRow]:
    """An exchange whose only call has no price."""
    id_ = f"ex_{number}"
    return [
        exchange_row(id_, at=AT + number, usage=USED, attempts=1, cost_nano=None, baseline_nano=None),
        attempt_row(f"at_{number}", id_, usage=USED, **{"charged_nano": None, "charged_book_nano": None, **fields}),
    ]


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    """A store on disk, open as in a server."""
    made = await opened("sqlite:store.db", tmp_path, [])
    yield made
    await made.close()


@pytest.fixture
async def audit(stores: Stores, tmp_path: Path) -> AsyncIterator[AuditStore]:
    """Beside that server."""
    assert stores.description
    async with open_audit("sqlite:store.db", tmp_path, write=True) as made:
        yield made


async def append(stores: Stores, *rows: LedgerRow) -> None:
    """Durable when it returns."""
    stores.ledger.append(rows)
    await stores.ledger.flush()


async def test_charges_are_sums_of_what_ended(stores: Stores, audit: AuditStore) -> None:
    """By the instant that decides the tariff; what is open, or used and cost nothing, or is another's, is left out."""
    quarter = int(AT) // 900 * 900.0
    begun, late = {"started_at": quarter - 1, "ended_at": quarter}, {"started_at": quarter, "ended_at": quarter + 900}
    charged = {"usage": USED, "charged_nano": 7, "charged_book_nano": 50, "currency": "USD"}
    await append(
        stores,
        exchange_row("ex"),
        attempt_row("at_1", "ex", **begun, **charged),
        attempt_row("at_2", "ex", **begun, **{**charged, "charged_nano": 2, "estimated": True}),
        attempt_row("at_3", "ex", **begun, **{**charged, "charged_nano": None, "charged_book_nano": None}),
        attempt_row("at_4", "ex", **late, **charged),
        attempt_row("at_5", "ex", **begun, **charged, outcome=OPEN),
        attempt_row("at_6", "ex", **begun, outcome="provider_busy"),
        attempt_row("at_7", "ex", **begun, **charged, provider="other"),
    )
    place = int(quarter) // 900
    found = await audit.charges("deepseek", 0, 1e12, "completion")
    assert sorted(found) == [
        Charges(place, "deepseek/flash", "USD", 3, 60, 9, 100, 2, 50, 1),
        Charges(place + 1, "deepseek/flash", "USD", 1, 20, 7, 50, 0, 0, 0),
    ]
    assert [each.quarter for each in await audit.charges("deepseek", 0, quarter, "start")] == [place - 1]
    assert await audit.charges("deepseek", quarter, quarter, "start") == []
    assert await audit.extent("deepseek", "start") == Extent(quarter - 1, quarter)
    assert await audit.extent("nobody", "start") is None
    assert await audit.currency() == "CNY"


async def test_what_lacks_a_price_is_found_in_pages(stores: Stores, audit: AuditStore) -> None:
    """A cost, a baseline, or a call's charge: each exchange once, in order, with its rows."""
    hit = exchange_row("ex_3", at=AT + 3, cost_nano=0, baseline_nano=None)
    odd = exchange_row("ex_4", at=AT + 4, cost_nano=0, baseline_nano=0)
    whole = exchange_row("ex_5", at=AT + 5, cost_nano=0, baseline_nano=0)
    running = exchange_row("ex_6", at=AT + 6, cost_nano=None, outcome=OPEN)
    no_price = attempt_row("at_4", "ex_4", charged_nano=None, charged_book_nano=None)
    await append(stores, *unpriced(1), *unpriced(2), hit, odd, no_price, whole, running)
    first = await audit.unpriced(ALWAYS, 2)
    rest = await audit.unpriced((first[-1].exchange.at, first[-1].exchange.id), 9)
    assert [entry.exchange.id for entry in [*first, *rest]] == ["ex_1", "ex_2", "ex_3", "ex_4"]
    assert first[0] == Entry(unpriced(1)[0], [unpriced(1)[1]], [])  # type: ignore[arg-type, list-item]  # by their kinds


async def test_a_rewrite_is_read_back(stores: Stores, audit: AuditStore) -> None:
    """Charge, share, cost and baseline, beside a server that is writing."""
    await append(stores, *unpriced(1))
    (entry,) = await audit.unpriced(ALWAYS, 9)
    attempt = replace(
        entry.attempts[0], charged_nano=3, charged_book_nano=21, currency="USD", fx_rate="7", price_source="late"
    )
    changed = Entry(replace(entry.exchange, cost_nano=21, baseline_nano=40), [attempt], [share_row("at_1", "ex_1", 21)])
    await audit.rerate([changed])
    assert await stores.reader.exchange("ex_1") == [changed.exchange, attempt, *changed.shares]
    assert await audit.unpriced(ALWAYS, 9) == []
    ((posted,),) = await stores.reader.posted([PostedQuery("global", 0, 1e12)], excluding=())
    assert posted.amount_nano == 21


async def test_a_group_that_somebody_else_priced_meanwhile_is_given_up_whole(stores: Stores, audit: AuditStore) -> None:
    """No row of it is written, also of the exchanges before it; what has a charge keeps it."""
    await append(stores, *unpriced(1), *unpriced(2))
    entries = await audit.unpriced(ALWAYS, 9)
    changed = [
        Entry(
            replace(each.exchange, cost_nano=1, baseline_nano=1),
            [replace(each.attempts[0], charged_nano=1, charged_book_nano=1)],
            [share_row(each.attempts[0].id, each.exchange.id, 1)],
        )
        for each in entries
    ]
    await audit.rerate(changed[1:])
    with pytest.raises(StoreError, match="changed by another process"):
        await audit.rerate(changed)
    assert await stores.reader.exchange("ex_1") == unpriced(1)
    assert (await audit.unpriced(ALWAYS, 9))[0].exchange.id == "ex_1"


async def test_balances_are_kept_and_the_youngest_comes_back(stores: Stores, audit: AuditStore) -> None:
    """Of each currency of that provider."""
    old = [Balance("deepseek", "CNY", 1.0, 5, 1, 4), Balance("deepseek", "USD", 1.0, 2, 0, 2)]
    new = [Balance("deepseek", "CNY", 2.5, -3, 0, -3)]
    assert await audit.last_balances("deepseek") == []
    await audit.keep_balances([*old, Balance("other", "CNY", 9.0, 1, 1, 0)])
    await audit.keep_balances(new)
    assert await audit.last_balances("deepseek") == [*new, old[1]]
    assert stores.ledger.healthy


async def test_the_store_is_not_to_be_had_while_a_server_has_it(tmp_path: Path) -> None:
    """Nor may a server start meanwhile."""
    running = await opened("sqlite:store.db", tmp_path, [])
    with pytest.raises(StoreError, match="stop that one first"):
        async with sole_use("sqlite:store.db", tmp_path):
            pytest.fail("a server runs")
    await running.close()
    async with sole_use("sqlite:store.db", tmp_path):
        with pytest.raises(StoreError, match="in use"):
            await opened("sqlite:store.db", tmp_path, [])
