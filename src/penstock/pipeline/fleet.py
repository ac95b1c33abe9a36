"""The fleet: every deployment and every account as it does now, learned from its own calls. Outlives a reload.

A seat is a place at a deployment, from the plan that chose it to the end of its call. Who sits there is counted as in
flight, so that requests that are planned at the same moment do not all choose the same; what becomes of the call tells
the breakers of the deployment and of its account. Fails open: a fleet that knows nothing bars nothing.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from penstock.config.settings import DeploymentSettings, LimitSettings, ProviderSettings
from penstock.core.breaker import ACCOUNT, DEPLOYMENT, Blame, Breaker, State, blame, is_slow
from penstock.core.concurrency import AccountShare, Capacity
from penstock.core.latency import Quantile, Smoothed
from penstock.core.load import Load
from penstock.errors import PenstockError, UpstreamError
from penstock.pipeline.line import Line
from penstock.ports import Clock, Rng

WATCH_S: Final = 0.25
"""How often calls that are overdue are looked for, and what is usual is worked out anew."""
FULL: Final = "has all"
"""How the objection begins to one that only has too many calls under way."""
LEAST: Final = 4
"""Calls at once that a deployment is always trusted with."""
USUAL: Final = 0.95
"""The share of answers that have begun by the time that is called usual."""
ASKED_S: Final = 1.0
"""When to come back while one call finds out whether a deployment is back."""


class Account:
    """One provider's account: its standing, and the seats that it allows per model."""

    __slots__ = ("_credentials", "breaker", "shares")

    def __init__(self, provider: ProviderSettings) -> None:
        self.breaker = Breaker(ACCOUNT)
        self.shares: dict[str, AccountShare] = {}
        self._credentials = _credentials(provider)

    def follow(self, provider: ProviderSettings) -> None:
        """Go by these settings: other credentials are another chance."""
        credentials = _credentials(provider)
        if credentials != self._credentials:
            self._credentials, self.breaker = credentials, Breaker(ACCOUNT)


def _credentials(provider: ProviderSettings) -> tuple[object, ...]:
    return provider.api_key, provider.headers, provider.base_urls


class Member:
    """One deployment."""

    __slots__ = (
        "_first_byte", "_lengths", "_quantile", "_whole", "account", "breaker", "call_s", "deployment", "id",
        "in_flight", "limit", "seekers", "share", "silent", "usual_s",
    )  # fmt: skip

    def __init__(self, deployment: DeploymentSettings, account: Account, share: AccountShare, limit: Capacity) -> None:
        self.id = deployment.id
        self.deployment = deployment
        self.account = account
        self.share = share
        self.breaker = Breaker(DEPLOYMENT)
        self.limit = limit
        self.in_flight = 0
        self.silent: dict[Seat, None] = {}
        """Streams that were asked for and have not begun."""
        self.seekers: deque[Seekers] = deque()
        """Who waits for a seat here, or at others too; whose turn is next comes first."""
        self.usual_s: float | None = None
        """The P95 of the first bytes of its streams; None = too few are known."""
        self.call_s: float | None = None
        """How long half of its calls take at most, to their last byte; None = too few are known."""
        self._first_byte = Smoothed()
        self._whole = Smoothed()
        self._quantile = Quantile()
        self._lengths = Quantile()

    def follow(self, deployment: DeploymentSettings) -> None:
        """Go by these settings; what is known of it stays."""
        self.deployment = deployment
        self.share.known = deployment.concurrency
        self.account.follow(deployment.provider)

    @property
    def is_well(self) -> bool:
        """Whether nothing is held against it or its account."""
        return self.breaker.is_closed and self.account.breaker.is_closed

    def back_in_s(self, now: float) -> float | None:
        """When a call may be planned here again; None = now."""
        waits = [_back_in_s(breaker, now) for breaker in (self.account.breaker, self.breaker)]
        return max((wait_s for wait_s in waits if wait_s is not None), default=None)

    def began(self, waited_s: float, in_flight: int, now: float) -> None:
        """A stream gave its first data. ``in_flight``: with it, when it was sent."""
        self._first_byte.observe(waited_s, now)
        self._quantile.observe(waited_s, now)
        self.limit.began(waited_s, in_flight, now)

    def answered(self, took_s: float, in_flight: int, now: float) -> None:
        """A whole answer came. ``in_flight``: likewise."""
        self._whole.observe(took_s, now)
        self.limit.answered(took_s, in_flight, now)

    def ended(self, took_s: float, now: float) -> None:
        """A call ended well."""
        self._lengths.observe(took_s, now)

    def latency_s(self, now: float) -> float | None:
        """To the first byte; where nobody asks for streams, to the whole answer; None = not known."""
        first = self._first_byte.value(now)
        return self._whole.value(now) if first is None else first

    def learn(self, now: float) -> None:
        """Work out what is usual."""
        self.usual_s = self._quantile.value(USUAL, now)
        self.call_s = self._lengths.value(0.5, now)
        self.limit.look(now, self.call_s)


