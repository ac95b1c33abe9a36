"""What is told to people in a chat: plain text in parts. How a chat writes it down: ``wire/bots.py``."""

from typing import Final, NamedTuple

TONES: Final = ("critical", "warning", "info", "good")
"""From the one that somebody gets up for to the one that somebody sleeps well after."""


class Part(NamedTuple):
    """A heading and what is said under it."""

    heading: str
    lines: tuple[str, ...] = ()


class Notice(NamedTuple):
    """The most important part first: what does not fit is left out from the end."""

    title: str
    tone: str
    parts: tuple[Part, ...] = ()
