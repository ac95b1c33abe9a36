"""What every ledger keeps: whole exchanges, once, as they were given."""

import pytest

from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow
from penstock.core.usage import Usage
from penstock.errors import StoreError
from penstock.ports.ledger import SpendQuery
from penstock.ports.stores import Stores
from tests.support.ledger_rows import AT, attempt_row, exchange_row, rows_of, share_row

FULL_EXCHANGE = ExchangeRow(
    id="ex_1", at=AT, endpoint="messages", model="flash", deployment="deepseek/flash", key_id="key_1", key_name="ci",
    team="search", user="ünï", tags={"b": "2", "a": "1"}, outcome="provider_busy", status=503, cache="exact",
    streamed=True, attempts=2, usage=Usage(1, 2, 3, 4, 5), estimated=True, baseline_nano=None, cost_nano=17,
    currency="CNY", duration_s=1.25, first_byte_s=0.5, overhead_s=0.001,
)  # fmt: skip

FULL_ATTEMPT = AttemptRow(
    id="at_1", exchange_id="ex_1", started_at=AT, ended_at=AT + 1, provider="deepseek", deployment="deepseek/flash",
    region="cn", outcome="ok", status=200, upstream_id="chatcmpl-1", usage=Usage(5, 4, 3, 2, 1), estimated=True,
    charged_nano=2**62, currency="USD", fx_rate="7.10", charged_book_nano=None, price_source="deepseek 2026-01-01",
)  # fmt: skip


async def test_an_exchange_is_read_back_as_written(stores: Stores) -> None:
    """Every field of every row survives, unpriced amounts stay None, attempts and shares come in order."""
    rows: list[LedgerRow] = [
        FULL_EXCHANGE,
        attempt_row("at_2", "ex_1", started_at=AT + 2),
        FULL_ATTEMPT,
        share_row("at_2", "ex_1", 3, "joined"),
        share_row("at_1", "ex_1", -2),
    ]
    stores.ledger.append(rows)
    await stores.ledger.flush()
    assert await stores.reader.exchange("ex_1") == [rows[0], rows[2], rows[1], rows[4], rows[3]]


async def test_an_unknown_exchange_has_no_rows(stores: Stores) -> None:
    """Asking for what is not there is no error."""
    assert await stores.reader.exchange("ex_0") == []


async def test_rows_written_twice_count_once(stores: Stores) -> None:
    """A group that is written again after a doubtful commit changes nothing."""
    for _ in range(2):
        stores.ledger.append(rows_of(1))
    await stores.ledger.flush()
    assert len(await stores.reader.exchange("ex_000001")) == 3
    _, total = await stores.reader.spend(SpendQuery("model", 0, 1e12, "UTC"))
    assert (total.requests, total.cost_nano) == (1, 7)


async def test_many_groups_arrive_whole(stores: Stores) -> None:
    """More rows than one statement holds, and a rest, all arrive."""
    for number in range(333):
        stores.ledger.append(iter(rows_of(number)))
    await stores.ledger.flush()
    _, total = await stores.reader.spend(SpendQuery("model", 0, 1e12, "UTC"))
    assert (total.requests, total.tokens, total.cost_nano) == (333, 333 * 150, 333 * 7)
    assert len(await stores.reader.exchange("ex_000332")) == 3
    assert stores.ledger.healthy


async def test_an_id_of_ours_says_where_its_exchange_stands(stores: Stores) -> None:
    """Exchanges are found by an id with their time in it, by one with a wrong time, and by any other."""
    ids = ["ex_01m80kqx789xz5aa4k5s073ptd", "ex_00000000009xz5aa4k5s073ptd", "whatever"]
    stores.ledger.append(exchange_row(id_, at=1_795_317_036.26) for id_ in ids)
    await stores.ledger.flush()
    found = [row for id_ in ids for row in await stores.reader.exchange(id_)]
    assert [row.id for row in found if isinstance(row, ExchangeRow)] == ids


@pytest.mark.parametrize(("by", "zone"), [("colour", "UTC"), ("model", "Mars/Olympus"), ("day", "../etc/passwd")])
async def test_an_unknown_grouping_or_zone_is_an_error(stores: Stores, by: str, zone: str) -> None:
    """Nothing is guessed, and what is possible is named."""
    with pytest.raises(StoreError, match=r"one of model, deployment|write an IANA name"):
        await stores.reader.spend(SpendQuery(by, 0, 1e12, zone))
