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
    return _say(asked, wish, wish.capped, Usage(wish.prompt, output=wish.capped))


def ignore_the_cap(asked: Asked) -> Play:
    """A scene: all ``say`` words, whatever the request allows, and no usage."""
    wish = _wish(asked)
    return _say(asked, wish, wish.words, None)


def _say(asked: Asked, wish: Wish, words: int, usage: Usage | None) -> Play:
    answer = Answer((WORD,) * words, usage, id=_name(asked))
    if not asked.streamed:
        return Play((Pause(wish.gap_s * words), whole(answer, asked.dialect)), headers=JSON)
    script = events(answer, asked.dialect, usage=asked.wants_usage)
    before = _BEFORE.get(asked.dialect, 0)
    steps: list[Step] = []
    for index, event in enumerate(script):
        if before <= index < before + words:
            steps.append(Pause(wish.gap_s))
        steps.append(event)
    return Play(steps, headers=SSE)


def scripted_bill(calls: Iterable[Asked], *, honours_cap: bool = True) -> list[BilledCall]:
    """What a provider that said ``say_as_asked`` bills for its calls. A call that is open has no end yet.

    ``honours_cap`` False = one that said ``ignore_the_cap``.
    """
    return [_billed(asked, honours_cap=honours_cap) for asked in calls]


def _billed(asked: Asked, *, honours_cap: bool) -> BilledCall:
    wish = _wish(asked)
    call = BilledCall(_name(asked), wish.marker, wish.model, asked.at, wish.streamed)
    if asked.ended_at is None:
        return call
    said = wish.capped if honours_cap else wish.words
    if asked.ended != "read" and asked.call.provider.after_disconnect == "stops" and wish.gap_s:
        said = min(said, floor((asked.ended_at - asked.at) / wish.gap_s + _TINY))
    return replace(call, prompt=wish.prompt, output=said, why="complete" if asked.ended == "read" else "left")


def _wish(asked: Asked) -> Wish:
    return read_wish(asked.dialect, asked.json)


def _name(asked: Asked) -> str:
    """Its own, and the same whenever one asks."""
    return f"up-{id(asked):x}"
