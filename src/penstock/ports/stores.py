"""What a store URL opens to."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.ports.answers import AnswerCache, Purge
from penstock.ports.budgets import BudgetStore
from penstock.ports.keys import KeyStore
from penstock.ports.leases import Fence, Leader, Leases, Signals, StoreLock
from penstock.ports.ledger import AuditStore, Ledger, LedgerReader
from penstock.ports.results import ResultStore


@dataclass(slots=True)
class Stores:
    """What ``stores/open.py`` makes of a store URL."""

    answers: AnswerCache
    ledger: Ledger
    reader: LedgerReader
    keys: KeyStore
    budgets: BudgetStore
    results: ResultStore
    sweep: Callable[[float], Any]
    """Await it with the time now: forgets expired answers and results."""
    close: Callable[[], Any]
    """Await it: flushes and closes."""
    description: str = ""
    audit: AuditStore | None = None
    """None = what the ledger has is gone with the process."""
    lock: StoreLock | None = None
    """None = no other process can reach it, or any number may."""
    fence: Fence | None = None
    leases: Leases | None = None
    """This and the following: None = only one process writes it."""
    leader: Leader | None = None
    spooled_bytes: Callable[[], int] | None = None
    """How much of the ledger waits on this machine's disk for its server."""
    unwritten_since: Callable[[], float | None] = lambda: None
    """When the oldest row of the ledger was appended that is not in the store, epoch seconds; None = all are."""
    signals: Signals | None = None
    refresh: Callable[[], Awaitable[Sequence[Purge]]] | None = None
    """Await it each second, and when ``purges`` or ``*`` is signalled: forgets what other nodes purged.

    What was purged since the last time, by this node too.
    """
    last_end: Callable[[float], Awaitable[float]] | None = None
    """Until when, epoch seconds, what was stored of answers before then is good at most, whoever stored it."""
