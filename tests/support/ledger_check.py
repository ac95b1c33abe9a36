"""The ledger's invariants, for every test that spends money."""

from collections import Counter
from collections.abc import Iterable

from penstock.core.records import OPEN, AttemptRow, ExchangeRow, LedgerRow, ShareRow
from penstock.core.usage import Usage


def check_ledger(rows: Iterable[LedgerRow]) -> None:
    """Every row stands once and belongs somewhere; amounts add up; usage is disjoint and never negative.

    ``rows``: everything that was appended, in any order, with nothing still in flight.
    """
    rows = _ended(list(rows))
    exchanges = {row.id: row for row in rows if isinstance(row, ExchangeRow)}
    attempts = {row.id: row for row in rows if isinstance(row, AttemptRow)}
    shares = [row for row in rows if isinstance(row, ShareRow)]
    assert len(exchanges) + len(attempts) + len(shares) == len(rows), "an exchange or an attempt has two rows"
    assert max(Counter((share.attempt_id, share.exchange_id) for share in shares).values(), default=1) == 1
    for exchange in exchanges.values():
        _check_exchange(exchange, [share for share in shares if share.exchange_id == exchange.id], attempts)
    for attempt in attempts.values():
        assert attempt.exchange_id in exchanges, f"{attempt.id} belongs to no exchange"
        _check_attempt(attempt, [share for share in shares if share.attempt_id == attempt.id])
    for share in shares:
        assert share.exchange_id in exchanges, "a share of no exchange"
        assert share.attempt_id in attempts, "a share of no attempt"


def _ended(rows: list[LedgerRow]) -> list[LedgerRow]:
    """Without the rows of what was open: each of them has been written over by that of its end."""
    began = {row.id for row in rows if not isinstance(row, ShareRow) and row.outcome == OPEN}
    ended = [row for row in rows if isinstance(row, ShareRow) or row.outcome != OPEN]
    never = began - {row.id for row in ended if not isinstance(row, ShareRow)}
    assert not never, f"still open: {never}"
    return ended


def _check_exchange(exchange: ExchangeRow, shares: list[ShareRow], attempts: dict[str, AttemptRow]) -> None:
    own = [attempt for attempt in attempts.values() if attempt.exchange_id == exchange.id]
    assert exchange.attempts == len(own)
    unpriced = any(attempt.charged_book_nano is None for attempt in own)
    assert exchange.cost_nano == (None if unpriced else sum(share.amount_nano for share in shares))
    assert (exchange.outcome == "ok") == (exchange.status == 200)
    if exchange.outcome != "ok":
        assert exchange.baseline_nano == exchange.cost_nano, "what failed saved nothing"
    served = [attempt for attempt in own if attempt.outcome == "ok"]
    assert len(served) <= 1, "two calls answered one exchange"
    for share in shares:
        _check_share(share, attempts[share.attempt_id])
    assert 0 <= exchange.overhead_s <= exchange.duration_s + 1e-9
    _check_usage(exchange.usage)


def _check_share(share: ShareRow, attempt: AttemptRow) -> None:
    """Who called pays; a hit and a follower pay nothing of another's call."""
    own = attempt.exchange_id == share.exchange_id
    assert own == (share.lever in {"direct", "routing"})
    assert own or (share.lever in {"exact", "joined"} and share.amount_nano == 0)


def _check_attempt(attempt: AttemptRow, shares: list[ShareRow]) -> None:
    assert sum(share.amount_nano for share in shares) == (attempt.charged_book_nano or 0), "shares are not the charge"
    assert (attempt.charged_nano is None) == (attempt.charged_book_nano is None)
    assert attempt.ended_at >= attempt.started_at
    _check_usage(attempt.usage)


def _check_usage(usage: Usage) -> None:
    assert min(usage) >= 0
    assert usage.reasoning <= usage.output
    assert usage.total == usage.prompt + usage.output
