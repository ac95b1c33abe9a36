"""Re-rating: fills in what is unknown, touches nothing that is known, and leaves books that add up."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.pricing import Charge
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.core.rerate import Entry, rerated
from penstock.core.usage import Usage
from tests.support.invariants import check_money
from tests.support.invariants_books import Books
from tests.support.ledger_rows import attempt_row, exchange_row, share_row

PRICE_NANO = 3
usages = st.builds(Usage, st.integers(0, 99), st.integers(0, 99), st.just(0), st.integers(0, 99), st.just(0))


class Known:
    """A price for every call to these deployments, and a baseline of one nano-unit a token."""

    def __init__(self, *deployments: str, baseline: bool = True) -> None:
        self.deployments = deployments
        self.has_baseline = baseline

    def attempt(self, row: AttemptRow, usage: Usage) -> tuple[Charge, str] | None:
        """Three nano-units a token, four for output."""
        if row.deployment not in self.deployments:
            return None
        nano = PRICE_NANO * usage.total + usage.output
        return Charge(nano, "USD", 7 * nano, "7"), "today"

    def baseline(self, row: ExchangeRow) -> int | None:
        """One a token."""
        return row.usage.total if self.has_baseline else None

    def lever(self, exchange: ExchangeRow, attempt: AttemptRow) -> str:
        """Of those of the first deployment."""
        return "direct" if attempt.deployment == "p/a" and exchange.id else "routing"


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """An exchange as the pipeline leaves it: attempts with and without prices, one of them perhaps answering."""
    count = draw(st.integers(0, 3))
    ok = draw(st.booleans())
    attempts = []
    for number in range(count):
        usage = draw(usages)
        priced = draw(st.booleans()) or not usage.total
        nano = 5 * usage.total if priced else None
        attempts.append(
            attempt_row(
                f"at_{number}", "ex", usage=usage, charged_nano=nano, charged_book_nano=nano,
                deployment=draw(st.sampled_from(["p/a", "p/b"])), held_nano=None, held_tokens=1000,
                outcome="ok" if ok and number == count - 1 else "provider_busy",
            )
        )  # fmt: skip
    shares = [share_row(row.id, "ex", row.charged_book_nano or 0) for row in attempts if row.usage.total]
    shares = [share for share, row in zip(shares, [a for a in attempts if a.usage.total], strict=True)
              if row.charged_book_nano is not None]  # fmt: skip
    unknown = any(row.charged_book_nano is None for row in attempts)
    cost = None if unknown else sum(share.amount_nano for share in shares)
    usage = attempts[-1].usage if attempts and ok else Usage()
    baseline = cost if not ok else draw(st.none() | st.just(11))
    exchange = exchange_row(
        "ex", outcome="ok" if ok else "provider_busy", status=200 if ok else 503, attempts=count, usage=usage,
        cost_nano=cost, baseline_nano=baseline,
    )  # fmt: skip
    return Entry(exchange, attempts, shares)


def after(entry: Entry, changed: Entry | None) -> Entry:
    """The rows as they then stand."""
    if changed is None:
        return entry
    new = {row.id: row for row in changed.attempts}
    return Entry(changed.exchange, [new.get(row.id, row) for row in entry.attempts], [*entry.shares, *changed.shares])


@given(entries(), st.sampled_from([(), ("p/a",), ("p/a", "p/b")]), st.booleans())
def test_only_what_is_unknown_changes_and_the_books_add_up(
    entry: Entry,
    known: tuple[str, ...],
    baseline: bool,  # noqa: FBT001 - drawn
) -> None:
    """Charges and baselines that were known are the same objects' values; all invariants hold; twice is once."""
    prices = Known(*known, baseline=baseline)
    changed = rerated(entry, prices)
    then = after(entry, changed)
    for before, now in zip(entry.attempts, then.attempts, strict=True):
        if before.charged_book_nano is not None or before.deployment not in known:
            assert now is before
        else:
            assert now.charged_book_nano == 7 * (PRICE_NANO * before.usage.total + before.usage.output)
            assert (now.usage, now.outcome, now.price_source) == (before.usage, before.outcome, "today")
    assert all(share in then.shares for share in entry.shares)
    if entry.exchange.baseline_nano is not None:
        assert then.exchange.baseline_nano == entry.exchange.baseline_nano
    if all(row.charged_book_nano is not None for row in then.attempts):
        assert then.exchange.cost_nano == sum(share.amount_nano for share in then.shares)
    rows: list[LedgerRow] = [then.exchange, *then.attempts, *then.shares]
    check_money(Books(rows))
    assert rerated(then, prices) is None


def test_a_hold_that_was_charged_whole_costs_what_its_dearest_tokens_do() -> None:
    """Nobody knows how much of it was output: then all of it was."""
    row = attempt_row(
        "at", "ex", outcome="gateway_died", estimated=True, usage=Usage(input_miss=50), held_tokens=50,
        charged_nano=None, charged_book_nano=None, deployment="p/a",
    )  # fmt: skip
    exchange = exchange_row("ex", outcome="gateway_died", status=0, attempts=1, cost_nano=None, baseline_nano=None)
    changed = rerated(Entry(exchange, [row], []), Known("p/a"))
    assert changed is not None
    assert changed.attempts[0].charged_nano == 50 * (PRICE_NANO + 1)
    assert changed.exchange.cost_nano == changed.exchange.baseline_nano == 7 * 200
    assert changed.shares == [ShareRow(attempt_id="at", exchange_id="ex", amount_nano=1400, lever="direct")]


def test_what_is_open_is_left_alone() -> None:
    """Its end will price it."""
    row = attempt_row("at", "ex", outcome=OPEN, charged_nano=None, charged_book_nano=None, deployment="p/a")
    open_ = exchange_row("ex", outcome=OPEN, status=0, attempts=1, cost_nano=None)
    assert rerated(Entry(open_, [row], []), Known("p/a")) is None
    ended = exchange_row("ex", attempts=1, cost_nano=0, baseline_nano=0)
    assert rerated(Entry(ended, [row], []), Known("p/a")) is None
