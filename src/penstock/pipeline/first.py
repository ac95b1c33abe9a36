"""The first exchange under an Idempotency-Key, as long as it runs."""

import asyncio

from penstock.ports import StoredResult


class First:
    """What its repeats wait for."""

    __slots__ = ("body_digest", "parts", "result")

    def __init__(self, body_digest: bytes) -> None:
        """``parts``: what was sent so far."""
        self.body_digest = body_digest
        self.parts: list[bytes] = []
        self.result: asyncio.Future[StoredResult | None] = asyncio.get_running_loop().create_future()


Firsts = dict[tuple[str, str], First]
"""Running first exchanges by (tenant, Idempotency-Key); outlives a reload."""
