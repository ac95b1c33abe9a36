"""How a deployment of the load provider behaves, and what it counts."""

import asyncio
import random
from collections import Counter
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import lru_cache
from typing import Final, Literal

import msgspec

from penstock.core.usage import Usage
from penstock.providers.answers import Answer, error_body, events, whole

PROMPT_TOKENS: Final = 16
WORD: Final = "word "
SEED: Final = 20261122


class Manner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it does with a request, in this order: refuse, wait for a worker, wait, say."""

    concurrency: int = 0
    """At most so many at once; 429 to who comes beyond. 0 = no limit."""
    status: int = 200
    share: float = 1.0
    """Of the requests that get ``status``."""
    retry_after_s: float | None = None
    """Of refusals."""
    workers: int = 0
    """So many are served at once, the others wait; 0 = no limit."""
    service_s: float = 0.0
    """How long a worker is taken."""
    spread: float = 0.0
    """Of that time, up to so much of it less or more, by chance."""
    latency_s: float = 0.0
    """Until the first byte of the answer; of a stream: of its first event."""
    head_s: float | None = None
    """Of a stream: until its head, where that is earlier."""
    keep_alive_s: float = 0.0
    """A comment every so often while a stream waits, from its head on; 0 = none."""
    words: int = 8
    gap_s: float = 0.0
    """Before each word of a stream but the first."""
    says: Literal["answer", "error", "empty", "blank"] = "answer"
    """``error``: a 200 that holds one; ``empty``: no text; ``blank``: no byte of a body."""
    framed: bool = True
    """Otherwise an answer ends with its connection."""
    stops: bool = True
    """Work ends when its client leaves."""


class Counts(msgspec.Struct):
    """What it was asked and gave."""

    calls: int = 0
    ok: int = 0
    """Answers said to their end."""
    refused: dict[int, int] = {}
    """By status."""
    left: int = 0
    """Clients that went before the end."""
    now: int = 0
    most: int = 0
    """At once."""


class Deployment:
    """One of them: its manner, its workers, its counts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.manner = Manner()
        self._calls = self._ok = self._left = self._now = self._most = 0
        self._refused: Counter[int] = Counter()
        self._chance = random.Random(f"{SEED} {name}")  # noqa: S311 - chance, no secret
        self._workers: AbstractAsyncContextManager[object] = nullcontext()

    @property
    def counts(self) -> Counts:
        """So far."""
        return Counts(self._calls, self._ok, dict(self._refused), self._left, self._now, self._most)

    def adopt(self, manner: Manner) -> None:
        """From now on so, with workers that are all free."""
        self.manner = manner
        self._workers = asyncio.Semaphore(manner.workers) if manner.workers else nullcontext()

    def forget(self) -> None:
        """Count anew."""
        self._calls = self._ok = self._left = 0
        self._most = self._now
        self._refused.clear()

    # --- for its calls

    @property
    def worker(self) -> AbstractAsyncContextManager[object]:
        """Whom to wait for."""
        return self._workers

    def service_s(self) -> float:
        """How long a worker is taken by the next call."""
        manner = self.manner
        return manner.service_s * (1 + manner.spread * (2 * self._chance.random() - 1))

    def begin(self) -> int:
        """One more call; the status it gets."""
        manner = self.manner
        self._calls += 1
        self._now += 1
        if manner.concurrency and self._now > manner.concurrency:
            return 429
        self._most = max(self._most, self._now)
        if manner.status != 200 and self._chance.random() < manner.share:
            return manner.status
        return 200

    def end(self, status: int, *, left: bool) -> None:
        """It is over."""
        self._now -= 1
        self._left += left
        if status != 200:
            self._refused[status] += 1
        elif not left:
            self._ok += 1


@lru_cache(1024)
def whole_body(name: str, says: str, words: int) -> bytes:
    """Of a whole answer."""
    if says == "blank":
        return b""
    if says == "error":
        return error_body("scripted: not now", kind="server_error", code="overloaded")
    return whole(_answer(name, says, words), "chat")


@lru_cache(1024)
def stream_events(name: str, says: str, words: int, *, usage: bool) -> tuple[bytes, list[bytes], bytes]:
    """The first events, one for every further word, and the last ones."""
    if says == "blank":
        return b"", [], b""
    if says == "error":
        return b"data: " + error_body("scripted: not now", kind="server_error", code="overloaded") + b"\n\n", [], b""
    made = events(_answer(name, says, words), "chat", usage=usage)
    count = 0 if says == "empty" else words
    return b"".join(made[: min(count, 1) + 1]), made[2 : count + 1], b"".join(made[count + 1 :])


def _answer(name: str, says: str, words: int) -> Answer:
    count = 0 if says == "empty" else words
    return Answer((WORD,) * count, Usage(PROMPT_TOKENS, output=count), model=name)
