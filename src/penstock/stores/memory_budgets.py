"""Budgets that were set while running, in a dict."""

from collections.abc import Sequence

from penstock.ports.budgets import BudgetRecord


class MemoryBudgets:
    """The port BudgetStore over a dict."""

    def __init__(self) -> None:
        self._records: dict[str, BudgetRecord] = {}
        self._version = 0

    async def list(self) -> Sequence[BudgetRecord]:
        """All of them, by name."""
        return [self._records[name] for name in sorted(self._records)]

    async def put(self, record: BudgetRecord) -> None:
        """Store it in the place of what had its name."""
        self._records[record.name] = record
        self._version += 1

    async def delete(self, name: str) -> bool:
        """Forget the record of that name; False when there is none."""
        found = self._records.pop(name, None) is not None
        self._version += found
        return found

    async def version(self) -> int:
        """A number that grows with every write."""
        return self._version
