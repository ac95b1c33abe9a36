"""What a factory of stores is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.core.records import LedgerRow
from penstock.ports.clock import Clock


@dataclass(frozen=True, slots=True)
class Wanted:
    """As ``stores/open.open_stores`` says."""

    url: str
    directory: Path
    max_answer_bytes: int
    sync: str
    on_lost: Callable[[Sequence[LedgerRow], str], None]
    clock: Clock
    currency: str | None
    inherited: int | None
    retention_s: float | None
    spool: Path
    sole: bool = False
    """No other server may use it, where several could."""
    succeeds: bool = False
    """But the one before this one, while it ends."""
