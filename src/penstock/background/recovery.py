"""What a dead process left open, settled before anything new is spent.

An attempt whose usage was noted is charged that, exactly. One that was cut at a provider that completes is charged its
whole hold: it will be billed to its end. At one that stops it is charged what the journal of its progress says, which
reaches ahead of what was seen; its whole hold where there is no journal. Both are flagged ``estimated``, and never
charged more than was held.
"""

import logging
from collections.abc import Sequence

from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.core.usage import Usage
from penstock.ports.clock import Clock
from penstock.ports.ledger import Ledger

CUT = "gateway_died"
"""The outcome of what was open when its process ended."""

log = logging.getLogger(__name__)


async def recover(ledger: Ledger, clock: Clock, *, spare: str = "") -> int:
    """Settle every open row but those of the process ``spare``; how many attempts that were. Raises StoreError."""
    return await settle_all(
        ledger, clock, [pair for pair in await ledger.open_rows() if not spare or pair[0].owner != spare]
    )


async def settle_all(ledger: Ledger, clock: Clock, left: Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]]) -> int:
    """Settle these; how many attempts that were. Raises StoreError."""
    now = clock.now()
    attempts = sum(_settle(ledger, exchange, found, now) for exchange, found in left)
    if left:
        await ledger.flush()
        log.warning("settled what a process left open", extra={"exchanges": len(left), "attempts": attempts})
    return attempts


def _settle(ledger: Ledger, exchange: ExchangeRow, attempts: Sequence[AttemptRow], now: float) -> int:
    cut = [attempt for attempt in attempts if attempt.outcome == OPEN]
    rows: list[LedgerRow] = []
    for attempt in cut:
        _charge(attempt, now, exchange.currency)
        rows.append(attempt)
        if attempt.charged_book_nano:
            rows.append(_share(attempt))
    if exchange.outcome == OPEN:
        exchange.outcome, exchange.owner = CUT, ""
        exchange.attempts = len(attempts)
        exchange.duration_s = max(0.0, max((attempt.ended_at for attempt in attempts), default=now) - exchange.at)
        charges = [attempt.charged_book_nano for attempt in attempts]
        known = [charge for charge in charges if charge is not None]
        exchange.cost_nano = exchange.baseline_nano = sum(known) if len(known) == len(charges) else None
        rows.append(exchange)
    ledger.append(rows)
    return len(cut)


def _charge(attempt: AttemptRow, now: float, currency: str) -> None:
    noted = attempt.usage.total > 0
    known = noted and not attempt.estimated
    attempt.outcome, attempt.estimated = CUT, not known
    attempt.ended_at = max(now, attempt.started_at)  # the clock may have been set back
    attempt.overrun = known and attempt.outgrew_hold()
    if known or (noted and attempt.stops and not attempt.outgrew_hold()):
        return
    attempt.usage = Usage(input_miss=attempt.held_tokens)
    attempt.charged_nano = attempt.charged_book_nano = attempt.held_nano
    attempt.currency, attempt.fx_rate = currency, "1"


def _share(attempt: AttemptRow) -> ShareRow:
    return ShareRow(
        attempt_id=attempt.id,
        exchange_id=attempt.exchange_id,
        amount_nano=attempt.charged_book_nano or 0,
        lever="direct",
    )
