"""The simulated provider: latencies, prefix cache and busy errors like a real one's, answers that say they are not.

For ``penstock demo`` and for a gateway without providers. No socket, no key. Time and chance come only through their
ports: the same seed, clock and calls give the same answers at the same instants. The first byte comes after a
log-normal time plus the prompt's uncached tokens, each further token after a log-normal pace. A provider of the config
may say otherwise (``simulate``): each call goes by what holds when it is made, so a reload makes it sick, and well.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.config.settings import SimulationSettings
from penstock.core.usage import Usage
from penstock.ports.clock import Clock, Rng
from penstock.ports.providers import UpstreamCall, UpstreamResponse
from penstock.providers.answers import Answer, dialect_of, error_body, events, whole
from penstock.providers.play import JSON, SSE, Pause, Play, Step, perform
from penstock.providers.sim_answers import (
    DIMENSIONS,
    MAX_DIMENSIONS,
    answer_text,
    embedded_values,
    pieces_of,
    prompt_text,
    text_of,
    vector_of,
)
from penstock.providers.sim_prefixes import PrefixStore

FIRST_BYTE_S: Final = 0.35
"""The median, without the prompt."""
PREFILL_S: Final = 0.00015
"""Per uncached prompt token."""
TOKEN_S: Final = 0.018
"""The median pace."""
SPREAD: Final = 0.35
"""Sigma of the logarithm of both."""
OVERLOADED: Final = 0.5
"""The share of busy answers that are 503; the others are 429."""
REFUSAL_S: Final = 0.02
"""How soon a busy or broken provider says so."""
_BUSY: Final = "The simulated provider is busy."
_REFUSALS: Final[Mapping[int, tuple[str, str, Mapping[str, str]]]] = {
    429: ("rate_limit_error", _BUSY, {"retry-after": "1"}),
    500: ("server_error", "The simulated provider is broken.", {}),
    503: ("server_error", _BUSY, {"retry-after": "1"}),
}
"""Kind, text and headers, by status."""


class Sim:
    """The simulated provider: a Transport."""

    def __init__(self, clock: Clock, rng: Rng, *, speed: float = 1.0, busy_rate: float = 0.01) -> None:
        """``speed``: how many times quicker than life; ``busy_rate``: the share of calls that get 503 or 429."""
        self._clock = clock
        self._rng = rng
        self._usual = SimulationSettings(speed, busy_rate)
        self._prefixes = PrefixStore()
        self._served = 0

    async def send(self, call: UpstreamCall) -> UpstreamResponse:
        """Answer the call in its dialect, whole or streamed."""
        self._served += 1
        manner = call.provider.simulation or self._usual
        return await perform(self._refuse(call, manner) or self._play(call, manner.speed), self._clock)

    async def close(self) -> None:
        """Nothing is open."""

    def _refuse(self, call: UpstreamCall, manner: SimulationSettings) -> Play | None:
        """Overloaded, or too many at once, or broken: as often as it is that."""
        chance = self._rng.random()
        if chance < manner.busy:
            status = 503 if self._rng.random() < OVERLOADED else 429
        elif chance >= 1 - manner.failing:
            status = 500
        else:
            return None
        kind, text, headers = _REFUSALS[status]
        body = error_body(text, kind=kind, dialect=dialect_of(call.url))
        return Play((body,), status, {**JSON, **headers}, (Pause(REFUSAL_S / manner.speed),))

    def _play(self, call: UpstreamCall, speed: float) -> Play:
        dialect = dialect_of(call.url)
        fields = _fields(call.body)
        if dialect == "embeddings":
            return self._embed(fields, speed)
        prompt = pieces_of(prompt_text(dialect, fields))
        if dialect == "count_tokens":
            return Play((whole(Answer(usage=Usage(input_miss=len(prompt))), dialect),), before=(self._first(0, speed),))
        said = pieces_of(answer_text(dialect, fields))
        told = said[: _cap(fields)]
        hit = self._hit(call, fields, prompt, told)
        n = _choices(fields)
        answer = Answer(
            pieces=told,
            usage=Usage(len(prompt) - hit, hit, 0, len(told) * n),
            model=str(fields.get("model", "")),
            id=f"{'msg' if dialect == 'messages' else 'chatcmpl'}-sim-{self._served:08d}",
            created=int(self._clock.now()),
            finish="stop" if len(told) == len(said) else "length",
            n=n,
        )
        return self._form(dialect, fields, answer, speed)

    def _hit(self, call: UpstreamCall, fields: Mapping[str, Any], prompt: list[str], told: list[str]) -> int:
        """Look the prompt up in the prefix cache and put it there with its answer. ``user_id`` splits the cache."""
        account = f"{call.provider.name}/{fields.get('user_id', '')}"
        now = self._clock.now()
        hit = self._prefixes.hit_tokens(account, prompt, now)
        self._prefixes.store(account, [*prompt, *told], now)
        return hit

    def _form(self, dialect: str, fields: Mapping[str, Any], answer: Answer, speed: float) -> Play:
        """The answer and its pace."""
        first = self._first(answer.usage.input_miss if answer.usage else 0, speed)
        if fields.get("stream") is not True:
            writing_s = sum(self._around(TOKEN_S, speed) for _ in answer.pieces)
            return Play((whole(answer, dialect),), before=(first, Pause(writing_s)))
        options = fields.get("stream_options")
        usage = isinstance(options, dict) and options.get("include_usage") is True
        steps: list[Step] = []
        for event in events(answer, dialect, usage=usage):
            steps += [event, Pause(self._around(TOKEN_S, speed))]
        return Play(steps, headers=SSE, before=(first,))

    def _embed(self, fields: Mapping[str, Any], speed: float) -> Play:
        wanted = fields.get("dimensions")
        dimensions = min(wanted, MAX_DIMENSIONS) if isinstance(wanted, int) and wanted > 0 else DIMENSIONS
        values = embedded_values(fields)
        tokens = sum(len(pieces_of(text_of(value))) for value in values)
        answer = Answer(
            usage=Usage(input_miss=tokens),
            model=str(fields.get("model", "")),
            vectors=[vector_of(value, dimensions) for value in values],
            base64=fields.get("encoding_format") == "base64",
        )
        return Play((whole(answer, "embeddings"),), before=(self._first(tokens, speed),))

    def _first(self, uncached: int, speed: float) -> Pause:
        return Pause(self._around(FIRST_BYTE_S, speed) + uncached * PREFILL_S / speed)

    def _around(self, median_s: float, speed: float) -> float:
        """A log-normal time around its median (Box-Muller)."""
        radius = math.sqrt(-2 * math.log(1 - self._rng.random()))
        normal = radius * math.cos(2 * math.pi * self._rng.random())
        return median_s * math.exp(SPREAD * normal) / speed


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _cap(fields: Mapping[str, Any]) -> int:
    """The most tokens the request allows."""
    caps = [fields.get(name) for name in ("max_completion_tokens", "max_tokens")]
    return min([cap for cap in caps if isinstance(cap, int) and cap > 0], default=100_000)


def _choices(fields: Mapping[str, Any]) -> int:
    n = fields.get("n")
    return n if isinstance(n, int) and n > 0 else 1
