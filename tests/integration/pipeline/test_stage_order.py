"""The law of the pipeline: what was entered is left, once, in reverse, whatever ends the exchange."""

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BadRequest, ClientGone, PenstockError, Unreachable
from penstock.pipeline.exchange import Asked, Exchange, Reply
from penstock.pipeline.run import Pipeline
from penstock.pipeline.stream import Stream
from penstock.wire.sse import Event, sse
from tests.support.house import in_virtual_time


@dataclass
class Synthetic:
    """A stage that does as it is told, and keeps what was done to it."""

    number: int
    seen: list[str]
    does: str = "go"
    takes_s: float = 0.0
    taps: str = "pass"
    leaves: str = "well"
    batches: int = 0
    ends: str = "well"

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Take time, then answer, refuse, fail or go on."""
        await asyncio.sleep(self.takes_s)
        if self.does == "refuse":
            raise BadRequest(f"refused by {self.number}")
        if self.does == "crash":
            raise RuntimeError(f"crashed in {self.number}")
        self.seen.append(f"+{self.number}")
        if self.does == "answer":
            return Reply(200, body=b"{}")
        if self.does == "stream":
            exchange.stoppable = True
            return Reply(200, batches=self._stream())
        return None

    def tap(self, _exchange: Exchange, event: Event) -> Event | None:
        """Pass, drop, or fail."""
        if self.taps == "crash":
            raise RuntimeError(f"the tap of {self.number}")
        return None if self.taps == "drop" else event

    def leave(self, _exchange: Exchange) -> None:
        """Note it; leaving badly must not keep the others in."""
        self.seen.append(f"-{self.number}")
        if self.leaves == "badly":
            raise RuntimeError(f"the leaving of {self.number}")

    async def _stream(self) -> Stream:
        self.seen.append("open")
        try:
            for number in range(self.batches):
                await asyncio.sleep(1)
                yield [sse(b"%d" % number)]
            if self.ends == "refuse":
                raise Unreachable("the stream broke")
            if self.ends == "crash":
                raise RuntimeError("the stream crashed")
        finally:
            self.seen.append("closed")


@dataclass
class Ending:
    """What the outside does: read to the end, close after some batches, leave or be cancelled at some time."""

    how: str = "read"
    at: float = 0.0
    after: int = 0


@dataclass
class Run:
    """What became of one exchange."""

    seen: list[str] = field(default_factory=list)
    exchange: Exchange | None = None


async def _body() -> bytes:
    return b"{}"


async def drive(stages: list[Synthetic], ending: Ending, run: Run) -> None:
    """One exchange as the data plane runs it."""
    run.exchange = exchange = Exchange("req_1", Asked("chat"), _body, 0.0, 0.0)
    pipeline = Pipeline(stages)

    async def answer() -> None:
        reply = await pipeline.run(exchange)
        if reply is None or reply.batches is None:
            return
        async with aclosing(reply.batches) as batches:
            taken = 0
            if ending.how == "close" and not ending.after:
                await anext(batches, None)
                return
            async for _ in batches:
                taken += 1
                if ending.how == "close" and taken == ending.after:
                    return

    exchange.task = task = asyncio.ensure_future(answer())
    if ending.how in {"leave", "cancel"}:
        await asyncio.sleep(ending.at)
        if ending.how == "leave":
            exchange.client_left()
        else:
            task.cancel()
    with suppress(asyncio.CancelledError):
        await task


STAGES: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        does=st.sampled_from(["go"] * 6 + ["answer", "stream", "refuse", "crash"]),
        takes_s=st.sampled_from([0.0, 0.0, 1.0]),
        taps=st.sampled_from(["pass"] * 6 + ["drop", "crash"]),
        leaves=st.sampled_from(["well"] * 5 + ["badly"]),
        batches=st.integers(0, 3),
        ends=st.sampled_from(["well", "well", "refuse", "crash"]),
    ),
    min_size=1,
    max_size=6,
)
ENDINGS = st.builds(
    Ending,
    how=st.sampled_from(["read", "close", "leave", "cancel"]),
    at=st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.5, 5.5]),
    after=st.integers(0, 2),
)


@given(plans=STAGES, ending=ENDINGS)
def test_what_was_entered_is_left_once_in_reverse(plans: list[dict[str, Any]], ending: Ending) -> None:
    """Answers, refusals, failures of stages, taps and streams, clients that leave, cancellation: one law."""
    run = Run()
    stages = [Synthetic(number, run.seen, **plan) for number, plan in enumerate(plans)]
    in_virtual_time(drive, stages, ending, run)
    entered = [mark[1:] for mark in run.seen if mark.startswith("+")]
    left = [mark[1:] for mark in run.seen if mark.startswith("-")]
    assert entered == [str(number) for number in range(len(entered))]
    assert left == entered[::-1]
    assert run.seen.count("open") == run.seen.count("closed")
    if "open" in run.seen:
        assert run.seen.index("closed") < min(run.seen.index(mark) for mark in run.seen if mark.startswith("-"))


@pytest.mark.parametrize("where", range(4))
@pytest.mark.parametrize(("does", "error"), [("refuse", BadRequest), ("crash", PenstockError)])
def test_a_stage_that_fails_ends_the_exchange_with_its_error(where: int, does: str, error: type) -> None:
    """Only the stages before it are left; a crash is an internal error, its words for the operator only."""
    run = Run()
    stages = [Synthetic(number, run.seen, does=does if number == where else "go") for number in range(4)]
    in_virtual_time(drive, stages, Ending(), run)
    assert run.seen == [f"+{n}" for n in range(where)] + [f"-{n}" for n in reversed(range(where))]
    assert run.exchange is not None
    assert run.exchange.error is not None
    assert type(run.exchange.error) is error
    assert "crashed" not in run.exchange.error.public


def test_who_leaves_while_a_stage_works_is_noted_as_gone() -> None:
    """The exchange is called off where it stands."""
    run = Run()
    stages = [Synthetic(0, run.seen), Synthetic(1, run.seen, takes_s=5)]
    in_virtual_time(drive, stages, Ending("leave", at=1), run)
    assert run.seen == ["+0", "-0"]
    assert run.exchange is not None
    assert isinstance(run.exchange.error, ClientGone)


def test_a_tap_that_fails_ends_the_exchange_as_our_error() -> None:
    """Whole and streamed answers alike; nobody is left standing in a stage."""
    for does in ("answer", "stream"):
        run = Run()
        stages = [Synthetic(0, run.seen, taps="crash"), Synthetic(1, run.seen, does=does, batches=2)]
        in_virtual_time(drive, stages, Ending(), run)
        assert run.seen[-2:] == ["-1", "-0"]
        assert run.exchange is not None
        assert run.exchange.error is not None
        assert run.exchange.error.kind == "internal_error"