def _back_in_s(breaker: Breaker, now: float) -> float | None:
    until = breaker.until(now)
    if until is None:
        return None
    return max(0.0, until - now) if breaker.state(now) is State.OPEN else ASKED_S


def _why_out(member: Member, now: float) -> str:
    """What keeps calls from it, and until when; "" = nothing does."""
    for breaker, what in ((member.account.breaker, "has an account that is refused"), (member.breaker, "is out")):
        wait_s = _back_in_s(breaker, now)
        if wait_s is not None:
            is_open = breaker.state(now) is State.OPEN
            return f"{what}; it is " + (f"asked again in {wait_s:.1f} s" if is_open else "being asked again")
    return ""


def _blame(error: PenstockError) -> Blame:
    """Whom the end of a call is held against."""
    return blame(error.kind, error.status) if isinstance(error, UpstreamError) else Blame.NOBODY


class Seat:
    """A place at a deployment, for one call."""

    __slots__ = ("_beside", "_ended", "_fleet", "_member", "_others", "_sent_at", "_slow", "_taken_at", "deployment")

    def __init__(
        self, fleet: "Fleet", deployment: DeploymentSettings, member: Member, others: Sequence[Member], now: float
    ) -> None:
        """``others``: those that could have taken the call instead; ``now``: when the breakers admitted it."""
        self.deployment = deployment
        self._fleet = fleet
        self._member = member
        self._others = others
        self._taken_at = self._sent_at = now
        self._beside = member.in_flight
        self._slow = self._ended = False

    def send(self, *, streamed: bool) -> None:
        """The call goes out now."""
        self._sent_at = self._fleet.clock.monotonic()
        if streamed:
            self._member.silent[self] = None

    def begin(self) -> None:
        """The first data of a stream is there."""
        now = self._fleet.clock.monotonic()
        self.watch(now)
        self._member.silent.pop(self, None)
        self._member.began(now - self._sent_at, self._beside, now)

    def answer(self) -> None:
        """A whole answer is there."""
        now = self._fleet.clock.monotonic()
        self._member.answered(now - self._sent_at, self._beside, now)

    def watch(self, now: float) -> None:
        """Told from time to time until the stream begins: silence counts before it ends."""
        if not self._slow and is_slow(now - self._sent_at, self._usual_s()):
            self._slow = True
            self._report(self._member.breaker, now, ok=True, slow=True)

    def release(self) -> None:
        """Give the place back, if it is not yet: no call was made, or we ended it."""
        self.end(None, ours=True)

    def end(self, error: PenstockError | None, *, ours: bool = False) -> None:
        """The call has ended, by ``error`` or well. ``ours``: we ended it, which says nothing of the deployment."""
        if self._ended:
            return
        self._ended = True
        member, now = self._member, self._fleet.clock.monotonic()
        blamed = Blame.NOBODY if ours or error is None else _blame(error)
        if error is not None and blamed is Blame.SHARE:
            blamed = self._refused(error.retry_after_s, now)
        member.silent.pop(self, None)
        member.in_flight -= 1
        member.share.leave()
        well = error is None and not ours
        if well:
            member.ended(now - self._sent_at, now)
        if not (well and member.account.breaker.is_closed):
            self._judge(member.account.breaker, now, well=well, failed=blamed is Blame.ACCOUNT)
        self._judge(member.breaker, now, well=well and not self._slow, failed=blamed is Blame.DEPLOYMENT)
        self._fleet.freed(member)

    def _refused(self, retry_after_s: float | None, now: float) -> Blame:
        """The share shrinks. Who refuses what is left of it too is a failing deployment, where others can take over."""
        is_news = self._member.share.refused(self._sent_at, now, retry_after_s)
        return Blame.DEPLOYMENT if is_news and self._rivals() else Blame.SHARE

    def _judge(self, breaker: Breaker, now: float, *, well: bool, failed: bool) -> None:
        if well and breaker.is_closed:
            breaker.report(ok=True, sent_at=self._taken_at, now=now, chance=0.0)
        elif well or failed:
            self._report(breaker, now, ok=well)
        else:
            breaker.forget(self._taken_at)

    def _report(self, breaker: Breaker, now: float, *, ok: bool, slow: bool = False) -> None:
        breaker.report(
            ok=ok,
            sent_at=self._taken_at,
            now=now,
            chance=self._fleet.rng.random(),
            slow=slow,
            alone=not self._rivals(),
            under_way=self._member.in_flight,
        )

    def _rivals(self) -> list[Member]:
        """Those that could have taken the call instead, and do well."""
        return [each for each in self._others if each.is_well]

    def _usual_s(self) -> float | None:
        known = [each.usual_s for each in self._rivals() if each.usual_s is not None]
        return min(known, default=None)


