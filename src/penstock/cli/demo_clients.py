"""The clients of ``penstock demo --regions``: they ask at a steady rate, whether or not they are answered.

What they saw is all that the report is made of. They do what a plain client does: no retry, no second address.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from penstock.cli.demo_regions_report import CUT, REFUSED, Seen
from penstock.cli.demo_traffic import DIALECT, events_of
from penstock.cli.demo_workload import Ask
from penstock.errors import PenstockError
from penstock.ports.clock import Clock
from penstock.ports.providers import Adapter, Transport, UpstreamCall, UpstreamResponse

OK = 200


@dataclass(slots=True)
class _Answer:
    """What is known of an answer so far."""

    served_by: str = ""
    calls: int = 0
    began_s: float | None = None
    failure: str = ""


@dataclass(slots=True)
class Clients:
    """All clients, and what they saw. Times are seconds since ``since``."""

    transport: Transport
    adapter: Adapter
    clock: Clock
    since: float
    call: Callable[[Ask, str], UpstreamCall]
    """The request that asks a question from a region."""
    region_of: Callable[[str], str]
    """The region of a deployment, by its id."""
    seen: list[Seen] = field(default_factory=list)
    asking: bool = True
    """Whether they go on."""

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return self.clock.monotonic() - self.since

    async def play(self, asks: Iterable[tuple[Ask, str]]) -> None:
        """Ask every question at its instant, while they go on; returns when all that were asked are over."""
        async with asyncio.TaskGroup() as group:
            for ask, home in asks:
                await self.clock.sleep(max(0.0, ask.at_s - self.now_s))
                if not self.asking:
                    return
                group.create_task(self.ask(ask, home))

    async def ask(self, ask: Ask, home: str) -> None:
        """Ask one question, and note what came of it."""
        sent_s, answer = self.now_s, _Answer()
        try:
            await self._answer(self.call(ask, home), answer)
        except PenstockError:
            answer.failure = CUT if answer.began_s is not None else REFUSED
        self.seen.append(
            Seen(
                home=home,
                sent_s=sent_s,
                began_s=answer.began_s,
                ended_s=self.now_s,
                streamed=ask.stream,
                served_by=answer.served_by,
                calls=answer.calls,
                failure=answer.failure,
            )
        )

    async def _answer(self, call: UpstreamCall, answer: _Answer) -> None:
        """Follow an answer to its end. Raises PenstockError when there is none, or it breaks off."""
        response = await self.transport.send(call)
        try:
            answer.served_by = self.region_of(response.headers.get("x-penstock-deployment", ""))
            answer.calls = int(response.headers.get("x-penstock-attempts", "0"))
            if response.status != OK:
                raise self.adapter.refusal(response.status, response.headers, await response.read(2**20))
            await self._read(response, answer)
        finally:
            await response.close()

    async def _read(self, response: UpstreamResponse, answer: _Answer) -> None:
        for event in await events_of(_Watched(response, self, answer)):
            body = event.json
            error = self.adapter.error_inside(DIALECT, body) if isinstance(body, dict) else None
            if error is not None:
                raise error


class _Watched:
    """A response whose first byte is noted."""

    def __init__(self, response: UpstreamResponse, clients: Clients, answer: _Answer) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._clients = clients
        self._answer = answer

    async def read(self, limit: int) -> bytes:
        """The rest of the body."""
        return self._note(await self._response.read(limit))

    async def next(self) -> bytes:
        """The next read."""
        return self._note(await self._response.next())

    async def close(self) -> None:
        """Release the connection."""
        await self._response.close()

    def _note(self, data: bytes) -> bytes:
        if self._answer.began_s is None:
            self._answer.began_s = self._clients.now_s
        return data
