"""An edge keeps up with its centre: what it forgets, takes and refuses, whatever the centre says."""

import asyncio
from dataclasses import dataclass, field

import msgspec
import pytest

from penstock.background.centres import Centres
from penstock.background.sync import AGAIN_S, LOOK_S, MOST_AT_ONCE, OFFER_S, Edge, Place, Sync
from penstock.clock import LoopClock
from penstock.config.settings import ProviderSettings
from penstock.core.offer import AnswersPage, ChangedAnswer, Offer, Offered, PurgeNote, PurgesPage
from penstock.core.usage import Usage
from penstock.errors import ConfigError, ProviderRefused, Unreachable
from penstock.ports.answers import StoredAnswer
from penstock.stores.answers import Answers, NoBacking
from penstock.stores.centre_notes import MemoryNotes
from tests.support.house import END_S, EPOCH

pytestmark = pytest.mark.looptime(end=END_S)

KEY = b"k" * 32
ENTRY = f"{KEY.hex()}/m"
CHANGED = ChangedAnswer(
    entry=ENTRY, tenant="key_web", tags=("a=b",), model="up-m", age_s=100.0, usage=Usage(1, 0, 0, 2, 0),
    estimated=False, attempt_id="att_1", body=b'{"choices": []}',
)  # fmt: skip
TRIP_S = 0.3
PROVIDER = ProviderSettings(
    "centre", "penstock", {}, None, None, False, "stops", "completion", "", "", None, None, {}, charged_elsewhere=True
)  # fmt: skip
KNOWN = PurgesPage(mark="1@1.0", known=True, notes=(), more=False)


@dataclass
class Centre:
    """The port, as a test wants it."""

    takes_s: float = 0.0
    """To say what was purged."""
    pages: list[AnswersPage] = field(default_factory=list)
    purge_pages: list[PurgesPage] = field(default_factory=list)
    offered: Offer = field(default_factory=lambda: Offer(models=(), prices={}))
    down: bool = False
    refuses: str = ""
    asked: list[str] = field(default_factory=list)

    async def offer(self) -> Offer:
        """What it serves."""
        self._ask("offer")
        return self.offered

    async def purges(self, mark: str, within_s: float) -> PurgesPage:
        """The next page."""
        assert within_s > 0
        self._ask(f"purges {mark}")
        await asyncio.sleep(self.takes_s)
        return self.purge_pages.pop(0) if self.purge_pages else msgspec.structs.replace(KNOWN, mark=mark or "0@0.0")

    async def answers(self, mark: str) -> AnswersPage:
        """The next page."""
        self._ask(f"answers {mark}")
        return self.pages.pop(0) if self.pages else AnswersPage(mark=mark, answers=(), more=False)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what == self.refuses:
            raise ProviderRefused("that is no mark of ours", status=400)
        if self.down:
            raise Unreachable("the provider cannot be reached")


class Followed:
    """One edge and its centre."""

    def __init__(self, sync_s: float = 300) -> None:
        self.clock = LoopClock(EPOCH)
        self.answers = Answers(1 << 20, NoBacking(), self.clock.now)
        self.notes = MemoryNotes()
        self.centre = Centre()
        self.adopted: list[Offer] = []
        self.bad_offer = False
        self.ttl_s = 3600.0
        self.edge = Edge(self.clock, self.answers, self.notes, self.place, self.adopt)
        self.sync = self.started(sync_s)

    def started(self, sync_s: float = 300) -> Sync:
        """As a process that starts has it."""
        return Sync("centre", self.centre, self.edge, sync_s)

    def place(self, entry: str) -> Place | None:
        """As the gateway reads it; the model ``gone`` is not served any more."""
        key, _, model = entry.partition("/")
        return None if model == "gone" else Place(bytes.fromhex(key), model, self.ttl_s)

    async def adopt(self, provider: str, offer: Offer) -> None:
        """Serve by it."""
        assert provider == "centre"
        if self.bad_offer:
            raise ConfigError(["deepseek.yaml:1: nonsense"])
        self.adopted.append(offer)

    def put(self, number: int, **fields: object) -> None:
        """An answer that is held."""
        answer = StoredAnswer(
            body=b"{}", stored_at=EPOCH, expires_at=EPOCH + END_S, attempt_id="a", model="m", tenant="key_web",
            tags=("a=b",), deployment="centre/up-m", usage=Usage(), estimated=False,
        )  # fmt: skip
        self.answers.put(bytes([number]) * 32, msgspec.structs.replace(answer, **fields))

    async def held(self, *numbers: int) -> list[int]:
        """Which of them are."""
        now = self.clock.now()
        return [number for number in numbers if await self.answers.get(bytes([number]) * 32, now) is not None]


