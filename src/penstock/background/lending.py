"""The parts of shared budgets that this node is lent: asked for before they are spent, given back when they are idle.

A node lives under a lease. That ends when it was silent, when what lends was emptied, restored or failed over, or when
the ledger says so; then the node begins another, and its bank with it (docs/adr/0014-many-nodes.md).

Fails closed: while nobody lends, what was lent before may be spent and nothing else; keys whose ``on_failure`` is
``answer`` may overspend by one slice per node. A node that can neither renew its lease nor be fenced spends nothing.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from math import inf
from typing import Final, NamedTuple, Protocol

from penstock.background.accounts import Accounts
from penstock.core.bank import Bank, Claim
from penstock.core.budget import Budget, Payer, Place
from penstock.core.parts import Parts, Standing
from penstock.errors import EpochLost, LeaseEnded, SharedUnavailable, StoreError
from penstock.ports.clock import Clock
from penstock.ports.leases import LEASE_S, Epoch, Fence, Leases
from penstock.ports.ledger import Posted, PostedQuery
from penstock.ports.lending import Lent, Return, Rooms, Want

log = logging.getLogger(__name__)

BEAT_S: Final = 1.0
PIECE: Final = 100
"""So many accounts are spoken of in one call, which is some milliseconds of Redis."""
PIECES: Final = 10
"""So many calls are made in a beat to give back, and about as many to hear; with more accounts they take turns."""
MOST: Final = PIECE * PIECES
UNFENCED_S: Final = LEASE_S / 2
"""So long after its lease was renewed last a node that cannot be fenced may spend what it was lent."""
TRIES: Final = 5
"""What was counted anew, or set just now, is asked again."""
MADE_BY: Final = " by "
"""Between the server of an epoch and the node that made it."""
BEGIN_WITHIN_S: Final = 0.05
"""Between the making of an epoch and its begin."""
NOBODY_LENDS: Final = "what is left of the budgets cannot be asked for now, so nothing more is spent: try again"
RETRY_AFTER_S: Final = 1.0
COUNTED_ANEW: Final = "the budgets that nodes share are being counted anew: try again"


class Terms(NamedTuple):
    """How is lent: of config ``shared``."""

    slice: float = 0.01
    """The part of a limit that is asked for beyond what is needed at once."""
    open_keys: frozenset[str] = frozenset()
    """Names of keys that are answered while nobody lends."""
    open_default: bool = False
    """The same for all others."""

    def opens(self, key: str) -> bool:
        """Whether a key may overspend by a slice."""
        return key in self.open_keys or self.open_default


class Books(Protocol):
    """The bank that spends what is lent."""

    bank: Bank
    budgets: tuple[Budget, ...]

    def lent(self) -> None:
        """Parts have grown."""
        ...

    def begin_again(self) -> None:
        """The lease is over."""
        ...


class Lending:
    """Keeps the lease, and asks."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        leases: Leases,
        clock: Clock,
        node: str,
        fence: Fence,
        on_overspent: Callable[[str], None],
    ) -> None:
        """``on_overspent``: told of each budget of which more was given than was lent."""
        self.terms = Terms()
        self.lease = 0
        self._rooms = rooms
        self._leases = leases
        self._clock = clock
        self._node = node
        self._fence = fence
        fence.may_open_alone = self._was_renewed
        self._on_overspent = on_overspent
        self._epoch = 0
        self._renewed_at = -inf
        self._parts = Parts()
        self._restless: dict[Place, None] = {}
        """Accounts with something to say: spent, or lent and idle; who waits longest is first."""
        self._silent: list[int] = []
        """Other leases, as of the last beat."""
        self._spoken: list[Place] = []
        """Of which accounts was spoken in the last beat: they are heard first."""
        self._looking: asyncio.Task[None] | None = None
        self._accounts = Accounts(rooms, leases, clock)
        self._books: Books | None = None
        self._asking: dict[tuple[Place, ...], _Asking] = {}
        self._beginning: asyncio.Task[None] | None = None
        self._speaking = asyncio.Lock()
        """Answers are heard in the order of what was asked: an older one would give back what is ours no more."""
        self._lost = 0
        """An epoch that stands in the ledger and not where room is lent, or not as it should be."""
        self._late = self._late_before = 0
        """Late openings that an epoch was begun for, and those of the last beat."""

    # --- the lease

    async def start(self, books: Books) -> None:
        """Begin the first lease. Raises SharedUnavailable, StoreError."""
        self._books = books
        self._accounts.budgets = lambda: books.budgets
        await self.begin_again()

    async def begin_again(self) -> None:
        """Take another lease; whoever asks meanwhile waits for the same. Raises SharedUnavailable, StoreError."""
        if self._beginning is None:
            self._beginning = asyncio.ensure_future(self._begin())
            self._beginning.add_done_callback(self._begun)
        await asyncio.shield(self._beginning)

    async def _after(self, error: StoreError, epoch: int, lease: int) -> None:
        """What was asked under that lease failed for it: take another, unless that was done meanwhile."""
        if isinstance(error, EpochLost):
            self._lost = epoch
        if lease == self.lease:
            await self.begin_again()

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._beginning = None
        if not task.cancelled():
            task.exception()  # told to those who wait for it

    async def _begin(self) -> None:
        async with self._speaking:  # what was said under the lease before has been heard
            epoch, lease = await self._enter()
            self._epoch, self._renewed_at = epoch, self._clock.monotonic()
            self._parts.clear()
            self._restless.clear()
            self._silent.clear()
            before, self.lease = self.lease, lease
            self._fence.lease = lease
            if self._books is not None and before:
                self._accounts.unsettled.add(before)
                log.warning("a lease has ended: its rows say what it spent", extra={"lease": before})
                self._books.begin_again()

    async def _enter(self) -> tuple[int, int]:
        """The epoch and a lease in it; the epoch is begun where that has to be."""
        for attempt in range(TRIES):
            server = await self._rooms.server()
            epoch = await self._leases.epoch()
            if _server_of(epoch) != server or epoch.number == self._lost:
                made_by = f"{server}{MADE_BY}{self._node}"
                epoch = await self._leases.next_epoch(made_by, epoch.number)
                if epoch.redis_id != made_by:  # who made it begins it
                    continue
                await self._rooms.begin(epoch.number, server)
                log.warning("budgets are counted anew", extra={"epoch": epoch.number})
            try:
                return epoch.number, await self._enter_under(epoch.number)
            except LeaseEnded:
                continue
            except EpochLost:
                if attempt:  # who made it has had the time to begin it
                    self._lost = epoch.number
                await self._clock.sleep(BEGIN_WITHIN_S)
        raise SharedUnavailable(COUNTED_ANEW, retry_after_s=RETRY_AFTER_S)

    async def _enter_under(self, epoch: int) -> int:
        """A lease that both know. One that only the ledger knows would never be found silent, so it is ended here."""
        lease = await self._leases.begin(self._node)
        try:
            await self._rooms.enter(epoch, str(lease))
        except StoreError:
            await self._leases.end(lease)
            raise
        return lease

    async def close(self) -> None:
        """End the lease: what is left of it can be lent to others at once. Raises SharedUnavailable, StoreError."""
        if self._looking is not None:
            self._looking.cancel()
        if self.lease:
            await self._fence.settled()  # what waits on this machine is not in what its rows say
            await self._leases.end(self.lease)
            await self._count(self.lease, final=False)
            self._accounts.unsettled.add(self.lease)
            await self._settle()

    # --- what the treasury asks

    def standing(self, place: Place) -> Standing:
        """What it has of an account."""
        part = self._parts.of(place)
        return Standing(part.most if self._trusted else part.extra, part.elsewhere)

    def places(self) -> Iterable[Place]:
        """Of which accounts it has heard."""
        return self._parts.places()

    @property
    def _trusted(self) -> bool:
        """Whether nobody can have lent our parts to others without our rows being counted first."""
        return self._fence.fenced or self._was_renewed()

    def _was_renewed(self) -> bool:
        return self._clock.monotonic() - self._renewed_at < UNFENCED_S

    async def provide(self, claims: Sequence[Claim], payer: Payer) -> bool:
        """Ask for what they lack; whether anything was lent, to them or to who asks for the same with them.

        Raises SharedUnavailable, unless the key is one that is answered then.
        """
        asking = self._asking.get(_hard(claims))
        if asking is None:
            asking = self._begin_asking(claims)
        else:
            asking.join(claims)
        try:
            return await asyncio.shield(asking.task)
        except StoreError as error:
            if not (self.terms.opens(payer.key) and self._overspend(claims)):
                raise SharedUnavailable(NOBODY_LENDS, retry_after_s=RETRY_AFTER_S) from error
            return False

    def seek(self, claims: Sequence[Claim], payer: Payer) -> None:
        """The same, without waiting."""
        task = asyncio.ensure_future(self.provide(claims, payer))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def foresee(self, claims: Sequence[Claim]) -> None:
        """Ask now; whoever lacks them then joins in. It goes out with this turn of the loop."""
        if _hard(claims) not in self._asking:
            self._begin_asking(claims)

    def restock(self, claims: Sequence[Claim]) -> None:
        """Ask for the next slice, without waiting, where most of the last is used."""
        low = [claim for claim in claims if claim.hard and self._ahead(claim.place)]
        if low:
            for claim in low:
                self._parts.of(claim.place).is_asked = True
            task = asyncio.ensure_future(self._ask_ahead([claim.place for claim in low]))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _ahead(self, place: Place) -> int:
        return self._parts.of(place).ahead(self._used(place))

    async def _ask_ahead(self, places: Sequence[Place]) -> None:
        """Nobody is refused for what is not there: the next who lacks it asks again. Raises StoreError."""
        async with self._speaking:
            await self._hear_of([Want(place, self._limit(place), self._slice_left(place), 0) for place in places])

    def _slice_left(self, place: Place) -> int:
        part = self._parts.of(place)
        return max(0, part.slice - (part.lent - self._used(place)))

    async def posted(self, queries: Sequence[PostedQuery]) -> Sequence[Sequence[Posted]]:
        """What is settled or held under this lease."""
        return await self._leases.spent(self.lease, queries)

    def _begin_asking(self, claims: Sequence[Claim]) -> "_Asking":
        places = _hard(claims)
        asking = self._asking[places] = _Asking(claims)
        asking.task = asyncio.ensure_future(self._ask(asking))
        asking.task.add_done_callback(lambda done: done.cancelled() or done.exception())  # likewise
        return asking

    async def _ask(self, asking: "_Asking") -> bool:
        """One round: whoever lacks the same shares it. Whether anything was lent.

        Nobody joins it any more when it ends, not even in the same turn of the loop: what is told is not told to them.
        """
        try:
            return await self._ask_again_and_again(asking)
        finally:
            del self._asking[_hard(asking.claims)]

    async def _ask_again_and_again(self, asking: "_Asking") -> bool:
        for _ in range(TRIES):
            epoch, lease = self._epoch, self.lease
            try:
                unknown, grown = await self._ask_once(asking)
                if not unknown:
                    return grown
                await self._accounts.make(epoch, lease, unknown)
            except (EpochLost, LeaseEnded) as error:
                await self._after(error, epoch, lease)
        raise SharedUnavailable(COUNTED_ANEW, retry_after_s=RETRY_AFTER_S)

    async def _ask_once(self, asking: "_Asking") -> tuple[Sequence[Place], bool]:
        """Which of the accounts are not known; then nothing was lent. Whether anything was."""
        async with self._speaking:
            wants = [self._want(claim, asking.more[claim.place]) for claim in asking.claims if claim.hard]
            lent = await self._rooms.ask(self._epoch, str(self.lease), wants)
            unknown = [want.place for want, each in zip(wants, lent, strict=True) if not each.known]
            if not unknown:
                self._hear(wants, lent)
        return unknown, any(each.lent for each in lent)

    def _want(self, claim: Claim, more: int) -> Want:
        """``more``: what others of this node ask for with it."""
        part, limit = self._parts.of(claim.place), self._limit(claim.place)
        part.slice = int(self.terms.slice * limit)
        least = max(0, self._used(claim.place) + claim.amount - part.lent)
        return Want(claim.place, limit, least + more + part.slice if least else 0, least)

    def _limit(self, place: Place) -> int:
        """All that may be spent of it, now: what a claim says of it was true when it was made."""
        budgets = () if self._books is None else self._books.budgets
        return next((budget.limit_of(place.value) for budget in budgets if budget.id == place.budget), 0)

    def _used(self, place: Place) -> int:
        return 0 if self._books is None else self._books.bank.account(place).used

    def _hear(self, wants: Sequence[Want], lent: Sequence[Lent]) -> None:
        grown = False
        for want, each in zip(wants, lent, strict=True):
            part = self._parts.of(want.place)
            if each.part > part.lent:
                grown = True
                self._restless[want.place] = None
            if each.lent and each.lent >= want.want:
                part.is_asked = False
            part.lent, part.extra = each.part, 0
            part.elsewhere = each.spent - part.told
        if grown and self._books is not None:
            self._books.lent()

    def _overspend(self, claims: Sequence[Claim]) -> bool:
        """Whether parts suffice with a slice more of what they lack, once until somebody lends again.

        What is spent as far as anybody knows is no matter of parts.
        """
        suffice = True
        for claim in claims:
            part, used = self._parts.of(claim.place), self._used(claim.place)
            if not claim.hard or used + claim.amount > claim.limit:
                continue
            if used + claim.amount > part.most and not part.extra:
                part.extra = int(self.terms.slice * self._limit(claim.place))
                self._on_overspent(claim.place.budget)
            suffice &= used + claim.amount <= part.most
        return suffice

    # --- every second

    async def beat(self) -> None:
        """Renew the lease and give back what is idle; then look after the rest.

        That may take long, where many accounts are made or a large lease is counted: it goes on behind then, so that
        the next renewal is in time.
        """
        await self._under_lease(self._renew)
        looking = self._looking = self._looking or asyncio.ensure_future(self._under_lease(self._look))
        try:
            await asyncio.wait([looking], timeout=BEAT_S / 2)
        except asyncio.CancelledError:
            looking.cancel()
            raise
        if looking.done():
            self._looking = None
            looking.result()

    async def _under_lease(self, job: Callable[[], Awaitable[None]]) -> None:
        epoch, lease = self._epoch, self.lease
        try:
            await job()
        except (EpochLost, LeaseEnded) as error:
            await self._after(error, epoch, lease)

    def _look_for_late(self) -> None:
        """What was opened under a lease that had been counted for good is in no count: all is counted anew.

        Raises EpochLost, a beat after the last of it was written, and until an epoch has begun.
        """
        late, before = self._fence.late_openings, self._late_before
        self._late_before = late
        if self._late < late == before:
            self._late, self._lost = late, self._epoch
            log.warning("what was opened while the store was away came after the end of its lease", extra={"all": late})
        if self._lost == self._epoch:
            raise EpochLost(self._epoch)

    async def _renew(self) -> None:
        """Renew; then give back, first where somebody is short, as much as one beat may speak of."""
        async with self._speaking:
            began = self._clock.monotonic()
            beat = await self._rooms.renew(self._epoch, str(self.lease), ())
            self._renewed_at = began
            self._accounts.unsettled.update(map(int, beat.ended))  # also those of nodes that are gone since
            self._silent = list(map(int, beat.silent))
        if self._books is not None:
            self._restless.update(dict.fromkeys(self._books.bank.changed()))
        short, self._spoken = frozenset(beat.short), []
        for piece in _pieces([*beat.short, *(place for place in self._restless if place not in short)][:MOST]):
            await self._give_back(piece, short)
            self._spoken += piece

    async def _give_back(self, places: Sequence[Place], short: frozenset[Place]) -> None:
        """What was spent, and what is idle. Where that is not heard it is said again."""
        async with self._speaking:
            returns = [self._return(place, short=place in short) for place in places]
            parts = await self._rooms.give_back(self._epoch, str(self.lease), returns)
            for place, lent in zip(places, parts, strict=True):
                self._parts.of(place).lent = lent
                self._restless.pop(place, None)
                if lent > self._used(place):
                    self._restless[place] = None

    def _return(self, place: Place, *, short: bool) -> Return:
        account = Bank().account(place) if self._books is None else self._books.bank.account(place)
        part = self._parts.of(place)
        back = part.beat(account.posted, account.used, short=short)
        part.lent -= back  # from now on it is not ours to spend, whatever becomes of the answer
        return Return(place, back, account.posted)

    async def _look(self) -> None:
        """Hear how others stand, end leases that are silent, count those that are settled, forget what is over."""
        turn = self._parts.turn(max(MOST // 2, MOST - len(self._spoken)))
        turn = list(dict.fromkeys([*self._spoken, *turn]))
        for piece in _pieces(turn):
            await self._listen(piece)
        for former in self._silent:
            await self._leases.end(former)
            self._accounts.unsettled.add(former)
            await self._count(former, final=False)
        await self._settle()
        self._parts.forget(self._accounts.over(turn))
        self._look_for_late()

    async def _listen(self, places: Sequence[Place]) -> None:
        """How others stand with these accounts; what we spent of one that nobody made yet is in there."""
        epoch, lease = self._epoch, self.lease
        async with self._speaking:
            unknown = await self._hear_of([Want(place, 0, 0, 0) for place in places])
        if unknown:
            await self._accounts.make(epoch, lease, unknown)

    async def _hear_of(self, wants: Sequence[Want]) -> Sequence[Place]:
        """Ask, and hear of those that are known; the others."""
        lent = await self._rooms.ask(self._epoch, str(self.lease), wants)
        known = [(want, each) for want, each in zip(wants, lent, strict=True) if each.known]
        self._hear([want for want, _ in known], [each for _, each in known])
        return [want.place for want, each in zip(wants, lent, strict=True) if not each.known]

    async def _settle(self) -> None:
        """What has ended and holds nothing any more is counted for good."""
        if not self._accounts.unsettled:
            return
        holding = set(await self._leases.unsettled())
        for lease in self._accounts.unsettled - holding:
            await self._count(lease, final=True)
            self._accounts.unsettled.discard(lease)

    async def _count(self, lease: int, *, final: bool) -> None:
        """Of a lease that has ended nobody has more than its rows say."""
        spent = await self._accounts.spent_by(lease)
        await self._rooms.set_lease(self._epoch, str(lease), spent, final=final)


class _Asking:
    """A question on its way, and for how much more those have joined it who lack the same.

    What the first of them lacks is needed, else nothing is lent; the rest is taken where there is plenty, so that a
    crowd need not be lent to one by one.
    """

    __slots__ = ("claims", "more", "task")

    def __init__(self, claims: Sequence[Claim]) -> None:
        self.claims = claims
        self.more = Counter[Place]()
        self.task: asyncio.Task[bool]

    def join(self, claims: Sequence[Claim]) -> None:
        """One more lacks that; who comes after it was asked asks again."""
        for claim in claims:
            self.more[claim.place] += claim.amount


def _hard(claims: Sequence[Claim]) -> tuple[Place, ...]:
    """The accounts that stand in the way."""
    return tuple(claim.place for claim in claims if claim.hard)


def _pieces(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    """Each is spoken of in one call."""
    return (places[start : start + PIECE] for start in range(0, len(places), PIECE))


def _server_of(epoch: Epoch) -> str:
    return epoch.redis_id.partition(MADE_BY)[0]
