"""B10: nothing is lost or made, in any order of anything: the bank by a million seeds, the pipeline by Hypothesis.

Here in small; ``tests/soak`` runs both in full.
"""

from collections.abc import Mapping

import pytest
from hypothesis import settings

from penstock.core.bank import Bank
from penstock.core.budget import Place
from tests.support.bank_simulator import Simulation
from tests.support.house_machine import HouseMachine

SEEDS = 4_000

TestPipeline = HouseMachine.TestCase
TestPipeline.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_holds_are_conserved_in_every_interleaving() -> None:
    """Seed by seed; a failing one is named, and replays."""
    assert simulate(SEEDS) > SEEDS


def simulate(seeds: int, bank: type[Bank] = Bank) -> int:
    """So many interleavings; how many crashes there were."""
    return sum(Simulation(seed, bank=bank()).run().crashes for seed in range(seeds))


class Forgetful(Bank):
    """Frees all that was held, and posts half of what was billed."""

    def settle(self, attempt_id: str, billed: Mapping[Place, int]) -> bool | None:
        """Half of it."""
        return super().settle(attempt_id, {place: amount // 2 for place, amount in billed.items()})


def test_a_bank_that_loses_money_is_found_out() -> None:
    """The simulation can fail, and says by which seed."""
    with pytest.raises(AssertionError, match=r"seed \d+: Place.* is not what was spent"):
        simulate(100, Forgetful)
