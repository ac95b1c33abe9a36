"""A node that does what it is told, a line at a time, and says what came of it: run with another version of Penstock.

``write N``: exchange N, ended. ``open N``: only begun. ``count``: how many have ended. ``key NAME``: a new key.
``keys``: their names. ``version``: the last migration that it knows.
"""

import asyncio
import sys
from pathlib import Path

from penstock.core.records import OPEN
from penstock.errors import LeaseEnded
from penstock.stores.new_key import new_key
from penstock.stores.queries import load_migrations
from tests.contract.stores.postgres_nodes import Node, node
from tests.support.ledger_rows import attempt_row, exchange_row, rows_of


async def _do(made: Node, order: str, what: str) -> object:
    if order == "version":
        return load_migrations("postgres/migrations")[-1][0]
    if order == "write":
        made.ledger.append(rows_of(int(what)))
        await made.ledger.flush()
        await made.ledger.settled()
    elif order == "open":
        id_ = f"ex_{int(what):06}"
        made.ledger.append([exchange_row(id_, outcome=OPEN), attempt_row(f"at_{what}", id_, outcome=OPEN)])
        await made.ledger.flush()
    elif order == "key":
        await made.stores.keys.add(new_key(what, id_=what, digest=str, now=1.0)[1])
    elif order == "keys":
        return sorted(key.name for key in await made.stores.keys.list())
    return await made.requests()


async def main(url: str, directory: Path) -> None:
    """Until nobody tells it anything more."""
    async with node(url, directory) as made:
        await made.begin("old")
        while line := await asyncio.to_thread(sys.stdin.readline):
            order, _, what = line.strip().partition(" ")
            try:
                said = await _do(made, order, what)
            except LeaseEnded:
                said = "its lease has ended"
            sys.stdout.write(f"{said}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
