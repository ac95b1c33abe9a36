"""A process to be killed: writes exchanges, and prints after each flush how many are durable.

``ended``: whole ones, some at a time. ``open``: before each a flush of its open rows, as before a call; its end follows
without one.
"""

import asyncio
import sys
from pathlib import Path

from penstock.clock import SystemClock
from penstock.ports.ledger import Ledger
from penstock.stores.open import open_stores
from tests.support.ledger_rows import opened_rows, rows_of


async def main(directory: Path, first: int, how: str) -> None:
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
        number = await WAYS[how](stores.ledger, number)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


async def write_ended(ledger: Ledger, number: int) -> int:
    """A few, of a number that changes; the next one's."""
    for _ in range(1 + number % 40):
        ledger.append(rows_of(number))
        number += 1
        await asyncio.sleep(0)
    await ledger.flush()
    return number


async def write_open(ledger: Ledger, number: int) -> int:
    """One is begun and the one before ended; the next one's number."""
    ledger.append(opened_rows(number))
    await ledger.flush()
    ledger.append(rows_of(number))
    return number + 1


WAYS = {"ended": write_ended, "open": write_open}


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