class Seekers:
    """Those who wait for a seat at any of the same deployments."""

    __slots__ = ("line", "members")

    def __init__(self, line: Line, members: Sequence[Member]) -> None:
        self.line = line
        self.members = members
        for member in members:
            member.seekers.append(self)

    @property
    def called(self) -> int:
        """How many are on their way to a seat at these, from other lines too."""
        lines = {seekers.line for member in self.members for seekers in member.seekers}
        return sum(line.coming for line in lines)

    @property
    def call_s(self) -> float | None:
        """How long calls there usually take, None = nobody knows."""
        return max((member.call_s for member in self.members if member.call_s is not None), default=None)


@dataclass(frozen=True, slots=True)
class MemberState:
    """A deployment as the operator sees it. ``state``: its breaker's, or with ``account_`` before it its account's."""

    id: str
    region: str
    state: str
    in_flight: int
    limit: int
    """Calls at once that it may have."""
    latency_s: float | None
    usual_s: float | None
    back_in_s: float | None
    """When it is asked again; None = it is in."""


class Fleet:
    """Every deployment that was ever planned, by its id."""

    def __init__(self, clock: Clock, rng: Rng, limits: LimitSettings) -> None:
        self.clock = clock
        self.rng = rng
        self._limits = limits
        self._accounts: dict[str, Account] = {}
        self._members: dict[str, Member] = {}
        self._seekers: dict[tuple[str, ...], Seekers] = {}
        """By the ids of the deployments that they could go to."""

    def adopt(self, limits: LimitSettings) -> None:
        """Go by these from now on."""
        if limits.max_concurrency != self._limits.max_concurrency:
            for member in self._members.values():
                member.limit = _adaptive(limits)
        self._limits = limits
        for seekers in self._seekers.values():
            seekers.line.adopt(limits)
        self._call_all()

    def member(self, deployment: DeploymentSettings) -> Member:
        """What is known of a deployment."""
        member = self._members.get(deployment.id)
        if member is None:
            provider = deployment.provider
            account = self._accounts.get(provider.name) or self._accounts.setdefault(provider.name, Account(provider))
            share = account.shares.setdefault(deployment.model, AccountShare(deployment.concurrency))
            member = self._members[deployment.id] = Member(deployment, account, share, _adaptive(self._limits))
        elif member.deployment is not deployment:
            member.follow(deployment)
        return member

    # --- questions

    def objection(self, deployment: DeploymentSettings) -> str:
        """Why no call should be planned there now; "" = nothing speaks against it."""
        member, now = self.member(deployment), self.clock.monotonic()
        out = "" if member.is_well else _why_out(member, now)
        if out:
            return out
        if not member.share.allows(now):
            return f"{FULL} {member.share.limit(now):.0f} calls under way that its account allows"
        return "" if self._bears(member) else f"{FULL} {member.limit.limit} calls under way that it bears"

    def is_up(self, deployment: DeploymentSettings) -> bool:
        """Whether it is in: neither it nor its account is out."""
        return self.member(deployment).back_in_s(self.clock.monotonic()) is None

    def is_well(self, deployment: DeploymentSettings) -> bool:
        """Whether nothing is held against it: it is in, and not only to find out whether it is back."""
        return self.member(deployment).is_well

    def back_in_s(self, deployments: Sequence[DeploymentSettings]) -> float | None:
        """Seconds until the first of these may be asked again; None = none of them is out."""
        now = self.clock.monotonic()
        known = [self.member(each).back_in_s(now) for each in deployments]
        return min((wait_s for wait_s in known if wait_s is not None), default=None)

    def take_to_probe(self, deployment: DeploymentSettings, plan: Sequence[DeploymentSettings]) -> Seat | None:
        """A place there for a probe of ours; None unless it only wants to be asked whether it is back."""
        if self.is_well(deployment) or not self.is_up(deployment):
            return None
        return self.take(deployment, plan)

    def load(self, deployment: DeploymentSettings) -> Load:
        """What a balancer is told."""
        member = self.member(deployment)
        return Load(deployment.id, deployment.weight, member.in_flight, member.latency_s(self.clock.monotonic()))

    def _limit(self, member: Member, now: float) -> int:
        """Calls at once that it may have."""
        return int(min(member.share.limit(now), self._borne(member)))

    def _borne(self, member: Member) -> int:
        return member.limit.limit if self._limits.adaptive else self._limits.max_concurrency

    def _bears(self, member: Member) -> bool:
        return not self._limits.adaptive or member.limit.allows(member.in_flight)

    # --- seats

    def take(self, deployment: DeploymentSettings, plan: Sequence[DeploymentSettings]) -> Seat | None:
        """A place there, which must be ended; None = there is none by now. ``plan``: all that could take the call."""
        member, now = self.member(deployment), self.clock.monotonic()
        breakers = () if member.is_well else (member.account.breaker, member.breaker)
        if not (all(breaker.allows(now) for breaker in breakers) and self._bears(member)):
            return None
        if not member.share.enter(now):
            return None
        for breaker in breakers:
            breaker.admit(now)
        member.in_flight += 1
        others = [self.member(each) for each in plan if each.id != deployment.id] if len(plan) > 1 else ()
        return Seat(self, deployment, member, others, now)

    def freed(self, member: Member) -> None:
        """A seat is free: who waits for it may come, line by line in turn."""
        member.seekers.rotate(-1)
        for seekers in member.seekers:
            self._call(seekers)

    # --- who waits for a seat

    @property
    def has_lines(self) -> bool:
        """Whether anybody ever had to wait for a seat."""
        return bool(self._seekers)

    def must_wait(self, deployments: Sequence[DeploymentSettings]) -> bool:
        """Whether others wait for a seat at these already, and there is none to spare for one more."""
        seekers = self._seekers.get(_ids(deployments)) if self._seekers else None
        if seekers is None:
            return False
        self._call(seekers)
        return seekers.line.busy and self._spare(seekers) < 1

    async def wait(
        self, deployments: Sequence[DeploymentSettings], tenant: str, *, batch: bool, most_s: float = inf
    ) -> None:
        """Return when a seat at one of these may be free. Raises Saturated: ``most_s`` from now at the latest."""
        ids = _ids(deployments)
        seekers = self._seekers.get(ids) or self._seekers.setdefault(ids, self._gather(deployments))
        seekers.line.expect(seekers.call_s)
        await seekers.line.wait(tenant, batch=batch, most_s=most_s)
        self.clock.later(0.0, self._call_all)  # by then it has a seat, or wants none: the others may have what is left

    def _gather(self, deployments: Sequence[DeploymentSettings]) -> Seekers:
        def call() -> None:
            self._call(seekers)

        line = Line(self.clock, self._limits, "all deployments that can serve this have the calls they bear", call)
        seekers = Seekers(line, [self.member(each) for each in deployments])
        return seekers

    def _call(self, seekers: Seekers) -> None:
        """Let as many go on as there are seats for."""
        while self._spare(seekers) >= 1 and seekers.line.call():
            pass

    def _call_all(self) -> None:
        for seekers in self._seekers.values():
            self._call(seekers)

    def _spare(self, seekers: Seekers) -> float:
        """Seats that nobody was called to; without end where all are out: to wait there is in vain."""
        if not seekers.line.busy:
            return 0
        now = self.clock.monotonic()
        up = [member for member in seekers.members if member.back_in_s(now) is None]
        return sum(self._room(member, now) for member in up) - seekers.called if up else inf

    def _room(self, member: Member, now: float) -> int:
        """Seats that are free at one that is up; while it is found out whether it is well, one at a time."""
        room = max(0, self._limit(member, now) - member.in_flight)
        return room if member.is_well else min(1, room)

    # --- from time to time

    def watch(self) -> None:
        """Look after calls that are overdue, work out what is usual, and call to seats that time alone has freed."""
        now = self.clock.monotonic()
        for member in self._members.values():
            member.learn(now)
            for seat in tuple(member.silent):
                seat.watch(now)
        self._call_all()

    @property
    def waiting(self) -> int:
        """How many wait for a seat."""
        return sum(len(seekers.line) for seekers in self._seekers.values())

    @property
    def shed(self) -> Mapping[str, int]:
        """How many of those who waited for a seat were sent away, by why."""
        return sum((seekers.line.shed for seekers in self._seekers.values()), Counter[str]())

    def states(self) -> list[MemberState]:
        """Every deployment that was planned, as it does now."""
        now = self.clock.monotonic()
        return [self._state(member, now) for member in self._members.values()]

    def state(self, deployment: DeploymentSettings) -> MemberState:
        """A deployment as it does now, planned or not."""
        return self._state(self.member(deployment), self.clock.monotonic())

    def _state(self, member: Member, now: float) -> MemberState:
        state: str = member.breaker.state(now).value
        if member.account.breaker.state(now) is not State.CLOSED:
            state = f"account_{member.account.breaker.state(now).value}"
        return MemberState(
            id=member.id,
            region=member.deployment.region,
            state=state,
            in_flight=member.in_flight,
            limit=self._limit(member, now),
            latency_s=member.latency_s(now),
            usual_s=member.usual_s,
            back_in_s=member.back_in_s(now),
        )


def _adaptive(limits: LimitSettings) -> Capacity:
    return Capacity(LEAST, max(LEAST, limits.max_concurrency))


def _ids(deployments: Sequence[DeploymentSettings]) -> tuple[str, ...]:
    return tuple(each.id for each in deployments)
