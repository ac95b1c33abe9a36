"""The scripted provider: plays replies, faults and delays in order, and keeps what it was asked. A shipped fake.

    upstream = Scripted(clock).fail(503, retry_after=1).reply("hi", usage=Usage(input_miss=7, output=1))
    upstream.at("own").stream(["a", "b"], gap_s=0.5)      # a script of its own for the provider named ``own``
    ...
    assert [call.json["model"] for call in upstream.calls] == ["deepseek-flash", "deepseek-flash", "qwen3-8b"]

A reply takes the form the call asks for: its dialect (by the URL), whole or streamed (by ``stream``), with a usage
chunk only where ``stream_options.include_usage`` asks for one. When the script is exhausted the fallback answers.
What cannot be said in these words is played step by step (``raw``, ``call``; the steps stand in ``play.py``).
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import msgspec

from penstock.core.usage import Usage
from penstock.errors import BadAnswer, Reach, Unreachable, UpstreamError
from penstock.ports.clock import Clock
from penstock.ports.providers import UpstreamCall, UpstreamResponse
from penstock.providers.answers import DONE, KEEP_ALIVE, Answer, dialect_of, error_body, events, sse, whole
from penstock.providers.play import JSON, SILENCE, SSE, Pause, Play, Step, perform

_encode = msgspec.json.Encoder().encode

ANSWERED: Final = Usage(input_miss=10, output=5)
"""What a reply uses unless it says otherwise."""
_BEFORE_TEXT: Final = {"chat": 1, "messages": 2}
"""How many events come before the first piece of text."""


Scene = Callable[["Asked"], Play]
"""What makes a reply of a call."""


@dataclass(slots=True)
class Asked:
    """One call as the scripted provider saw it. ``ended`` says how: ``open read closed broken left``."""

    call: UpstreamCall
    at: float
    """Monotonic seconds."""
    ended: str = "open"
    ended_at: float | None = None
    _json: Any = None

    @property
    def json(self) -> Any:
        """The decoded request body."""
        if self._json is None and self.call.body:
            self._json = msgspec.json.decode(self.call.body)
        return self._json

    @property
    def dialect(self) -> str:
        """The dialect, by the URL."""
        return dialect_of(self.call.url)

    @property
    def streamed(self) -> bool:
        """Whether the body asks for a stream."""
        return isinstance(self.json, dict) and self.json.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Whether the stream is to end with a usage chunk."""
        options = self.json.get("stream_options") if isinstance(self.json, dict) else None
        return isinstance(options, dict) and options.get("include_usage") is True


