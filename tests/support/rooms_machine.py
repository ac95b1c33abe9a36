"""Rooms as a state machine: nodes that borrow, spend, give back and die, beside the memory's own rules.

The truth is what was really spent, by lease; what is lent must never let it pass a limit. ``Bridge`` runs the port's
calls on a loop of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.core.budget import Place
from penstock.errors import EpochLost, LeaseEnded
from penstock.ports.lending import Lent, Return, Rooms, Want
from penstock.stores.memory_rooms import MemoryRooms

PLACES: Final = [Place("all|global", "", 0.0), Place("per-user|user", 'a|"é{}', 86400.5), Place("t", "x", 1.0)]
BIG: Final = 2**60
amounts = st.one_of(st.integers(0, 60), st.integers(BIG // 8, BIG // 4))
T = TypeVar("T")


class Bridge:
    """Awaits on a loop of its own."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """What it returns or raises."""
        return self._runner.run(call)

    def close(self) -> None:
        """No more."""
        self._runner.close()


class RoomsMachine(RuleBasedStateMachine):
    """Subclasses say what is measured against the memory's rules."""

    rooms: Rooms
    bridge: Bridge

    def __init__(self) -> None:
        super().__init__()
        self.begin_with()
        self.model = MemoryRooms(lambda: 0.0)
        self.epoch = self.named = 0
        self.limits: dict[Place, int] = {}
        self.alive: dict[str, Counter[Place]] = {}
        """What each living lease may have spent at most: its parts, as it knows them."""
        self.spent: dict[str, Counter[Place]] = {}
        """What every lease that ever was did spend."""
        self.shown: dict[str, Counter[Place]] = {}

    def begin_with(self) -> None:
        """Set ``rooms`` and ``bridge``."""
        raise NotImplementedError

    # --- both at once

    def both(self, name: str, *words: Any, **more: Any) -> Any:
        """What the port says, which is what the model says."""
        told = [self.answer(each, name, *words, **more) for each in (self.rooms, self.model)]
        assert told[0] == told[1]
        return told[0]

    def answer(self, rooms: Rooms, name: str, *words: Any, **more: Any) -> Any:
        """What it returns, or the kind of error."""
        try:
            return self.bridge.run(getattr(rooms, name)(self.epoch, *words, **more))
        except (EpochLost, LeaseEnded) as error:
            return type(error)

    @initialize(limits=st.lists(st.one_of(st.integers(0, 200), st.just(BIG)), min_size=3, max_size=3))
    def limit(self, limits: list[int]) -> None:
        """Each account has its own."""
        self.limits = dict(zip(PLACES, limits, strict=True))
        self.begin_anew()

    def begin_anew(self) -> None:
        """All leases end, and the next epoch begins."""
        self.epoch += 1
        self.alive.clear()
        for rooms in (self.rooms, self.model):
            server = self.bridge.run(rooms.server())
            self.bridge.run(rooms.begin(self.epoch, server))
            self.bridge.run(rooms.begin(self.epoch, server))  # said again it changes nothing

    # --- nodes

    @rule()
    def enter(self) -> None:
        """One more node."""
        self.named += 1
        lease = f"lease_{self.named}"
        self.both("enter", lease)
        self.alive[lease], self.spent[lease], self.shown[lease] = Counter(), Counter(), Counter()

    @rule(place=st.sampled_from(PLACES))
    def set_account(self, place: Place) -> None:
        """From the truth, by whomever needs it first; what is set already stays what it is."""
        living = {lease: self.spent[lease][place] for lease in self.alive if self.spent[lease][place]}
        gone = sum(spent[place] for lease, spent in self.spent.items() if lease not in self.alive)
        if all(self.spent[lease][place] <= self.alive[lease][place] for lease in living):
            assert self.both("set_account", place, gone, living, 1e9) is True

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), places=st.lists(st.sampled_from(PLACES), min_size=1, unique=True))
    def ask(self, data: st.DataObject, places: list[Place]) -> None:
        """All or none: each its least, none beyond its limit."""
        lease = data.draw(st.sampled_from(sorted(self.alive)))
        wants = [Want(place, self.limits[place], data.draw(amounts), data.draw(amounts)) for place in places]
        told: Sequence[Lent] = self.both("ask", lease, wants)
        got_all = all(each.known for each in told) and all(
            each.lent >= want.least for each, want in zip(told, wants, strict=True)
        )
        for each, want in zip(told, wants, strict=True):
            assert each.lent == 0 or got_all
            assert each.lent == 0 or each.taken <= want.limit
            self.alive[lease][want.place] += each.lent
            assert each.part == self.alive[lease][want.place] or not each.known

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), place=st.sampled_from(PLACES), part=st.floats(0, 1))
    def spend(self, data: st.DataObject, place: Place, part: float) -> None:
        """Within its part, without a word to anybody."""
        lease = data.draw(st.sampled_from(sorted(self.alive)))
        left = self.alive[lease][place] - self.spent[lease][place]
        self.spent[lease][place] += min(left, int(left * part))

    @precondition(lambda self: self.alive)
    @rule(
        data=st.data(), places=st.lists(st.sampled_from(PLACES), unique=True), share=st.floats(0, 1), beat=st.booleans()
    )
    def give_back(self, data: st.DataObject, places: list[Place], share: float, *, beat: bool) -> None:
        """What it does not need; what it says it spent stays."""
        lease = data.draw(st.sampled_from(sorted(self.alive)))
        returns = []
        for place in places:
            idle = self.alive[lease][place] - self.spent[lease][place]
            returns.append(Return(place, min(idle, int(idle * share)), self.spent[lease][place]))
        if beat:
            told = [self.answer(each, "renew", lease, returns) for each in (self.rooms, self.model)]
            assert (told[0].parts, told[0].ended) == (told[1].parts, told[1].ended)
            parts = told[0].parts
        else:
            parts = self.both("give_back", lease, returns)
        for each, now in zip(returns, parts, strict=True):
            known = each.place in self.model.accounts
            assert now == (self.alive[lease][each.place] - each.back if known else 0)
            if known:
                self.alive[lease][each.place] = now

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), final=st.booleans(), again=st.booleans())
    def end(self, data: st.DataObject, *, final: bool, again: bool) -> None:
        """A lease is ended by others; to say it twice, or with more certainty, changes nothing."""
        lease = data.draw(st.sampled_from(sorted(self.alive)))
        del self.alive[lease]
        spent = {place: amount for place, amount in self.spent[lease].items() if amount}
        self.both("set_lease", lease, spent, final=final)
        if again:
            self.both("set_lease", lease, spent, final=True)
            self.both("set_lease", lease, dict.fromkeys(PLACES, 7), final=True)
        assert self.both("ask", lease, []) is LeaseEnded
        assert self.both("renew", lease, []) is LeaseEnded

    # --- what must hold

    @invariant()
    def nothing_is_overspent(self) -> None:
        """Whatever happened to whom."""
        for place, limit in self.limits.items():
            assert sum(spent[place] for spent in self.spent.values()) <= limit

    @invariant()
    def nothing_is_lent_beyond_a_limit(self) -> None:
        """``base`` and all parts."""
        for place, account in self.model.accounts.items():
            assert account.taken <= self.limits[place]

    def teardown(self) -> None:
        """All is given back: what is taken is what was spent."""
        for lease in self.alive:
            returns = [Return(place, self.alive[lease][place], self.spent[lease][place]) for place in PLACES]
            self.both("give_back", lease, returns)
        if not self.epoch:
            return
        self.enter()
        wants = [Want(place, self.limits[place], 0, 0) for place in PLACES]
        for place, lent in zip(PLACES, self.both("ask", f"lease_{self.named}", wants), strict=True):
            if lent.known:
                assert lent.taken == lent.spent == sum(spent[place] for spent in self.spent.values())
