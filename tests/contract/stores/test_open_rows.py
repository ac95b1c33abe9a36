"""Rows that are open: written over by their end, and by nothing else, whatever comes in which order."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow
from penstock.core.usage import Usage
from penstock.ports.ledger import PostedQuery, SpendQuery
from penstock.ports.stores import Stores
from tests.contract.stores.conftest import POSTGRES, Reopen, opened
from tests.support.ledger_model import LedgerModel
from tests.support.ledger_rows import AT, attempt_row, exchange_row, share_row

EVERYTHING = SpendQuery("model", 0, 1e12, "UTC")
IDS = ["ex_1", "ex_2", "ex_3"]

OPEN_EXCHANGE = exchange_row("ex_1", outcome=OPEN, status=0, duration_s=0.0)
OPEN_ATTEMPT = attempt_row("at_1", "ex_1", outcome=OPEN, held_nano=900, held_tokens=70, stops=True)
ENDED: list[LedgerRow] = [
    exchange_row("ex_1", status=429, outcome="budget_exceeded", degraded="stale,cheaper", avoided_nano=None),
    attempt_row("at_1", "ex_1", charged_book_nano=950, held_nano=900, held_tokens=70, overrun=True),
    share_row("at_1", "ex_1", 950),
]


async def written(stores: Stores, *groups: Sequence[LedgerRow]) -> list[LedgerRow]:
    """Everything of ``ex_1`` after these groups."""
    for group in groups:
        stores.ledger.append(group)
        await stores.ledger.flush()
    return list(await stores.reader.exchange("ex_1"))


async def test_the_end_takes_the_place_of_the_open_rows(stores: Stores) -> None:
    """Every field is that of the end; what is open is shown until then."""
    assert await written(stores, [OPEN_EXCHANGE, OPEN_ATTEMPT]) == [OPEN_EXCHANGE, OPEN_ATTEMPT]
    assert await written(stores, ENDED) == ENDED


async def test_an_end_without_an_open_row_is_an_end(stores: Stores) -> None:
    """What holds no money needs no open row."""
    assert await written(stores, ENDED) == ENDED


async def test_what_is_settled_never_changes(stores: Stores) -> None:
    """Neither by an open row, nor by another end, nor by the same group again."""
    other: list[LedgerRow] = [
        exchange_row("ex_1", status=200),
        attempt_row("at_1", "ex_1"),
        share_row("at_1", "ex_1", 1),
    ]
    assert await written(stores, ENDED, [OPEN_EXCHANGE, OPEN_ATTEMPT], other, ENDED) == ENDED


async def test_progress_is_written_over_while_open(stores: Stores) -> None:
    """The last journal entry counts."""
    steps = [msgspec.structs.replace(OPEN_ATTEMPT, usage=Usage(10, 0, 0, n), charged_book_nano=n) for n in range(3)]
    assert await written(stores, [OPEN_EXCHANGE, steps[0]], [steps[1]], [steps[2]]) == [OPEN_EXCHANGE, steps[2]]


async def test_all_of_it_in_one_group(stores: Stores) -> None:
    """Opened, gone on and ended between two commits: the end stands."""
    stores.ledger.append([OPEN_EXCHANGE, OPEN_ATTEMPT])
    stores.ledger.append([OPEN_ATTEMPT])
    assert await written(stores, ENDED) == ENDED
    assert await stores.ledger.open_rows() == []


async def test_open_rows_come_with_all_attempts_of_their_exchange(stores: Stores) -> None:
    """Of an open exchange the settled attempts too; of an ended one whose attempt goes on, itself. Oldest first."""
    rows: list[LedgerRow] = [
        exchange_row("ex_2", at=AT + 1, outcome=OPEN),
        attempt_row("at_21", "ex_2", outcome="provider_busy"),
        exchange_row("ex_1", at=AT),
        attempt_row("at_12", "ex_1", started_at=AT + 2, outcome=OPEN),
        attempt_row("at_11", "ex_1", started_at=AT + 1),
        exchange_row("ex_3", at=AT + 2),
        attempt_row("at_31", "ex_3"),
    ]
    stores.ledger.append(rows)
    assert [(exchange, list(attempts)) for exchange, attempts in await stores.ledger.open_rows()] == [
        (rows[2], [rows[4], rows[3]]),
        (rows[0], [rows[1]]),
    ]


async def test_spend_leaves_open_exchanges_out(stores: Stores) -> None:
    """Neither request nor error nor waste; and an attempt that goes on wastes nothing yet."""
    stores.ledger.append([OPEN_EXCHANGE, msgspec.structs.replace(OPEN_ATTEMPT, charged_book_nano=5)])
    stores.ledger.append([exchange_row("ex_2"), attempt_row("at_2", "ex_2", outcome=OPEN, charged_book_nano=7)])
    await stores.ledger.flush()
    groups, total = await stores.reader.spend(EVERYTHING)
    assert [(row.requests, row.errors, row.wasted_nano) for row in [*groups, total]] == [(1, 0, 0)] * 2


async def test_what_was_refused_is_avoided_and_never_saved(stores: Stores) -> None:
    """A sum of its own; what no price covers adds nothing."""
    for number, avoided in enumerate([5, None, 8]):
        stores.ledger.append([exchange_row(f"ex_{number}", outcome="budget_exceeded", avoided_nano=avoided)])
    await stores.ledger.flush()
    _, total = await stores.reader.spend(EVERYTHING)
    assert (total.avoided_nano, total.saved_nano, total.cost_nano, total.unpriced) == (13, 0, 0, 0)


OUTCOMES = st.sampled_from([OPEN, OPEN, "ok", "provider_busy"])


@st.composite
def groups(draw: st.DrawFn) -> list[LedgerRow]:
    """Rows of a few exchanges in any state, as they may come twice, late, or in the wrong order."""
    return draw(st.lists(st.one_of(exchange_rows(), attempt_rows(), share_rows()), max_size=4))


@st.composite
def exchange_rows(draw: st.DrawFn) -> ExchangeRow:
    """An exchange, always at the instant that is its own."""
    id_ = draw(st.sampled_from(IDS))
    at = AT + IDS.index(id_)
    return exchange_row(id_, at=at, outcome=draw(OUTCOMES), cost_nano=draw(st.integers(0, 9)))


@st.composite
def attempt_rows(draw: st.DrawFn) -> AttemptRow:
    """One of three attempts of an exchange."""
    id_ = draw(st.sampled_from(IDS))
    name = draw(st.sampled_from("abc"))
    usage = Usage(*draw(st.tuples(*[st.integers(0, 9)] * 4)))
    return attempt_row(f"at_{id_}_{name}", id_, outcome=draw(OUTCOMES), usage=usage, held_nano=draw(st.integers(0, 9)))


@st.composite
def share_rows(draw: st.DrawFn) -> LedgerRow:
    """A share of one of them."""
    id_ = draw(st.sampled_from(IDS))
    return share_row(f"at_{id_}_{draw(st.sampled_from('abc'))}", id_, draw(st.integers(0, 9)))


STEPS = st.lists(st.one_of(groups(), st.just("flush"), st.just("kill")), max_size=12)


@pytest.mark.parametrize("url", ["memory:", "sqlite:store.db", POSTGRES])
def test_any_interleaving_equals_the_plain_model(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """After any rows in any order every question is answered as the model answers it.

    And a store as a killed process leaves it holds what the model held after so many groups, and all that was flushed.
    """
    base = tmp_path_factory.mktemp("open")
    directories = iter(range(10**6))

    @hypothesis_settings(max_examples=60)
    @given(steps=STEPS)
    def check(steps: Sequence[Any]) -> None:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(compare(url, base / str(next(directories)), steps))

    check()


async def compare(url: str, directory: Path, steps: Sequence[Any]) -> None:
    """Take every step; the model takes it too."""
    stores = await opened(url, directory, [])
    models, flushed = [LedgerModel()], 0
    try:
        for number, step in enumerate(steps):
            if step == "flush":
                await stores.ledger.flush()
                flushed = len(models) - 1
            elif step == "kill" and url.startswith("sqlite"):
                await check_killed(directory, directory / f"killed{number}", models[flushed:])
            elif step != "kill":
                stores.ledger.append(step)
                models.append(copy_of(models[-1], step))
        await stores.ledger.flush()
        assert await answers_of(stores) == answers_by(models[-1])
    finally:
        await stores.close()


def copy_of(model: LedgerModel, rows: Sequence[LedgerRow]) -> LedgerModel:
    """The model after these rows."""
    after = LedgerModel([*model.exchanges.values(), *model.attempts.values(), *model.shares.values()])
    after.append(rows)
    return after


async def check_killed(directory: Path, left: Path, possible: Sequence[LedgerModel]) -> None:
    """The files as they stand now, opened elsewhere, are one of the states that are ``possible``."""
    copy_files(directory, left)
    stores = await opened("sqlite:store.db", left, [])
    try:
        assert await answers_of(stores) in [answers_by(model) for model in possible]
    finally:
        await stores.close()


def copy_files(directory: Path, left: Path) -> None:
    """What a killed process leaves: the file, and what was written ahead of it."""
    left.mkdir()
    for name in ("store.db", "store.db-wal"):
        if (directory / name).exists():
            shutil.copy(directory / name, left / name)


async def answers_of(stores: Stores) -> list[Any]:
    """Everything a store says."""
    found = [(exchange, list(attempts)) for exchange, attempts in await stores.ledger.open_rows()]
    posted = await stores.ledger.posted([PostedQuery("model", 0, 1e12)], excluding=["at_ex_1_a"])
    return [found, list(map(list, posted)), [list(await stores.reader.exchange(id_)) for id_ in IDS]]


def answers_by(model: LedgerModel) -> list[Any]:
    """Everything the model says."""
    posted = [model.posted("model", 0, 1e12, ["at_ex_1_a"])]
    return [model.open_rows(), posted, [model.exchange(id_) for id_ in IDS]]


async def test_open_rows_survive_the_process(reopen: Reopen) -> None:
    """What was open when it ended is open at the next start."""
    stores = await reopen()
    stores.ledger.append([OPEN_EXCHANGE, OPEN_ATTEMPT])
    stores = await reopen()
    assert await stores.ledger.open_rows() == [(OPEN_EXCHANGE, [OPEN_ATTEMPT])]


async def test_whose_an_open_exchange_is(stores: Stores) -> None:
    """The owner stands in the open row; what has ended belongs to nobody."""
    mine = exchange_row("ex_1", outcome=OPEN, status=0, duration_s=0.0, owner="a-process")
    assert await written(stores, [mine, OPEN_ATTEMPT]) == [mine, OPEN_ATTEMPT]
    assert [exchange.owner for exchange, _ in await stores.ledger.open_rows()] == ["a-process"]
    assert await written(stores, ENDED) == ENDED


async def test_attempts_by_their_ids(stores: Stores) -> None:
    """Those that there are, open or ended, and no other."""
    await written(stores, ENDED, [exchange_row("ex_2", outcome=OPEN), attempt_row("at_2", "ex_2", outcome=OPEN)])
    found = await stores.reader.attempts(["at_2", "at_1", "at_9"])
    assert sorted((row.id, row.outcome) for row in found) == [("at_1", "ok"), ("at_2", OPEN)]
