"""The clients of ``penstock demo --regions`` in virtual time: what they note of answers, good and bad."""

import asyncio
from collections.abc import Sequence

import pytest

from penstock.cli.demo_clients import Clients
from penstock.cli.demo_regions_report import CUT, REFUSED, Seen
from penstock.cli.demo_workload import Ask
from penstock.clock import LoopClock
from penstock.config.load import load
from penstock.errors import BadAnswer, Unreachable
from penstock.ports.providers import UpstreamCall, UpstreamResponse
from penstock.providers.play import JSON, SSE, Pause, Play, Step, perform
from penstock.providers.registry import KINDS, adapter

PIECE = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
MISTAKE = b'data: {"error": {"message": "cut", "code": "bad_answer"}}\n\n'
WHERE = {"x-penstock-deployment": "near-1/m", "x-penstock-attempts": "2"}


class Playing:
    """A gateway that plays one reply again and again."""

    def __init__(self, steps: Sequence[Step], status: int = 200, before: Sequence[Step] = (), *, stream: bool) -> None:
        self._play = Play(steps, status, {**(SSE if stream else JSON), **WHERE}, before)
        self._clock = LoopClock(0.0)

    async def send(self, _call: UpstreamCall) -> UpstreamResponse:
        """The reply."""
        return await perform(self._play, self._clock)

    async def close(self) -> None:
        """Nothing is open."""


def clients(gateway: Playing) -> Clients:
    """They ask that gateway."""
    provider = load(None, {}, registry=KINDS).providers["sim"]
    clock = LoopClock(0.0)

    def call(ask: Ask, _home: str) -> UpstreamCall:
        return UpstreamCall(provider, "POST", "/v1/chat/completions", {}, b"{}", ask.stream, 1.0)

    return Clients(gateway, adapter("openai"), clock, clock.monotonic(), call, {"near-1/m": "near"}.get)  # type: ignore[arg-type] # both are named here


def ask(at_s: float = 0.0, *, stream: bool = True) -> Ask:
    """Any question."""
    return Ask(at_s, "en", "", "?", "c", stream=stream, repeats=False)


async def noted(gateway: Playing, *, stream: bool = True) -> Seen:
    """What a client notes of that reply."""
    asking = clients(gateway)
    await asking.ask(ask(stream=stream), "near")
    (seen,) = asking.seen
    return seen


@pytest.mark.looptime
async def test_a_stream_is_noted_from_its_first_byte() -> None:
    """When it began, when it ended, who answered at which call."""
    seen = await noted(Playing((PIECE, Pause(2.0), b"data: [DONE]\n\n"), before=(Pause(0.5),), stream=True))
    assert (seen.served_by, seen.calls, seen.failure) == ("near", 2, "")
    assert [seen.first_byte_s, seen.ended_s - seen.sent_s] == pytest.approx([0.5, 2.5])


@pytest.mark.looptime
@pytest.mark.parametrize("end", [BadAnswer("cut"), MISTAKE])
async def test_an_answer_that_breaks_off_is_cut(end: Step) -> None:
    """Whether the connection breaks or the gateway says it in the stream."""
    assert (await noted(Playing((PIECE, Pause(1.0), end), stream=True))).failure == CUT


@pytest.mark.looptime
async def test_an_answer_that_never_began_is_refused() -> None:
    """An error status, or no connection."""
    assert (await noted(Playing((b"{}",), 503, stream=False))).failure == REFUSED
    assert (await noted(Playing((), before=(Unreachable("gone"),), stream=True))).failure == REFUSED


@pytest.mark.looptime
async def test_a_whole_answer_begins_when_it_is_there() -> None:
    """It has no first byte of its own to wait for."""
    seen = await noted(Playing((b"{}",), before=(Pause(1.5),), stream=False), stream=False)
    assert seen.first_byte_s is None
    assert seen.began_s == pytest.approx(seen.sent_s + 1.5)


@pytest.mark.looptime
async def test_they_ask_at_their_instants_until_they_stop() -> None:
    """Whether or not those before are answered; what is under way is waited for."""
    asking = clients(Playing((b"{}",), before=(Pause(10.0),), stream=False))
    playing = asyncio.create_task(asking.play((ask(at_s), "near") for at_s in (0.0, 1.0, 2.0, 3.0)))
    await asyncio.sleep(2.5)
    asking.asking = False
    await playing
    assert [seen.sent_s for seen in asking.seen] == [pytest.approx(at_s) for at_s in (0.0, 1.0, 2.0)]
    assert asking.seen[-1].ended_s == pytest.approx(12.0)
