"""What a check of something found: how it stands, in words, and what to do about it."""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Whether it works."""

    OK = "ok"
    WARN = "warn"
    """It works, and not as it should."""
    FAIL = "fail"


class Finding(NamedTuple):
    """One line. Never holds a secret."""

    check: str
    state: State
    found: str
    do: str = ""


def ok(check: str, found: str) -> Finding:
    """It is well."""
    return Finding(check, State.OK, found)


def warn(check: str, found: str, do: str) -> Finding:
    """It works."""
    return Finding(check, State.WARN, found, do)


def fail(check: str, found: str, do: str = "") -> Finding:
    """It does not."""
    return Finding(check, State.FAIL, found, do)
