"""Who says a purge to the other nodes, and when."""

from collections.abc import Collection, Sequence

from penstock.background.purging import MOST, Purging
from penstock.errors import SharedUnavailable
from penstock.ports.answers import Purge
from penstock.stores.memory_shared import MemoryAnswers


class Answers(MemoryAnswers):
    """What was said to it."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.said: list[str | None] = []

    async def purge(
        self,
        *,
        model: str | None = None,
        tenant: str | None = None,
        tag: str | None = None,
        deployments: Collection[str] = (),
    ) -> None:
        """Keep it."""
        del tenant, tag, deployments
        if self.away:
            raise SharedUnavailable("away")
        self.said.append(model)


class Leader:
    """One that leads, or not."""

    def __init__(self, *, leads: bool) -> None:
        self.leads = leads

    async def lead(self) -> bool:
        """As it was made."""
        return self.leads


class Store:
    """What was purged there."""

    def __init__(self) -> None:
        self.purged: list[Purge] = []

    async def refresh(self) -> Sequence[Purge]:
        """Since the last time."""
        purged, self.purged = self.purged, []
        return purged


async def test_who_purged_says_so_and_who_leads_for_others() -> None:
    """A node that does neither says nothing."""
    for leads, said in ((False, ["ours"]), (True, ["ours", "theirs"])):
        store, answers = Store(), Answers()
        store.purged = [Purge("ours", ours=True), Purge("theirs")]
        await Purging(store.refresh, Leader(leads=leads), answers).look()
        assert answers.said == said


async def test_what_cannot_be_said_is_said_later_in_order() -> None:
    """Once, and nothing is lost."""
    store, answers = Store(), Answers()
    purging = Purging(store.refresh, Leader(leads=False), answers)
    answers.away = True
    for number in range(3):
        store.purged = [Purge(str(number), ours=True)]
        await purging.look()
    answers.away = False
    await purging.look()
    await purging.look()
    assert answers.said == ["0", "1", "2"]


async def test_too_much_that_waits_is_everything() -> None:
    """It forgets more than was asked for, and never less."""
    store, answers = Store(), Answers()
    store.purged = [Purge(str(number), ours=True) for number in range(MOST + 1)]
    await Purging(store.refresh, Leader(leads=False), answers).look()
    assert answers.said == [None]
