"""A process to be killed: writes exchanges into PostgreSQL or its spool, and prints how many are durable."""

import asyncio
import sys
from pathlib import Path

from tests.contract.stores.postgres_nodes import node
from tests.support.ledger_rows import rows_of


async def main(url: str, directory: Path, first: int) -> None:
    """Write until killed, from exchange number ``first`` on."""
    async with node(url, directory) as made:
        number = first
        while True:
            for _ in range(1 + number % 40):
                made.ledger.append(rows_of(number))
                number += 1
            await made.ledger.flush()
            sys.stdout.write(f"{number} {made.ledger.spooled_bytes}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
