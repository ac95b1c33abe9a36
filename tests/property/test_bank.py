"""The bank as a state machine: no account of a hard budget is ever overspent, and every hold ends once."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from penstock.core.bank import Bank, Claim, Fit
from penstock.core.budget import Place

PLACES = [Place(name, value, start) for name in ("all", "user") for value in ("", "a") for start in (0.0, 60.0)]
amounts = st.integers(0, 40)
some_places = st.lists(st.sampled_from(PLACES), min_size=0, max_size=4, unique=True)


class BankMachine(RuleBasedStateMachine):
    """Reservations, top-ups, settlements in any order, twice, and late, beside a model of sums."""

    def __init__(self) -> None:
        super().__init__()
        self.bank = Bank()
        self.limits: dict[Place, int] = {}
        self.posted: Counter[Place] = Counter()
        self.held: dict[str, Counter[Place]] = {}
        self.ended: list[str] = []
        self.overrun = False
        self.next = 0

    @initialize(limits=st.lists(st.integers(0, 100), min_size=len(PLACES), max_size=len(PLACES)))
    def set_limits(self, limits: list[int]) -> None:
        """Each account has its own."""
        self.limits = dict(zip(PLACES, limits, strict=True))

    def claims(self, wanted: list[Place], amount: int) -> list[Claim]:
        """The same amount on each account."""
        return [Claim(place, amount, self.limits[place]) for place in wanted]

    @rule(wanted=some_places, amount=amounts)
    def hold(self, wanted: list[Place], amount: int) -> None:
        """Only what fits is held."""
        claims = self.claims(wanted, amount)
        fit, blocking = self.bank.fit(claims)
        assert (blocking is None) == (fit is Fit.NOW)
        free = all(self.used(place) + amount <= self.limits[place] for place in wanted)
        possible = all(self.posted[place] + amount <= self.limits[place] for place in wanted)
        assert fit is (Fit.NOW if free else Fit.LATER if possible else Fit.NEVER)
        if fit is Fit.NOW:
            self.next += 1
            self.bank.hold(f"att_{self.next}", claims)
            self.held[f"att_{self.next}"] = Counter(dict.fromkeys(wanted, amount))

    @rule(data=st.data(), amount=amounts)
    def top_up(self, data: st.DataObject, amount: int) -> None:
        """More for one that is open, where it fits."""
        if not self.held:
            return
        name = data.draw(st.sampled_from(sorted(self.held)))
        claims = self.claims(list(self.held[name]), amount)
        if self.bank.fit(claims)[0] is Fit.NOW:
            self.bank.top_up(name, claims)
            for place in self.held[name]:
                self.held[name][place] += amount

    @rule(data=st.data(), part=st.floats(0, 1))
    def settle(self, data: st.DataObject, part: float) -> None:
        """At most what was held: the usual end."""
        if not self.held:
            return
        name = data.draw(st.sampled_from(sorted(self.held)))
        billed = {place: int(amount * part) for place, amount in self.held.pop(name).items()}
        assert self.bank.settle(name, billed) is False
        self.posted.update(billed)
        self.ended.append(name)

    @rule(data=st.data(), more=st.integers(1, 5))
    def overrun_it(self, data: st.DataObject, more: int) -> None:
        """A provider billed more than was held: it is posted in full, and said."""
        open_ones = [name for name, held in self.held.items() if held]
        if not open_ones:
            return
        name = data.draw(st.sampled_from(sorted(open_ones)))
        billed = {place: amount + more for place, amount in self.held.pop(name).items()}
        assert self.bank.settle(name, billed) is True
        self.posted.update(billed)
        self.ended.append(name)
        self.overrun = True

    @rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        """Whatever it says the second time, nothing changes."""
        if self.ended:
            again = data.draw(st.sampled_from(self.ended))
            assert self.bank.settle(again, dict.fromkeys(PLACES, 7)) is None

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Never dispatched: all is free again."""
        if self.held:
            name = data.draw(st.sampled_from(sorted(self.held)))
            self.held.pop(name)
            self.bank.release(name)
            self.ended.append(name)

    @rule()
    def forget_what_is_over(self) -> None:
        """Old windows go; what is held stays pending."""
        self.bank.forget(before=30.0)
        held = {place for hold in self.held.values() for place in hold}
        for place in PLACES:
            if place.start < 30.0 and place not in held:
                self.posted.pop(place, None)

    @rule(budget=st.sampled_from(sorted({place.budget for place in PLACES})))
    def delete(self, budget: str) -> None:
        """A budget goes: nothing of it stays posted, and what is held stays pending."""
        self.bank.forget(budget)
        for place in PLACES:
            if place.budget == budget:
                self.posted.pop(place, None)

    def used(self, place: Place) -> int:
        """By the model."""
        return self.posted[place] + sum(held[place] for held in self.held.values())

    @invariant()
    def the_sums_are_right(self) -> None:
        """Posted is what was billed, pending what is held, and no hard limit is passed but by an overrun."""
        for place in PLACES:
            account = self.bank.account(place)
            assert account.posted == self.posted[place]
            assert account.used == self.used(place)
            if not self.overrun and place in self.limits:
                assert account.used <= self.limits[place]


TestBank = BankMachine.TestCase
TestBank.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(st.integers(0, 100), amounts)
def test_a_soft_budget_never_stands_in_the_way(limit: int, amount: int) -> None:
    """It is counted all the same."""
    bank = Bank()
    claim = Claim(PLACES[0], amount + limit + 1, limit, hard=False)
    assert bank.fit([claim]) == (Fit.NOW, None)
    bank.hold("a", [claim])
    assert bank.account(PLACES[0]).pending == amount + limit + 1


def test_one_id_is_held_once() -> None:
    """Ids are ours: the same one twice is a fault of ours."""
    bank = Bank()
    bank.hold("a", [])
    with pytest.raises(ValueError, match="held already"):
        bank.hold("a", [])
