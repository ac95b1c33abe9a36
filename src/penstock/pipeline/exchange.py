"""One request through the gateway and its answer: the typed state that the stages share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.config.settings import DeploymentSettings, ModelSettings
from penstock.core.cachekey import CacheDirective
from penstock.core.records import AttemptRow, ShareRow
from penstock.core.routing import Plan
from penstock.core.usage import NO_USAGE, Usage
from penstock.errors import PenstockError
from penstock.wire.fold import Fold
from penstock.wire.sse import Event

Batch = list[Event]
"""The events of one upstream read: one send to the client."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``key_id`` is the tenant; ``anonymous`` in open mode."""

    key_id: str
    name: str
    team: str = ""
    models: tuple[str, ...] = ()
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


ANONYMOUS = Principal("anonymous", "anonymous")


@dataclass(slots=True)
class Asked:
    """What the request's head says, before its body is read."""

    dialect: str
    credential: str = ""
    directive: CacheDirective = field(default_factory=CacheDirective)
    idempotency_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    forward: Mapping[str, str] = field(default_factory=dict)
    """Client headers that go to the provider unchanged."""


@dataclass(slots=True)
class Reply:
    """An answer on its way: whole (``body``) or a stream (``batches``)."""

    status: int
    body: bytes = b""
    batches: AsyncIterator[Batch] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Exchange:
    """One request and its answer. Every stage reads and writes it; nothing else passes between stages."""

    __slots__ = (
        "asked", "at", "attempts", "baseline_nano", "cache", "client_gone", "cost_nano", "deployment", "error",
        "estimated", "fields", "finished", "first_byte_at", "fold", "followers", "id", "key", "model", "plan",
        "principal", "raw", "read_body", "reply", "saved_lever", "shares", "started", "stoppable", "streamed", "task",
        "usage", "waited_s", "wants_stream", "wants_usage", "whole",
    )  # fmt: skip

    def __init__(
        self, exchange_id: str, asked: Asked, read_body: Callable[[], Awaitable[bytes]], at: float, started: float
    ) -> None:
        """``at``: epoch seconds of arrival; ``started``: the same instant on the monotonic clock."""
        self.id = exchange_id
        self.asked = asked
        self.read_body = read_body
        self.at = at
        self.started = started
        self.principal = ANONYMOUS
        # The request, after admit.
        self.raw = b""
        self.fields: dict[str, Any] = {}
        self.model: ModelSettings | None = None
        self.wants_stream = False
        self.wants_usage = False
        # The answer, as far as it has come.
        self.reply: Reply | None = None
        self.error: PenstockError | None = None
        self.finished = False
        self.fold: Fold | None = None
        self.whole: bytes | None = None
        self.streamed = False
        self.first_byte_at: float | None = None
        self.waited_s = 0.0
        # Caching and routing.
        self.key: bytes | None = None
        self.cache = "off"
        self.plan: Plan | None = None
        self.deployment: DeploymentSettings | None = None
        # Money.
        self.attempts: list[AttemptRow] = []
        self.shares: list[ShareRow] = []
        self.usage: Usage = NO_USAGE
        self.estimated = False
        self.baseline_nano: int | None = 0
        self.cost_nano: int | None = 0
        self.saved_lever = ""
        # Who still waits for it.
        self.client_gone = False
        self.followers = 0
        self.stoppable = True
        self.task: asyncio.Task[Any] | None = None
