"""Budgets that operators set beside the config's, and where they are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class BudgetRecord:
    """A budget set by command or admin API; it replaces the config's of the same name, whole or for single values."""

    name: str
    fields: Mapping[str, Any]
    """As a budget in the config file, checked: ``scope limit window timezone hard alerts unlisted entries ladder``."""
    removed: bool = False
    """True: there is no such budget, whatever the config says."""


class BudgetStore(Protocol):
    """Budgets that were set while running."""

    async def list(self) -> Sequence[BudgetRecord]:
        """All of them, by name."""
        ...

    async def put(self, record: BudgetRecord) -> None:
        """Store it in the place of what had its name."""
        ...

    async def delete(self, name: str) -> bool:
        """Forget the record of that name, so that the config's budget holds again; False when there is none."""
        ...

    async def version(self) -> int:
        """A number that changes with every write, by whichever process: cheap to poll."""
        ...
