"""A process to be killed: moves the SQLite store of a directory to PostgreSQL, and prints how far it has come."""

import asyncio
import sys
from pathlib import Path

from penstock.stores import move_source
from penstock.stores.move import move


def tell(part: str, rows: int, total: int) -> None:
    """One more piece."""
    sys.stdout.write(f"{part} {rows} {total}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    move_source.PIECE_ROWS = 7  # type: ignore[misc]  # many pieces, so that it is killed among them
    asyncio.run(move("sqlite:store.db", Path(sys.argv[1]), sys.argv[2], "CNY", "5ec2e7", tell))