def page(*answers: ChangedAnswer, mark: str = "9@9.0", more: bool = False) -> AnswersPage:
    """A page of these."""
    return AnswersPage(mark=mark, answers=answers, more=more)


def purged(*notes: PurgeNote, mark: str = "2@2.0", known: bool = True, more: bool = False) -> PurgesPage:
    """A page of these."""
    return PurgesPage(mark=mark, known=known, notes=notes, more=more)


# --- purges


async def test_what_is_purged_there_is_forgotten_here_and_nothing_else() -> None:
    """By model, tenant and tag together, of what came from the centre; the mark is remembered over a start."""
    followed = Followed()
    followed.put(1)
    followed.put(2, deployment="centre/other")
    followed.put(3, deployment="own/up-m")
    followed.put(4, tenant="key_app")
    followed.put(5, tags=())
    followed.centre.purge_pages = [purged(PurgeNote(models=("up-m",), tenant="key_web", tag="a=b"))]
    await followed.sync.begin()
    assert await followed.held(1, 2, 3, 4, 5) == [2, 3, 4, 5]
    await followed.started().begin()
    assert followed.centre.asked == ["purges ", "purges 2@2.0"]


@pytest.mark.parametrize("at_s", [0.0, 0.5, 1.0, 1.2, 1.299, 10.0])
async def test_a_purge_is_in_force_within_two_seconds(at_s: float) -> None:
    """Whenever it comes: it was not heard of in the look before, so it waits for one pause and two round trips."""
    followed = Followed()
    followed.put(1)
    followed.centre.takes_s = TRIP_S
    centres = Centres(followed.edge, lambda _: followed.centre)
    await centres.start({"centre": PROVIDER})
    await asyncio.sleep(at_s)
    assert await followed.held(1) == [1]
    followed.centre.purge_pages = [purged(PurgeNote(tag="a=b"))]
    await asyncio.sleep(TRIP_S + LOOK_S + TRIP_S)
    assert await followed.held(1) == []
    await centres.stop()


async def test_pages_of_purges_are_read_to_their_end() -> None:
    """At once, in their order, each from the mark of the one before."""
    followed = Followed()
    followed.centre.purge_pages = [
        purged(mark="1@1.0", more=True),
        purged(mark="2@2.0", more=True),
        purged(mark="3@3.0"),
    ]
    await followed.sync.look()
    assert followed.centre.asked == ["purges ", "purges 1@1.0", "purges 2@2.0"]


async def test_who_was_away_too_long_forgets_all_that_came_from_there() -> None:
    """What has been purged since is not known, so it may have been anything; what is our own stays."""
    followed = Followed()
    followed.put(1)
    followed.put(2, deployment="own/up-m")
    followed.centre.purge_pages = [purged(known=False)]
    await followed.sync.look()
    assert await followed.held(1, 2) == [2]


@pytest.mark.parametrize(("purges", "held"), [(MOST_AT_ONCE, [1]), (MOST_AT_ONCE + 1, [])])
async def test_who_missed_very_many_purges_forgets_all_at_once(purges: int, held: list[int]) -> None:
    """To look at each answer for each of them would take longer than to ask again."""
    followed = Followed()
    followed.put(1)
    followed.centre.purge_pages = [purged(*[PurgeNote(tag=f"n={number}") for number in range(purges)])]
    await followed.sync.look()
    assert await followed.held(1) == held


