"""Nodes on one PostgreSQL: stores that are opened beside each other, each with a directory of its own.

An older version runs this too (``old_node.py``): it imports nothing that such a one has elsewhere.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from penstock.clock import SystemClock
from penstock.core.records import LedgerRow
from penstock.stores.open import open_stores
from penstock.stores.postgres_ledger import PostgresLedger

if TYPE_CHECKING:
    from penstock.ports.leases import Leases
    from penstock.ports.ledger import SpendQuery
    from penstock.ports.stores import Stores

EVERYTHING = cast("SpendQuery", SimpleNamespace(by="model", since=0, until=1e12, timezone="UTC"))


class Node:
    """One of them. ``lost`` gets what it gives up."""

    def __init__(self, stores: "Stores", lost: list[tuple[Sequence[LedgerRow], str]]) -> None:
        assert isinstance(stores.ledger, PostgresLedger)
        assert stores.leases is not None
        self.stores = stores
        self.ledger: PostgresLedger = stores.ledger
        self.leases: Leases = stores.leases
        self.lost = lost

    async def begin(self, name: str = "n") -> int:
        """A lease, which it writes under from now on."""
        self.ledger.lease = await self.leases.begin(name)
        return self.ledger.lease

    async def requests(self) -> int:
        """How many exchanges have ended."""
        _, total = await self.stores.reader.spend(EVERYTHING)
        return total.requests


@asynccontextmanager
async def node(url: str, directory: Path, **more: Any) -> AsyncIterator[Node]:
    """Open until the block ends."""
    directory.mkdir(exist_ok=True)  # noqa: ASYNC240 - a moment of a test
    lost: list[tuple[Sequence[LedgerRow], str]] = []
    stores = await open_stores(
        url,
        directory,
        max_answer_bytes=1 << 20,
        sync="normal",
        on_lost=lambda rows, reason: lost.append((rows, reason)),
        clock=SystemClock(),
        **more,
    )
    try:
        yield Node(stores, lost)
    finally:
        await stores.close()
