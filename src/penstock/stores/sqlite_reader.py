"""A thread that only reads, on a connection of its own: WAL lets it look while the writer writes."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from penstock.errors import StoreError
from penstock.stores.sqlite import connect_reading, store_errors

T = TypeVar("T")


class SqliteReader:
    """Asks the store at ``path``; questions wait for each other. Thread and connection begin with the first one."""

    def __init__(self, path: Path, name: str) -> None:
        """``name``: of the thread."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """The answer to ``question``, in one consistent view of the store. Raises StoreError."""
        if self._closed:
            raise StoreError("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)

    async def close(self) -> None:
        """Close the connection and end the thread."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = connect_reading(self._path)
        with store_errors(self._path, "read"):
            self._connection.execute("BEGIN")
            try:
                return question(self._connection)
            finally:
                self._connection.execute("ROLLBACK")

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