async def test_a_centre_that_is_out_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once that it is out, and once that it is back; then its answers are pulled soon."""
    followed = Followed()
    followed.put(1)
    assert not followed.sync.up, "nobody has heard it yet"
    followed.centre.down = True
    for _ in range(3):
        await followed.sync.look()
    assert await followed.held(1) == [1]
    assert not followed.sync.up
    followed.centre.down = False
    await followed.sync.look()
    assert followed.sync.up
    said = [record.message for record in caplog.records]
    assert said == ["the centre is out; the edge serves on", "the centre is back"]


# --- answers


async def test_a_changed_answer_is_served_from_then_on() -> None:
    """As old as it is, for what our own time to live leaves of it."""
    followed = Followed()
    followed.centre.pages = [page(CHANGED)]
    await followed.sync.pull()
    now = followed.clock.now()
    found = await followed.answers.get(KEY, now)
    assert found is not None
    assert (found.stored_at, found.expires_at) == (now - 100, now + 3500)
    assert (found.body, found.model, found.tenant, found.deployment) == (CHANGED.body, "m", "key_web", "centre/up-m")


@pytest.mark.parametrize(
    "bad", [{"body": b"no json"}, {"body": b"[]"}, {"body": b"[" * 100_000}, {"entry": "zz/m"}, {"entry": "q"}]
)
async def test_a_page_with_one_bad_answer_changes_nothing(bad: dict[str, object]) -> None:
    """Nor does it move the mark: the page is asked for again."""
    followed = Followed()
    followed.centre.pages = [page(CHANGED, msgspec.structs.replace(CHANGED, **bad))]
    await followed.sync.pull()
    assert followed.answers.stats() == (0, 0)
    await followed.clock.sleep(AGAIN_S)
    await followed.sync.pull()
    assert followed.centre.asked.count("answers ") == 2


async def test_what_is_past_its_time_here_is_not_taken() -> None:
    """Nor what belongs to a model that is not served any more."""
    followed = Followed()
    gone = msgspec.structs.replace(CHANGED, entry=f"{KEY.hex()}/gone")
    followed.centre.pages = [page(msgspec.structs.replace(CHANGED, age_s=3600.0), gone)]
    await followed.sync.pull()
    assert followed.answers.stats() == (0, 0)


@pytest.mark.parametrize(("age_s", "body"), [(50.0, b'{"n": 2}'), (100.0, b"{}"), (150.0, b"{}")])
async def test_a_younger_answer_of_ours_stays(age_s: float, body: bytes) -> None:
    """Most of what changes there we asked for ourselves."""
    followed = Followed()
    followed.put(KEY[0], stored_at=EPOCH - 100)
    followed.centre.pages = [page(msgspec.structs.replace(CHANGED, age_s=age_s, body=b'{"n": 2}'))]
    await followed.sync.pull()
    found = await followed.answers.get(KEY, followed.clock.now())
    assert found is not None
    assert found.body == body


async def test_an_answer_that_was_purged_while_it_travelled_is_not_stored() -> None:
    """It was asked for before."""
    followed = Followed()
    answers = followed.centre.answers

    async def slow(mark: str) -> AnswersPage:
        found = await answers(mark)
        await followed.clock.sleep(1)
        await followed.sync.look()
        return found

    followed.centre.answers = slow  # type: ignore[method-assign] # a page that takes its time
    followed.centre.pages = [page(CHANGED)]
    followed.centre.purge_pages = [purged(PurgeNote())]
    await followed.sync.pull()
    assert followed.answers.stats() == (0, 0)


async def test_pulling_has_its_times_and_its_bounds() -> None:
    """Each ``sync``, page after page, from the last mark on; 0 = never; the offer every hour."""
    followed = Followed(sync_s=300)
    followed.centre.pages = [page(mark="1@1.0", more=True), page(mark="2@2.0")]
    for _ in range(400):
        await followed.sync.pull()
        await followed.clock.sleep(1)
    assert followed.centre.asked == ["offer", "answers ", "answers 1@1.0", "answers 2@2.0"]
    await followed.clock.sleep(OFFER_S)
    never = followed.started(0)
    await never.begin()
    await never.pull()
    assert followed.centre.asked[4:] == ["purges ", "offer"]


# --- the offer


async def test_an_offer_is_adopted_when_it_changed_and_kept_for_the_next_start() -> None:
    """An edge that starts while its centre is out offers what it did before."""
    followed = Followed()
    await followed.sync.pull()
    followed.centre.offered = Offer(models=(Offered(name="m"),), prices={})
    for _ in range(2):
        await followed.clock.sleep(OFFER_S)
        await followed.sync.pull()
    assert [len(offer.models) for offer in followed.adopted] == [0, 1]
    followed.centre.down = True
    await followed.started().begin()
    assert followed.adopted[2:] == [followed.centre.offered]


async def test_an_offer_that_is_not_valid_changes_nothing() -> None:
    """It is asked for again before long; what was kept of the last one stays."""
    followed = Followed()
    followed.bad_offer = True
    await followed.sync.pull()
    assert await followed.notes.read("centre.offer") is None
    followed.bad_offer = False
    await followed.clock.sleep(AGAIN_S)
    await followed.sync.pull()
    assert len(followed.adopted) == 1


@pytest.mark.parametrize("note", [b"", b"{", b'{"models": 1}', b"\xff"])
async def test_a_note_that_is_damaged_is_no_note(note: bytes) -> None:
    """The start goes on without it."""
    followed = Followed()
    for name in ("centre.offer", "centre.purges", "centre.answers"):
        await followed.notes.write(name, note)
    await followed.sync.begin()
    assert followed.adopted == []
    assert all(each.isascii() for each in followed.centre.asked)


async def test_a_mark_that_the_centre_cannot_read_is_given_up() -> None:
    """Then it begins anew, rather than never hear of a purge again."""
    followed = Followed()
    await followed.notes.write("centre.purges", b"nonsense")
    followed.centre.refuses = "purges nonsense"
    await followed.sync.begin()
    await followed.sync.look()
    assert followed.centre.asked == ["purges nonsense", "purges "]
