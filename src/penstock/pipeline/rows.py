"""An exchange as the rows that the ledger keeps of it: one when its first call is held, one when it has ended."""

from penstock.core.records import OPEN, ExchangeRow
from penstock.pipeline.exchange import Exchange


def opening_row(exchange: Exchange, currency: str, owner: str) -> ExchangeRow:
    """What is known before its first call. ``currency``: the book's; ``owner``: the process that serves it."""
    principal, asked = exchange.principal, exchange.asked
    return ExchangeRow(
        id=exchange.id,
        at=exchange.at,
        endpoint=asked.dialect,
        model=exchange.requested.name,
        key_id=principal.key_id,
        key_name=principal.name,
        team=principal.team,
        user=exchange.user,
        tags=dict(asked.tags),
        outcome=OPEN,
        status=0,
        cache=exchange.cache,
        currency=currency,
        degraded=",".join(exchange.degraded),
        duration_s=0.0,
        owner=owner,
        parent=_parent(exchange),
    )


def exchange_row(exchange: Exchange, currency: str, *, outcome: str, status: int, now: float) -> ExchangeRow:
    """How it ended. ``currency``: the book's; ``now``: monotonic time of its end."""
    principal, asked, first = exchange.principal, exchange.asked, exchange.first_byte_at
    duration_s = now - exchange.started
    return ExchangeRow(
        id=exchange.id,
        at=exchange.at,
        endpoint=asked.dialect,
        model=exchange.requested.name,
        deployment=exchange.served_by,
        key_id=principal.key_id,
        key_name=principal.name,
        team=principal.team,
        user=exchange.user,
        tags=dict(asked.tags),
        outcome=outcome,
        status=status,
        cache=exchange.cache,
        streamed=exchange.streamed,
        attempts=len(exchange.attempts),
        usage=exchange.usage,
        estimated=exchange.estimated,
        baseline_nano=exchange.baseline_nano,
        cost_nano=exchange.cost_nano,
        currency=currency,
        degraded=",".join(exchange.degraded),
        avoided_nano=exchange.avoided_nano,
        duration_s=duration_s,
        first_byte_s=None if first is None else first - exchange.started,
        overhead_s=max(0.0, duration_s - exchange.waited_s),
        parent=_parent(exchange),
    )


def _parent(exchange: Exchange) -> str:
    """Its id at the edge that it came through, where that is believed."""
    passed = exchange.asked.passed
    return passed.parent if passed is not None and exchange.principal.edge_id else ""
