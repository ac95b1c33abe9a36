"""How much of each budget is used, read from the store, whether a server runs or not."""

from collections.abc import Sequence

from penstock.config.budget_records import budgets_in_force
from penstock.config.settings import Settings
from penstock.core.budget import Budget
from penstock.core.budget_report import BudgetStanding, open_holds, standings
from penstock.core.records import AttemptRow, ExchangeRow
from penstock.core.windows import Span
from penstock.ports.ledger import LedgerReader, Posted, PostedQuery
from penstock.stores.open import open_budgets


async def read_budgets(settings: Settings) -> Sequence[Budget]:
    """The budgets that hold: the config's, and those that were set while running. Raises StoreError."""
    async with open_budgets(settings.store, settings.directory, write=False) as store:
        return budgets_in_force(settings, await store.list())


async def read_standings(
    reader: LedgerReader, found: Sequence[Budget], now: float, value: str | None = None
) -> list[BudgetStanding]:
    """Their accounts in the windows of ``now``. ``value``: a scope value that has an account whatever it spent.

    First what is open, then what is posted: what ends between the two is counted twice, never not at all.
    """
    left_open = await reader.open_rows()
    posted = await reader.posted([PostedQuery(budget.scope, *budget.span(now)) for budget in found], excluding=())
    return [
        standing
        for budget, rows in zip(found, posted, strict=True)
        for standing in _standings(budget, budget.span(now), value, left_open, rows)
    ]


def _standings(
    budget: Budget,
    span: Span,
    value: str | None,
    left_open: Sequence[tuple[ExchangeRow, Sequence[AttemptRow]]],
    posted: Sequence[Posted],
) -> list[BudgetStanding]:
    pending = open_holds(budget, span, left_open)
    used = {each.value: each.amount_nano if budget.unit == "money" else each.tokens for each in posted}
    asked_for = {} if value is None or budget.scope == "global" else {value: 0}
    return standings(budget, span, asked_for | {each: amount for each, amount in used.items() if amount}, pending)
