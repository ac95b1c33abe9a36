"""Any interleaving of askers, leavers, failures and time: at the end nothing is held and the ledger adds up."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import looptime
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.core.usage import Usage
from penstock.providers.play import Pause
from penstock.providers.scripted import Scripted
from tests.support.asgi_client import Asking
from tests.support.house import END_S, House, chat, message, open_house

USAGE = Usage(input_miss=9, input_hit=2, output=6, reasoning=1)
PIECES = ("a", "b", "c")
REPLIES: dict[str, Callable[[Scripted], object]] = {
    "at once": lambda upstream: upstream.stream(PIECES, usage=USAGE),
    "slowly": lambda upstream: upstream.stream(PIECES, usage=USAGE, after_s=2, gap_s=1),
    "without usage": lambda upstream: upstream.stream(PIECES, usage=None, after_s=1, gap_s=0.5),
    "after the keep-alive": lambda upstream: upstream.stream(PIECES, usage=USAGE, after_s=16),
    "busy": lambda upstream: upstream.raw(Pause(1), status=503),
    "refused": lambda upstream: upstream.fail(400),
    "account": lambda upstream: upstream.raw(Pause(0.5), status=402),
    "unreachable": lambda upstream: upstream.refuse(),
    "reset": lambda upstream: upstream.reset(PIECES[:2], gap_s=1),
    "cut": lambda upstream: upstream.cut(PIECES[:2], gap_s=1),
    "silent": lambda upstream: upstream.hang("headers"),
    "stuck": lambda upstream: upstream.hang("chunk"),
    "no capacity": lambda upstream: upstream.reply("", finish="insufficient_system_resource", usage=USAGE),
}
"""What the provider may do next."""
BODIES = st.builds(
    lambda make, text, model, stream, extra: make(text, model=model, stream=stream, **extra),
    make=st.sampled_from([chat, chat, message]),
    text=st.sampled_from(["x", "x", "x", "y"]),
    model=st.sampled_from(["m", "stopping", "duo", "folded", "none"]),
    stream=st.booleans(),
    extra=st.sampled_from([{}, {}, {}, {"n": 2}, {"user": "u"}]),
)
NO_CACHE, NO_STORE, ONCE = {"cache-control": "no-cache"}, {"cache-control": "no-store"}, {"idempotency-key": "k"}
HEADERS: st.SearchStrategy[dict[str, str]] = st.sampled_from([{}, {}, {}, {}, {}, NO_CACHE, NO_STORE, ONCE, ONCE])
CONFIG: dict[str, Any] = {
    "timeouts": {"first_byte": "20s", "between": "5s", "total": "60s"},
    "limits": {"max_concurrency": 3, "max_queue": 2},
}


@dataclass
class Client:
    """An asker and what may still happen to it."""

    asking: Asking
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


class Interleavings(RuleBasedStateMachine):
    """One house; every rule is something the outside world may do at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(end=END_S))
        self.clients: list[Client] = []
        self.house: House

    @initialize()
    def open(self) -> None:
        """Build it."""
        self.opened = open_house(**CONFIG)
        self.house = self.run(self.opened.__aenter__())

    def run(self, coroutine: Any) -> Any:
        """One step on the loop of virtual time."""
        return self.runner.run(coroutine)

    @rule(how=st.sampled_from(sorted(REPLIES)))
    def provider(self, how: str) -> None:
        """What the next call will get."""
        REPLIES[how](self.house.upstream)

    @rule(body=BODIES, headers=HEADERS, number=st.integers(1, 3))
    def ask(self, body: dict[str, Any], headers: dict[str, str], number: int) -> None:
        """One or a few identical requests."""

        async def begin() -> None:
            for _ in range(number):
                self.clients.append(Client(self.house.ask(body, headers=headers), body, headers))
            await asyncio.sleep(0)

        self.run(begin())

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), how=st.sampled_from(["leave", "leave", "pause", "resume", "cancel"]))
    def client(self, data: st.DataObject, how: str) -> None:
        """One of them leaves, dawdles, comes back, or is cancelled by a shutdown."""
        client = data.draw(st.sampled_from(self.clients))

        async def act() -> None:
            if how == "cancel":
                client.asking.task.cancel()
                self.clients.remove(client)
                self.house.asked.remove(client.asking)
                await asyncio.wait([client.asking.task])
            else:
                getattr(client.asking, how)()

        self.run(act())

    @rule(seconds=st.sampled_from([0.0, 0.4, 1.0, 3.0, 7.0, 20.0]))
    def time(self, seconds: float) -> None:
        """Passes."""
        self.run(asyncio.sleep(seconds))

    @invariant()
    def slots_are_within_their_bounds(self) -> None:
        """At every moment."""
        gate = self.house.gateway.standing.gate
        assert 0 <= gate.active <= 3
        assert gate.waiting <= 2
        assert not gate.waiting or gate.active == 3

    def teardown(self) -> None:
        """Let everybody read to the end; ``open_house`` checks that nothing is left and the ledger adds up."""
        try:
            for client in self.clients:
                client.asking.resume()
            self.run(self.opened.__aexit__(None, None, None))
            for client in self.clients:
                self._check_answer(client)
        finally:
            self.runner.close()

    def _check_answer(self, client: Client) -> None:
        """Complete, or its client left; a 200 says the whole answer or an error event."""
        asking = client.asking
        assert asking.complete or asking.gone
        if asking.status != 200 or not asking.complete:
            return
        streamed = asking.headers["content-type"].startswith("text/event-stream")
        assert streamed == bool(client.body.get("stream"))
        failed = streamed and (b'"error":' in asking.body or b"insufficient_system_resource" in asking.body)
        assert failed or asking.text in {"abc", "hello"}


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=30)
