"""A process to be killed: appends exchanges, and prints after each flush how many are durable."""

import asyncio
import sys
from pathlib import Path

from penstock.clock import SystemClock
from penstock.stores.open import open_stores
from tests.support.ledger_rows import rows_of


async def main(directory: Path, first: int) -> None:
    """Write until killed, from exchange number ``first`` on."""
    stores = await open_stores(
        "sqlite:store.db",
        directory,
        max_answer_bytes=0,
        sync="normal",
        on_lost=lambda _rows, reason: sys.exit(reason),
        clock=SystemClock(),
    )
    number = first
    while True:
        for _ in range(1 + number % 40):
            stores.ledger.append(rows_of(number))
            number += 1
            await asyncio.sleep(0)
        await stores.ledger.flush()
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
