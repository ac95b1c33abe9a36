"""The checker complains about each kind of breach, by name, and about nothing else."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from penstock.clock import SystemClock
from penstock.core.bank import Bank, Claim
from penstock.core.budget import Budget, Place, places
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.core.usage import Usage
from penstock.stores.open import open_stores
from tests.support.bill_provider_lines import BilledCall
from tests.support.invariants import breaches, check_money
from tests.support.invariants_books import Books, integrity, stored_rows

UTC = ZoneInfo("UTC")
AT = 1_795_000_000.0
COST = 10 * 2000 + 5 * 8000
HELD = 100_000


def budget(limit: int = 3 * HELD, unit: str = "money") -> Budget:
    """One over everything, for ever."""
    return Budget(f"all-{unit}", "global", unit, limit, "total", UTC)


@dataclass
class Case:
    """Right books, to be spoilt: one exact call, one cut off, one that is open."""

    budgets: list[Budget] = field(default_factory=lambda: [budget(), budget(1000, "tokens")])
    running: bool = True
    rows: list[LedgerRow] = field(init=False)
    bank: Bank = field(init=False)
    bill: list[BilledCall] = field(init=False)

    def __post_init__(self) -> None:
        """Three exchanges, their attempts, the shares of those that ended, and a bank and a bill that agree."""
        self.rows = [exchange("1"), attempt("1"), share("1")]
        self.rows += [exchange("2", outcome="gateway_died", status=0, cost_nano=HELD, baseline_nano=HELD)]
        self.rows += [attempt("2", outcome="gateway_died", estimated=True, usage=Usage(100), cost=HELD)]
        self.rows += [share("2", HELD)]
        self.rows += [exchange("3", outcome=OPEN, attempts=0), attempt("3", outcome=OPEN, usage=Usage(), cost=0)]
        self.bill = [
            BilledCall("up-1", "mk-1", "completes", prompt=10, output=5, why="complete"),
            BilledCall("up-2", "mk-2", "completes", prompt=10, output=7, why="left"),
            BilledCall("up-3", "mk-3", "completes"),
        ]
        self.bank = Bank()
        for number, spent in (("1", COST), ("2", HELD)):
            self.bank.hold(f"att_{number}", self.claims(HELD, 100))
            self.bank.settle(f"att_{number}", self.amounts(spent, 15 if number == "1" else 100))
        self.bank.hold("att_3", self.claims(HELD, 100))

    def amounts(self, nano: int, tokens: int) -> dict[Place, int]:
        """By account."""
        payer = self.books.payer(attempt("1"))
        return {place: nano if one.unit == "money" else tokens for one, place in places(self.budgets, payer, AT)}

    def claims(self, nano: int, tokens: int) -> list[Claim]:
        """On every account."""
        return [Claim(place, amount, 10**12) for place, amount in self.amounts(nano, tokens).items()]

    @property
    def books(self) -> Books:
        """As they stand."""
        bank = getattr(self, "bank", None)
        return Books(self.rows, self.budgets, bank, getattr(self, "bill", None), running=self.running)

    def change(self, index: int, **fields: object) -> None:
        """One row otherwise."""
        for name, value in fields.items():
            setattr(self.rows[index], name, value)


def exchange(number: str, **fields: object) -> ExchangeRow:
    """One that cost what its only attempt did."""
    usual: dict[str, object] = {"outcome": "ok", "status": 200, "attempts": 1, "cost_nano": COST}
    usual |= {"baseline_nano": COST, "usage": Usage(10, 0, 0, 5), "tags": {"marker": f"mk-{number}"}}
    row = ExchangeRow(
        id=f"req_{number}", at=AT, endpoint="chat", model="m", outcome="", status=0, currency="CNY", duration_s=1.0
    )
    for name, value in (usual | fields).items():
        setattr(row, name, value)
    return row


def attempt(number: str, *, cost: int = COST, **fields: object) -> AttemptRow:
    """One that was held in full."""
    usual: dict[str, object] = {"outcome": "ok", "usage": Usage(10, 0, 0, 5), "upstream_id": f"up-{number}"}
    usual |= {"held_nano": HELD, "held_tokens": 100, "charged_nano": cost, "charged_book_nano": cost}
    row = AttemptRow(
        id=f"att_{number}",
        exchange_id=f"req_{number}",
        started_at=AT,
        ended_at=AT + 1,
        provider="p",
        deployment="p/m",
        outcome="",
    )
    for name, value in (usual | fields).items():
        setattr(row, name, value)
    return row


def share(number: str, amount: int = COST) -> ShareRow:
    """All of it."""
    return ShareRow(attempt_id=f"att_{number}", exchange_id=f"req_{number}", amount_nano=amount, lever="direct")


def charge(case: Case, index: int, amount: int) -> None:
    """Another charge for the attempt at ``index``, its share and its exchange with it."""
    case.change(index, charged_nano=amount, charged_book_nano=amount)
    case.change(index + 1, amount_nano=amount)
    case.change(index - 1, cost_nano=amount, baseline_nano=amount)


Spoil = Callable[[Case], object]
SPOILT: dict[str, Spoil] = {
    "has ended 2 times": lambda case: case.rows.append(attempt("1")),
    "still open": lambda case: setattr(case, "running", False),
    "serves req_1 twice": lambda case: case.rows.append(share("1", 0)),
    "says 2 attempts and has 1": lambda case: case.change(0, attempts=2),
    "its shares are 60000": lambda case: case.change(0, cost_nano=1, baseline_nano=1),
    "ended ok with status 500": lambda case: case.change(0, status=500),
    "failed and saved something": lambda case: case.change(3, baseline_nano=HELD + 1),
    "in the gateway": lambda case: case.change(0, overhead_s=2.0),
    "the shares of att_1 are 60000": lambda case: case.change(1, charged_book_nano=COST + 1),
    "in one currency only": lambda case: case.change(1, charged_nano=None),
    "ended before it began": lambda case: case.change(1, ended_at=AT - 1),
    "is not flagged overrun": lambda case: case.change(1, held_nano=COST - 1),
    "is not flagged overrun, charged 60000 of 100000 held, 15 of 14": lambda case: case.change(1, held_tokens=14),
    "is flagged overrun": lambda case: case.change(1, overrun=True),
    "pays 60000 of att_1 as joined": lambda case: case.change(2, lever="joined"),
    "impossible Usage(input_miss=-1": lambda case: case.change(1, usage=Usage(-1, 0, 0, 5)),
    "att_9 belongs to req_9, which is not there": lambda case: case.rows.append(attempt("9", cost=0)),
    "a share of att_9 belongs to req_9": lambda case: case.rows.append(share("9", 0)),
    "from 0 on is overspent: 160000 posted + 100000 pending > 259999": lambda case: case.budgets.__setitem__(
        0, budget(259_999)
    ),
    "overspent: 115 posted + 100 pending > 214": lambda case: case.budgets.__setitem__(1, budget(214, "tokens")),
    "has 160001 posted, the ledger says 160000": lambda case: case.bank.post(next(iter(case.amounts(0, 0))), 1),
    "posted, the ledger says 0": lambda case: case.bank.post(Place(case.budgets[0].id, "another", 0.0), 1),
    "has 100001 pending, its holds are 100000": lambda case: setattr(
        case.bank.account(next(iter(case.amounts(0, 0)))), "pending", HELD + 1
    ),
    "att_3 is open in the ledger alone": lambda case: case.bank.release("att_3"),
    "att_3 holds 100000 on": lambda case: case.change(7, held_nano=HELD - 1),
    "reached its provider and no attempt says so": lambda case: case.bill.append(BilledCall("up-9", "mk-9", "stops")),
    "for a call that no provider bills": lambda case: case.bill.pop(0),
    "its call has not ended": lambda case: case.bill.__setitem__(0, replace(case.bill[0], why="")),
    "is exact and wrong": lambda case: case.bill.__setitem__(0, replace(case.bill[0], output=6)),
    "was cut off and charged 100000, billed 1620000": lambda case: case.bill.__setitem__(
        1, replace(case.bill[1], output=200)
    ),
    "was cut off and charged 100001, held 100000": lambda case: charge(case, 4, HELD + 1),
}


def test_right_books_are_right() -> None:
    """And the figures say what was compared."""
    figures = check_money(Case().books)
    assert (figures.exchanges, figures.exact, figures.estimated) == (3, 1, 1)
    assert figures.largest_nano == HELD - (10 * 2000 + 7 * 8000)
    assert figures.charged_nano == COST + HELD


@pytest.mark.parametrize("said", SPOILT)
def test_every_breach_is_named(said: str) -> None:
    """Each of them, in words that tell which row and which numbers."""
    case = Case()
    assert list(breaches(case.books)) == []
    SPOILT[said](case)
    assert any(said in breach for breach in breaches(case.books)), list(breaches(case.books))
    with pytest.raises(AssertionError, match="the books do not add up"):
        check_money(case.books)


def test_what_lies_over_a_hold_and_says_so_is_excepted() -> None:
    """An overrun posts in full; the limit holds for the rest."""
    case = Case(budgets=[budget(COST + 2 * HELD)])
    case.change(1, held_nano=COST - 7, overrun=True)
    assert list(breaches(replace_bank(case))) == []
    case.budgets[0] = budget(COST - 7 + 2 * HELD)
    assert list(breaches(replace_bank(case))) == []
    case.budgets[0] = budget(COST - 8 + 2 * HELD)
    assert any("overspent" in breach for breach in breaches(replace_bank(case)))


def replace_bank(case: Case) -> Books:
    """The books without the bank."""
    return Books(case.rows, case.budgets, None, case.bill, running=True)


def test_a_soft_budget_may_be_overspent() -> None:
    """It only warns."""
    case = Case(budgets=[replace(budget(1), hard=False)])
    assert list(breaches(case.books)) == []


def test_calls_are_joined_by_id_before_order() -> None:
    """Of three attempts the answered one has the provider's id; of the others the one never sent is left over."""
    rows: list[LedgerRow] = [
        attempt("1", exchange_id="req_1", outcome="provider_unreachable", usage=Usage(), cost=0, upstream_id=""),
        attempt("2", exchange_id="req_1", outcome="provider_bad_answer", estimated=True, upstream_id=""),
        attempt("3", exchange_id="req_1"),
        exchange("1", attempts=3, cost_nano=2 * COST, baseline_nano=COST),
        ShareRow(attempt_id="att_2", exchange_id="req_1", amount_nano=COST, lever="direct"),
        ShareRow(attempt_id="att_3", exchange_id="req_1", amount_nano=COST, lever="direct"),
    ]
    cut = BilledCall("up-2", "mk-1", "stops", prompt=10, output=5, why="broken")
    answered = BilledCall("up-3", "mk-1", "stops", prompt=10, output=5, why="complete")
    figures = check_money(Books(rows, bill=[answered, cut]))
    assert (figures.exact, figures.estimated, figures.largest_nano) == (1, 1, 0)


def lost(_rows: object, reason: str) -> None:
    """Nothing may be."""
    pytest.fail(reason)


async def test_a_store_is_read_by_its_columns(tmp_path: Path) -> None:
    """What the store holds is what was written, and the file is whole."""
    path = tmp_path / "store.db"
    clock = SystemClock()
    stores = await open_stores(
        "sqlite:store.db", tmp_path, max_answer_bytes=0, sync="normal", on_lost=lost, clock=clock, currency="CNY"
    )
    rows: list[LedgerRow] = [exchange("1"), attempt("1"), share("1")]
    stores.ledger.append(rows)
    await stores.close()
    assert stored_rows(path) == rows
    assert integrity(path) == "ok"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE attempts SET charged_book_nano = 1")
    assert any("the shares of att_1" in breach for breach in breaches(Books(stored_rows(path))))
