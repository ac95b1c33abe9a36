"""An edge keeps up with its centre: purges within a second, changed answers and the offer from time to time.

Fails open: while the centre cannot be reached, or says what makes no sense, nothing changes here and what is stored is
served on; when it is back, what was purged meanwhile is forgotten first of all. A document is taken whole or not at
all. Who was away for longer than the centre remembers its purges, or for very many, forgets all that came from there.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Final, NamedTuple

import msgspec

from penstock.core.offer import AnswersPage, ChangedAnswer, Offer, PurgeNote
from penstock.errors import BadAnswer, PenstockError, ProviderRefused, StoreError, UpstreamError
from penstock.ports.answers import AnswerCache, StoredAnswer
from penstock.ports.centres import Centre
from penstock.ports.clock import Clock
from penstock.ports.notes import CentreNotes

LOOK_S: Final = 1.0
"""How often purges are asked for: one is in force a second and a round trip later."""
LOOK_WITHIN_S: Final = 10.0
OFFER_S: Final = 3600.0
AGAIN_S: Final = 30.0
"""After a failure."""
FIRST_LOOK_S: Final = 2.0
"""How long a start waits to hear what was purged while it was away."""
MOST_AT_ONCE: Final = 100
"""Purges: each looks at every answer that is held. Who missed more forgets all that came from there."""
MOST_PAGES: Final = 64
"""Of answers in one go."""

log = logging.getLogger(__name__)

_decode = msgspec.json.Decoder(dict[str, object]).decode


class Place(NamedTuple):
    """Where an answer of the centre's is kept here."""

    key: bytes
    model: str
    kept_s: float
    """How long after it was made."""


class Edge(NamedTuple):
    """What keeping up needs of the gateway. ``place`` raises ValueError, ``adopt`` ConfigError."""

    clock: Clock
    answers: AnswerCache
    notes: CentreNotes
    place: Callable[[str], Place | None]
    """From what we said of an answer; None = it is not stored here any more."""
    adopt: Callable[[str, Offer], Awaitable[object]]
    """Serve and price by the offer of a provider."""


