"""How the bill provider behaves, by its model's name: ``stops`` or ``completes``, and after a dot what goes wrong.

``stops``: generation ends when the client's connection is gone, and what was generated is billed. ``completes``: it
runs to its end, whoever listens, and all of it is billed.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from penstock.core.usage import Usage
from penstock.providers.answers import usage_fields
from tests.support.bill_provider_words import Wish

_encode = msgspec.json.Encoder().encode

OVER_CAP: Final = 7
"""So many tokens more than allowed are reported, and billed."""
HUGE: Final = 1_000_000
"""So many tokens of output are reported, and billed, whatever was said: the provider's word is the bill."""


@dataclass(frozen=True, slots=True)
class Habit:
    """What is wrong with a provider; nothing unless something is said."""

    usage: str = "right"
    """What it says it used: ``right missing null empty text negative huge twice zeros over_cap cached``."""
    id: str = "own"
    """``own null empty constant missing``."""
    status: int = 200
    breaks: str = ""
    """Where it resets the connection: ``head`` before it, ``body`` right after the head, ``middle`` of the answer."""
    silent: str = ""
    """Where it says nothing any more, for ever: ``head``, ``body``, ``middle``."""
    honours_cap: bool = True
    error_inside: bool = False
    cut: bool = False
    """Ends cleanly in the middle: no finish reason, no usage."""
    done: bool = True
    """Ends its streams with ``[DONE]``."""
    keep_alives: bool = False
    """A comment before every word."""
    first_s: float = 0.0
    """Seconds until its head."""


HABITS: Final[dict[str, Habit]] = {
    "": Habit(),
    "cached": Habit(usage="cached"),
    "usage-missing": Habit(usage="missing"),
    "usage-null": Habit(usage="null"),
    "usage-empty": Habit(usage="empty"),
    "usage-text": Habit(usage="text"),
    "usage-negative": Habit(usage="negative"),
    "usage-huge": Habit(usage="huge"),
    "usage-twice": Habit(usage="twice"),
    "usage-zeros": Habit(usage="zeros"),
    "usage-over-cap": Habit(usage="over_cap"),
    "no-cap": Habit(honours_cap=False),
    "id-null": Habit(id="null"),
    "id-empty": Habit(id="empty"),
    "id-constant": Habit(id="constant"),
    "id-missing": Habit(id="missing"),
    "429": Habit(status=429),
    "500": Habit(status=500),
    "503": Habit(status=503),
    "reset-head": Habit(breaks="head"),
    "reset-body": Habit(breaks="body"),
    "reset-middle": Habit(breaks="middle"),
    "cut": Habit(cut=True),
    "silent-head": Habit(silent="head"),
    "silent-body": Habit(silent="body"),
    "silent-middle": Habit(silent="middle"),
    "error-inside": Habit(error_inside=True),
    "no-done": Habit(done=False),
    "keep-alives": Habit(keep_alives=True),
    "slow": Habit(first_s=0.2),
}
TRUTHFUL: Final = frozenset({"right", "twice", "over_cap", "cached", "huge"})
"""What it reports is what it bills: the ledger has to be exact."""


def habit_of(model: str) -> tuple[bool, Habit]:
    """Whether it stops when its client leaves, and what is wrong with it. Raises KeyError for a model nobody knows."""
    mode, _, habit = model.partition(".")
    return {"stops": True, "completes": False}[mode], HABITS[habit]


def words_said(wish: Wish, habit: Habit) -> int:
    """How many words the whole answer has."""
    return wish.capped if habit.honours_cap else wish.words


def billed(wish: Wish, habit: Habit, output: int) -> Usage:
    """What is billed for an answer of so many tokens."""
    hit = wish.prompt // 2 if habit.usage == "cached" else 0
    more = OVER_CAP if habit.usage == "over_cap" else 0
    output = HUGE if habit.usage == "huge" else output + more
    return Usage(input_miss=wish.prompt - hit, input_hit=hit, output=output)


def reported(usage: Usage, habit: Habit) -> bytes | None:
    """The JSON of the usage object it sends for what it bills; None = there is none."""
    said = usage_fields(usage)
    if habit.usage == "negative":
        said |= {"prompt_tokens": -5, "completion_tokens": -usage.output, "total_tokens": -5 - usage.output}
    if habit.usage == "zeros":
        said = usage_fields(Usage())
    return {"missing": None, "null": b"null", "empty": b"{}", "text": b'"a lot"'}.get(habit.usage, _encode(said))