class Script:
    """A queue of replies with words to fill it; every word returns the script, so that words chain."""

    def __init__(self) -> None:
        self._scenes: deque[Scene] = deque()
        self._fallback: Scene = _greet

    def reply(
        self, text: str = "hello", *, usage: Usage | None = ANSWERED, after_s: float = 0.0, **answer: Any
    ) -> Self:
        """Say ``text`` in one piece; ``answer`` sets further fields of ``Answer`` (finish, reasoning, tool_calls)."""
        return self.stream((text,), usage=usage, after_s=after_s, **answer)

    def stream(
        self,
        pieces: Iterable[str],
        *,
        usage: Usage | None = ANSWERED,
        after_s: float = 0.0,
        gap_s: float = 0.0,
        keep_alives: int = 0,
        **answer: Any,
    ) -> Self:
        """Say the pieces, ``gap_s`` apart when streamed, ``after_s`` before the head and ``keep_alives`` after it."""
        said = Answer(tuple(pieces), usage, **answer)

        def scene(asked: Asked) -> Play:
            play = _say(said, asked, gap_s)
            waits: list[Step] = [KEEP_ALIVE if asked.streamed else b"\n"] * keep_alives
            return replace(play, before=(Pause(after_s),), steps=[*waits, *play.steps])

        return self.call(scene)

    def embed(self, *vectors: Sequence[float], usage: Usage | None = ANSWERED) -> Self:
        """Answer with these vectors, whatever was asked."""
        return self.stream(("",), usage=usage, vectors=vectors)

    def json(self, body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Self:
        """Answer with this value as JSON."""
        return self.raw(_encode(body), status=status, headers={**JSON, **(headers or {})})

    def events(self, *values: Mapping[str, Any] | bytes, done: bool = True) -> Self:
        """Stream these chunks (bytes as they are), one read each; ``done``: end with ``[DONE]``."""
        steps = [value if isinstance(value, bytes) else sse(value) for value in values]
        return self.raw(*steps, *([DONE] if done else []), headers=SSE)

    def raw(self, *steps: Step, status: int = 200, headers: Mapping[str, str] | None = None) -> Self:
        """Play exactly these steps."""
        play = Play(steps, status, dict(JSON if headers is None else headers))
        return self.call(lambda _: play)

    def fail(
        self,
        status: int,
        message: str = "scripted failure",
        *,
        kind: str = "server_error",
        code: str | None = None,
        retry_after: float | str | None = None,
    ) -> Self:
        """Answer with an error status and a body in the dialect's error shape."""
        headers = JSON if retry_after is None else {**JSON, "retry-after": str(retry_after)}

        def scene(asked: Asked) -> Play:
            return Play((error_body(message, kind=kind, code=code, dialect=asked.dialect),), status, headers)

        return self.call(scene)

    def error_inside(self, message: str = "overloaded", *, kind: str = "server_error", code: str | None = None) -> Self:
        """A 200 whose body, or whose first event, is an error."""

        def scene(asked: Asked) -> Play:
            body = error_body(message, kind=kind, code=code, dialect=asked.dialect)
            return Play((b"data: " + body + b"\n\n",), 200, SSE) if asked.streamed else Play((body,), 200, JSON)

        return self.call(scene)

    def refuse(self) -> Self:
        """No connection."""
        return self.call(lambda _: Play(before=(_unreachable(),)))

    def reset(self, pieces: Iterable[str] = (), *, gap_s: float = 0.0, after_s: float = 0.0) -> Self:
        """The connection breaks after these pieces; before the head, ``after_s`` on, when there are none."""
        said = tuple(pieces)
        if not said:
            return self.call(lambda _: Play(before=(Pause(after_s), _closed())))
        return self.call(lambda asked: _part(said, asked, gap_s, _broken()))

    def cut(self, pieces: Iterable[str], *, gap_s: float = 0.0) -> Self:
        """The stream ends cleanly after these pieces: no finish reason, no usage, no ``[DONE]``."""
        said = tuple(pieces)
        return self.call(lambda asked: _part(said, asked, gap_s))

    def hang(self, before: str = "headers", *, after: Iterable[str] = ("a",)) -> Self:
        """Silence for ever: before the ``headers``, the ``first_byte``, or the next ``chunk`` after some pieces."""
        said = tuple(after)
        if before == "headers":
            return self.call(lambda _: Play(before=(SILENCE,)))
        if before == "first_byte":
            return self.call(lambda asked: Play((SILENCE,), headers=SSE if asked.streamed else JSON))
        return self.call(lambda asked: _part(said, asked, 0.0, SILENCE))

    def call(self, scene: Scene) -> Self:
        """Let a function make the reply."""
        self._scenes.append(scene)
        return self

    def times(self, count: int) -> Self:
        """The last reply ``count`` times in all."""
        self._scenes.extend([self._scenes[-1]] * (count - 1))
        return self

    def forever(self) -> Self:
        """The last reply again and again once the others are played: it becomes the fallback."""
        self._fallback = self._scenes.pop()
        return self

    @property
    def left(self) -> int:
        """How many replies have not been played."""
        return len(self._scenes)

    def play(self, asked: Asked) -> Play:
        """The next reply, made for this call."""
        scene = self._scenes.popleft() if self._scenes else self._fallback
        return scene(asked)


class Scripted(Script):
    """The scripted provider: a Transport. ``calls`` is all it was asked, oldest first."""

    def __init__(self, clock: Clock) -> None:
        """``clock``: what pauses pass on."""
        super().__init__()
        self._clock = clock
        self._at: dict[str, Script] = {}
        self.calls: list[Asked] = []
        self.closed = False

    def at(self, provider: str) -> Script:
        """The script of the provider of that name, used instead of the common one once it exists."""
        return self._at.setdefault(provider, Script())

    @property
    def open(self) -> int:
        """How many calls have not ended: each holds a connection."""
        return sum(asked.ended == "open" for asked in self.calls)

    async def send(self, call: UpstreamCall) -> UpstreamResponse:
        """Play the next reply up to its head."""
        asked = Asked(call, self._clock.monotonic())
        self.calls.append(asked)
        play = self._at.get(call.provider.name, self).play(asked)

        def ended(how: str) -> None:
            asked.ended, asked.ended_at = how, self._clock.monotonic()

        return await perform(play, self._clock, ended)

    async def close(self) -> None:
        """Nothing is kept; ``closed`` says that it was called."""
        self.closed = True


def _greet(asked: Asked) -> Play:
    return _say(Answer(usage=ANSWERED), asked, 0.0)


def _unreachable() -> UpstreamError:
    return Unreachable("The provider cannot be reached.", detail="scripted: refused", reach=Reach.NOWHERE)


def _closed() -> UpstreamError:
    return Unreachable("The provider closed the connection.", detail="scripted: reset", reach=Reach.BROKEN)


def _broken() -> UpstreamError:
    return BadAnswer("The provider's answer broke off.", detail="scripted: reset", reach=Reach.BROKEN)


def _say(said: Answer, asked: Asked, gap_s: float) -> Play:
    said = replace(said, base64=isinstance(asked.json, dict) and asked.json.get("encoding_format") == "base64")
    if not asked.streamed:
        return Play((whole(said, asked.dialect),), headers=JSON)
    steps: list[Step] = []
    for event in events(said, asked.dialect, usage=asked.wants_usage):
        steps += [event, Pause(gap_s)]
    return Play(steps, headers=SSE)


def _part(pieces: Sequence[str], asked: Asked, gap_s: float, *then: Step) -> Play:
    """The beginning of an answer up to the last of the pieces, and what comes then."""
    play = _say(Answer(pieces), asked, gap_s)
    if asked.streamed:
        end = _BEFORE_TEXT.get(asked.dialect, 0) + len(pieces)
        return replace(play, steps=[*play.steps[: 2 * end], *then])
    body = play.steps[0]
    return replace(play, steps=[body[: len(body) // 2] if isinstance(body, bytes) else body, *then])
