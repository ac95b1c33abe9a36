"""record: outermost, so it sees every refusal and the settled cost; one ledger row for every exchange.

Two kinds of refusals, neither of which can have cost anything, may leave no row and are only counted in the metrics,
so that no flood of them fills a disk or memory: those of strangers above ``STRANGER_ROWS_PER_MINUTE`` (anyone who
reaches the port can make them), and all while the ledger cannot be written. Apart from that, whatever
a known key asks leaves its row.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from penstock.core.bound import asked_cap
from penstock.core.quota import MinuteWindow
from penstock.core.records import AttemptRow, ExchangeRow, ShareRow
from penstock.core.tokens import estimate_request
from penstock.core.usage import Usage
from penstock.errors import BudgetExceeded, PenstockError, UnknownKey
from penstock.pipeline.accounts import Accounts
from penstock.pipeline.exchange import Exchange, Reply
from penstock.pipeline.rows import exchange_row
from penstock.ports.clock import Clock
from penstock.ports.ledger import Ledger
from penstock.wire.sse import Event

STRANGER_ROWS_PER_MINUTE: Final = 10
"""5 MB of ledger a day at most: enough to see who knocks, and when."""


USUAL_OUTPUT: Final = 256
"""Tokens of an answer that was never made, for what its refusal avoided."""


class Meter(Protocol):
    """Who counts what the ledger records."""

    active: int

    def observe(
        self, row: ExchangeRow, attempts: Sequence[AttemptRow], shares: Sequence[ShareRow], trace_id: str
    ) -> None:
        """Count one exchange. ``trace_id``: of its trace, "" = it is not recorded."""
        ...


StatusOf = Callable[[PenstockError], int]
"""The table from errors to the HTTP statuses that clients get."""


class Record:
    """Writes the ledger row and the metrics of every exchange, whatever ended it."""

    def __init__(self, clock: Clock, ledger: Ledger, meter: Meter, accounts: Accounts, status_of: StatusOf) -> None:
        self._clock = clock
        self._ledger = ledger
        self._meter = meter
        self._accounts = accounts
        self._status_of = status_of
        self._strangers = MinuteWindow(STRANGER_ROWS_PER_MINUTE)

    async def enter(self, _exchange: Exchange) -> Reply | None:
        """Count it as active."""
        self._meter.active += 1
        return None

    def tap(self, exchange: Exchange, event: Event) -> Event:
        """Note when the first data leaves."""
        if exchange.first_byte_at is None and event.data is not None:
            exchange.first_byte_at = self._clock.monotonic()
        return event

    def leave(self, exchange: Exchange) -> None:
        """Sum up, append, count."""
        self._meter.active -= 1
        self._sum_up(exchange)
        error, now = exchange.error, self._clock.monotonic()
        outcome, status = ("ok", 200) if error is None else (error.kind, self._status_of(error))
        row = exchange_row(exchange, self._accounts.currency, outcome=outcome, status=status, now=now)
        if self._is_kept(exchange):
            made = [attempt.id for attempt in exchange.attempts]  # their shares stand beside them already
            self._ledger.append([row, *[share for share in exchange.shares if share.attempt_id not in made]])
        exchange.row = row
        self._meter.observe(row, exchange.attempts, exchange.shares, exchange.trace_id)

    def _is_kept(self, exchange: Exchange) -> bool:
        """Whatever is no mere refusal; and that too, while there is room for it."""
        if exchange.error is None or exchange.attempts or exchange.shares:
            return True
        if not self._ledger.healthy:
            return False
        return not isinstance(exchange.error, UnknownKey) or not self._strangers.take(self._clock.monotonic(), 1)

    def _sum_up(self, exchange: Exchange) -> None:
        """Cost = its shares; baseline = its usage straight at the model's baseline deployment, priced at arrival.

        A failed exchange saved nothing: its baseline is what it cost.
        """
        unpriced = None in [attempt.charged_book_nano for attempt in exchange.attempts]
        exchange.cost_nano = None if unpriced else sum([share.amount_nano for share in exchange.shares])
        baseline = exchange.requested.baseline
        if exchange.error is not None:
            exchange.baseline_nano = exchange.cost_nano
            if isinstance(exchange.error, BudgetExceeded):
                exchange.avoided_nano = self._avoided(exchange)
            return
        if baseline is None or not exchange.usage.total or exchange.told is not None:
            return  # what a centre answered now costs and saves there, and would count twice here
        priced = self._accounts.worth(baseline, exchange.usage, exchange.at)
        exchange.baseline_nano = None if priced is None else priced[0].book_nano

    def _avoided(self, exchange: Exchange) -> int | None:
        """What a request that a budget refused would likely have cost: its prompt, and no more output than is usual."""
        baseline = exchange.requested.baseline
        if baseline is None:
            return 0
        asked = asked_cap(exchange.fields)
        output = USUAL_OUTPUT if asked is None else min(asked, USUAL_OUTPUT)
        usage = Usage(input_miss=estimate_request(exchange.asked.dialect, exchange.fields), output=output)
        priced = self._accounts.worth(baseline, usage, exchange.at)
        return None if priced is None else priced[0].book_nano
