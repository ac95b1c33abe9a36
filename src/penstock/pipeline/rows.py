"""An exchange as the row that the ledger keeps of it: once when its first call is held, once when it has ended."""

from penstock.core.records import OPEN, ExchangeRow
from penstock.pipeline.exchange import Exchange


def exchange_row(
    exchange: Exchange,
    currency: str,
    *,
    outcome: str = OPEN,
    status: int = 0,
    now: float | None = None,
    owner: str = "",
) -> ExchangeRow:
    """``currency``: the book's. ``now``: monotonic time of its end, None while it is open."""
    principal, asked, first = exchange.principal, exchange.asked, exchange.first_byte_at
    duration_s = 0.0 if now is None else now - exchange.started
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
        owner=owner,
        parent=asked.passed.parent if asked.passed is not None and principal.edge_id else "",
    )
