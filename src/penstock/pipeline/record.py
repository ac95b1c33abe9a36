"""record: outermost, so it sees every refusal and the settled cost; one ledger row for every exchange.

Two kinds of refusals, neither of which can have cost anything, may leave no row and are only counted in the metrics,
so that no flood of them fills a disk or memory: those of strangers above ``STRANGER_ROWS_PER_MINUTE`` (anyone who
reaches the port can make them), and all while the ledger cannot be written. Apart from that, whatever
a known key asks leaves its row.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from penstock.core.quota import MinuteWindow
from penstock.core.records import AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.errors import PenstockError, UnknownKey
from penstock.pipeline.accounts import Accounts
from penstock.pipeline.exchange import Exchange, Reply
from penstock.ports import Clock, Ledger
from penstock.wire.sse import Event

STRANGER_ROWS_PER_MINUTE: Final = 10
"""5 MB of ledger a day at most: enough to see who knocks, and when."""


class Meter(Protocol):
    """Who counts what the ledger records."""

    active: int

    def observe(self, row: ExchangeRow, attempts: Sequence[AttemptRow], shares: Sequence[ShareRow]) -> None:
        """Count one exchange."""
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
        row = self._row(exchange)
        if self._is_kept(exchange):
            rows: list[LedgerRow] = [row, *exchange.attempts, *exchange.shares]
            self._ledger.append(rows)
        self._meter.observe(row, exchange.attempts, exchange.shares)

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
        unpriced = any(attempt.charged_book_nano is None for attempt in exchange.attempts)
        exchange.cost_nano = None if unpriced else sum(share.amount_nano for share in exchange.shares)
        baseline = exchange.model.baseline
        if exchange.error is not None:
            exchange.baseline_nano = exchange.cost_nano
            return
        if baseline is None or not exchange.usage.total:
            return
        priced = self._accounts.charge(baseline, exchange.usage, exchange.at)
        exchange.baseline_nano = None if priced is None else priced[0].book_nano

    def _row(self, exchange: Exchange) -> ExchangeRow:
        now = self._clock.monotonic()
        error, principal, asked = exchange.error, exchange.principal, exchange.asked
        first = exchange.first_byte_at
        return ExchangeRow(
            id=exchange.id,
            at=exchange.at,
            endpoint=asked.dialect,
            model=exchange.model.name,
            deployment=exchange.served_by,
            key_id=principal.key_id,
            key_name=principal.name,
            team=principal.team,
            user=exchange.user,
            tags=dict(asked.tags),
            outcome="ok" if error is None else error.kind,
            status=200 if error is None else self._status_of(error),
            cache=exchange.cache,
            streamed=exchange.streamed,
            attempts=len(exchange.attempts),
            usage=exchange.usage,
            estimated=exchange.estimated,
            baseline_nano=exchange.baseline_nano,
            cost_nano=exchange.cost_nano,
            currency=self._accounts.currency,
            duration_s=now - exchange.started,
            first_byte_s=None if first is None else first - exchange.started,
            overhead_s=max(0.0, now - exchange.started - exchange.waited_s),
        )
