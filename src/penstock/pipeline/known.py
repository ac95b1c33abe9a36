"""What a process knows that its successor need not learn again.

That is what keys took of their rates, who is out, and which first requests under an Idempotency-Key are still answered.
Both processes read the same monotonic clock, so times go over as they are. What is not said is as at any start.
"""

from collections.abc import Mapping, Sequence

import msgspec

from penstock.core.quota import MinuteWindow, Ticks
from penstock.pipeline.first import First, FirstName, Firsts
from penstock.pipeline.fleet_memory import FleetMemory
from penstock.pipeline.standing import Standing, Standings


class Rate(msgspec.Struct, frozen=True):
    """A window of a minute."""

    limit: int
    taken: Ticks


class Known(msgspec.Struct, frozen=True):
    """On its way to another process."""

    rates: Mapping[str, tuple[Rate | None, Rate | None]] = {}
    """Requests and tokens, by key id."""
    fleet: FleetMemory = FleetMemory()
    firsts: Sequence[tuple[FirstName, bytes]] = ()
    """With the digests of their bodies."""


class Elsewhere:
    """An exchange of the other process: it goes on, whoever waits here."""

    def join(self) -> None:
        """One more waits for the answer."""

    def part(self) -> None:
        """One less does."""


def rates_of(keys: Standings, now: float) -> Mapping[str, tuple[Rate | None, Rate | None]]:
    """What was taken in the last minute, by those who are held to a rate."""
    rates = {id_: (_rate(key.requests, now), _rate(key.tokens, now)) for id_, key in keys.items()}
    return {id_: both for id_, both in rates.items() if both != (None, None)}


def restore_rates(keys: Standings, rates: Mapping[str, tuple[Rate | None, Rate | None]]) -> None:
    """Hold them to it; whose limit has changed since begins with an empty window."""
    for id_, (requests, tokens) in rates.items():
        key = keys.setdefault(id_, Standing())
        key.requests, key.tokens = _window(requests), _window(tokens)


def restore_firsts(firsts: Firsts, named: Sequence[tuple[FirstName, bytes]]) -> None:
    """Let their repeats wait here until ``first.end`` says what came of them."""
    for name, digest in named:
        firsts[name] = First(digest, Elsewhere())


def _rate(window: MinuteWindow | None, now: float) -> Rate | None:
    return None if window is None or not window.used(now) else Rate(window.limit, window.taken)


def _window(rate: Rate | None) -> MinuteWindow | None:
    return None if rate is None else MinuteWindow(rate.limit, rate.taken)
