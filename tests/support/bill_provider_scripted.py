"""The bill provider in process: the scripted provider says what a prompt asks for, and its calls make the bill.

    house.upstream.call(say_as_asked).forever()
    ...
    house.check(bill=scripted_bill(house.upstream.calls))

Same words, same tokens, same two ways of being left as the process (``bill_provider``), in virtual time.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import floor

from penstock.core.usage import Usage
from penstock.providers.answers import Answer, events, whole
from penstock.providers.play import JSON, SSE, Pause, Play, Step
from penstock.providers.scripted import Asked
from tests.support.bill_provider_lines import BilledCall
from tests.support.bill_provider_words import WORD, Wish, read_wish

_BEFORE = {"chat": 1, "messages": 2}
_TINY = 1e-6


def say_as_asked(asked: Asked) -> Play:
    """A scene: ``say`` words, one each ``gap``, with the usage that is billed for them."""
    wish = _wish(asked)
    answer = Answer((WORD,) * wish.capped, Usage(wish.prompt, output=wish.capped), id=_name(asked))
    if not asked.streamed:
        return Play((Pause(wish.gap_s * wish.capped), whole(answer, asked.dialect)), headers=JSON)
    script = events(answer, asked.dialect, usage=asked.wants_usage)
    before = _BEFORE.get(asked.dialect, 0)
    steps: list[Step] = []
    for index, event in enumerate(script):
        if before <= index < before + wish.capped:
            steps.append(Pause(wish.gap_s))
        steps.append(event)
    return Play(steps, headers=SSE)


def scripted_bill(calls: Iterable[Asked]) -> list[BilledCall]:
    """What a provider that said ``say_as_asked`` bills for its calls. A call that is open has no end yet."""
    return [_billed(asked) for asked in calls]


def _billed(asked: Asked) -> BilledCall:
    wish = _wish(asked)
    call = BilledCall(_name(asked), wish.marker, wish.model, asked.at, wish.streamed)
    if asked.ended_at is None:
        return call
    said = wish.capped
    if asked.ended != "read" and asked.call.provider.after_disconnect == "stops" and wish.gap_s:
        said = min(said, floor((asked.ended_at - asked.at) / wish.gap_s + _TINY))
    return replace(call, prompt=wish.prompt, output=said, why="complete" if asked.ended == "read" else "left")


def _wish(asked: Asked) -> Wish:
    return read_wish(asked.dialect, asked.json)


def _name(asked: Asked) -> str:
    """Its own, and the same whenever one asks."""
    return f"up-{id(asked):x}"