class Sync:
    """One centre's."""

    def __init__(self, provider: str, centre: Centre, edge: Edge, sync_s: float) -> None:
        """``provider``: the name of its entry; ``sync_s``: how often changed answers are pulled, 0 = never."""
        self._provider = provider
        self._centre = centre
        self._edge = edge
        self._sync_s = sync_s
        self._purged = self._changed = ""
        self._offer: Offer | None = None
        self._offer_due = 0.0
        self._answers_due = 0.0 if sync_s else inf
        self._away = ""
        self._known = False

    async def begin(self) -> None:
        """Remember what the last process knew, and hear what was purged since."""
        self._purged = _text(await self._edge.notes.read(self._name("purges")))
        self._changed = _text(await self._edge.notes.read(self._name("answers")))
        kept = await self._edge.notes.read(self._name("offer"))
        if kept is not None:
            await self._recall(kept)
        await self.look(FIRST_LOOK_S)

    async def look(self, within_s: float = LOOK_WITHIN_S) -> None:
        """Forget what was purged at the centre. ``within_s``: how long it may take to say."""
        try:
            more = True
            while more:
                page = await self._centre.purges(self._purged, within_s)
                few = page.known and len(page.notes) <= MOST_AT_ONCE
                for note in page.notes if few else (PurgeNote(),):
                    await self._forget(note)
                more = page.more and page.mark != self._purged
                if page.mark != self._purged or not self._known:
                    await self._edge.notes.write(self._name("purges"), page.mark.encode())
                self._purged, self._known = page.mark, True
        except (UpstreamError, StoreError) as error:
            if isinstance(error, ProviderRefused):  # a mark that the centre cannot read: begin anew
                self._purged = ""
            self._is_away(error.detail or error.public)
        else:
            self._is_back()

    async def pull(self) -> None:
        """The offer and the changed answers, where it is time for them."""
        now = self._edge.clock.monotonic()
        if now >= self._offer_due:
            self._offer_due = now + (OFFER_S if await self._tried(self._pull_offer) else AGAIN_S)
        if now >= self._answers_due:
            self._answers_due = now + (self._sync_s if await self._tried(self._pull_answers) else AGAIN_S)

    @property
    def up(self) -> bool:
        """Whether the centre was heard the last time that it was asked."""
        return self._known and not self._away

    # --- the three documents

    async def _forget(self, note: PurgeNote) -> None:
        """Of what came from there. Raises StoreError."""
        deployments = [f"{self._provider}/{model}" for model in note.models] or [f"{self._provider}/"]
        await self._edge.answers.purge(tenant=note.tenant, tag=note.tag, deployments=deployments)

    async def _pull_offer(self) -> None:
        offer = await self._centre.offer()
        if offer != self._offer:
            await self._edge.adopt(self._provider, offer)
            self._offer = offer
            await self._edge.notes.write(self._name("offer"), msgspec.json.encode(offer))

    async def _recall(self, kept: bytes) -> None:
        """The offer that held when the last process ended: an edge serves its cache when it starts without a centre."""
        try:
            offer = msgspec.json.decode(kept, type=Offer)
            await self._edge.adopt(self._provider, offer)
        except (msgspec.MsgspecError, UnicodeDecodeError, ArithmeticError, PenstockError) as error:
            log.warning("what was kept of a centre's offer is of no use", extra={"why": str(error)})
        else:
            self._offer = offer

    async def _pull_answers(self) -> None:
        for _ in range(MOST_PAGES):
            asked_at = self._edge.clock.now()
            page = await self._centre.answers(self._changed)
            for key, answer in self._read(page, asked_at):
                await self._take(key, answer, asked_at)
            self._changed = page.mark
            if not page.more:
                break
        await self._edge.notes.write(self._name("answers"), self._changed.encode())

    def _read(self, page: AnswersPage, now: float) -> Sequence[tuple[bytes, StoredAnswer]]:
        """All of a page's answers, each with its key. Raises BadAnswer, for all, when one makes no sense."""
        found = []
        for changed in page.answers:
            try:
                place = self._edge.place(changed.entry)
                _decode(changed.body)
            except (ValueError, RecursionError) as error:
                raise BadAnswer("the centre told answers that are none", detail=str(error)) from None
            if place is not None and changed.age_s < place.kept_s:
                found.append((place.key, self._stored(changed, place, now)))
        return found

    def _stored(self, changed: ChangedAnswer, place: Place, now: float) -> StoredAnswer:
        made_at = now - changed.age_s
        return StoredAnswer(
            body=changed.body,
            stored_at=made_at,
            expires_at=made_at + place.kept_s,
            attempt_id=changed.attempt_id,
            model=place.model,
            tenant=changed.tenant,
            tags=changed.tags,
            deployment=f"{self._provider}/{changed.model}",
            usage=changed.usage,
            estimated=changed.estimated,
        )

    async def _take(self, key: bytes, answer: StoredAnswer, asked_at: float) -> None:
        """Unless ours is as young: most of what changes there was asked for here. A second is no difference."""
        held = await self._edge.answers.get(key, self._edge.clock.now())
        if held is None or held.stored_at + 1 < answer.stored_at:
            self._edge.answers.put(key, answer, asked_at)

    # --- in small

    async def _tried(self, pull: Callable[[], Awaitable[object]]) -> bool:
        """Whether it worked; what did not is said, and changes nothing."""
        try:
            await pull()
        except PenstockError as error:
            if isinstance(error, ProviderRefused):
                self._changed = ""
            log.warning(
                "the centre was not followed", extra={"centre": self._provider, "why": error.detail or error.public}
            )
            return False
        return True

    def _is_away(self, why: str) -> None:
        if not self._away:
            log.warning("the centre is out; the edge serves on", extra={"centre": self._provider, "why": why})
            self._away = why

    def _is_back(self) -> None:
        if self._away:
            log.warning("the centre is back", extra={"centre": self._provider})
            self._away = ""
            self._answers_due = min(self._answers_due, self._edge.clock.monotonic() + LOOK_S)

    def _name(self, what: str) -> str:
        return f"{self._provider}.{what}"


def _text(note: bytes | None) -> str:
    return note.decode() if note is not None and note.isascii() else ""
