"""The fleet: every deployment and every account as it does now, learned from its own calls. Outlives a reload.

Seats are taken here (``seat.py``), and waited for in lines. Fails open: a fleet that knows nothing bars nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from penstock.config.settings import DeploymentSettings, LimitSettings
from penstock.core.breaker import State
from penstock.core.concurrency import AccountShare, Capacity
from penstock.core.load import Load
from penstock.pipeline.line import Line
from penstock.pipeline.member import Account, Member, Seekers, why_out
from penstock.pipeline.seat import Seat
from penstock.ports.clock import Clock, Rng

WATCH_S: Final = 0.25
"""How often calls that are overdue are looked for, and what is usual is worked out anew."""
LEAST: Final = 4
"""Calls at once that a deployment is always trusted with."""


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
    first_byte_s: float | None = None
    """What streams there have taken to begin lately; None = nobody knows."""


class Fleet:
    """Every deployment that the config names, or that a call is still under way to, by its id."""

    def __init__(self, clock: Clock, rng: Rng, limits: LimitSettings) -> None:
        self.clock = clock
        self.rng = rng
        self._limits = limits
        self._accounts: dict[str, Account] = {}
        self._members: dict[str, Member] = {}
        self._seekers: dict[tuple[str, ...], Seekers] = {}
        """By the ids of the deployments that they could go to."""
        self._shed_before = Counter[str]()
        """By those lines that are no more."""
        self._named: frozenset[str] | None = None
        """The ids of the config's deployments; None = nobody has said which."""

    def adopt(self, limits: LimitSettings, deployments: Iterable[DeploymentSettings]) -> None:
        """Go by these from now on. ``deployments``: of all models, each as often as it is named."""
        self._follow(deployments)
        if limits.max_concurrency != self._limits.max_concurrency:
            for member in self._members.values():
                member.limit = _adaptive(limits)
        self._limits = limits
        for seekers in self._seekers.values():
            seekers.line.adopt(limits)
        self._call_all()

    def _follow(self, deployments: Iterable[DeploymentSettings]) -> None:
        """Several models may name the same one: the first says what it is, and the least concurrency of all holds."""
        named: dict[str, list[DeploymentSettings]] = {}
        for each in deployments:
            named.setdefault(each.id, []).append(each)
        self._named = frozenset(named)
        for same in named.values():
            allowed = [each.concurrency for each in same if each.concurrency is not None]
            self.member(same[0]).follow(same[0], min(allowed, default=None))
        self._forget()

    def _forget(self) -> None:
        """Let go of what the config names no more, once nobody is there."""
        gone = [name for name, member in self._members.items() if name not in (self._named or ()) and member.is_idle]
        for name in gone:
            member = self._members.pop(name)
            for seekers in tuple(member.seekers):
                self._part(seekers)
        accounts = {member.account for member in self._members.values()}
        self._accounts = {name: account for name, account in self._accounts.items() if account in accounts}

    def _part(self, seekers: Seekers) -> None:
        """Nobody waits there, and nobody will."""
        for member in seekers.members:
            member.seekers.remove(seekers)
        self._shed_before += seekers.line.shed
        self._seekers = {ids: each for ids, each in self._seekers.items() if each is not seekers}

    def member(self, deployment: DeploymentSettings) -> Member:
        """What is known of a deployment. It goes by the settings of the last reload, whatever its caller's are."""
        member = self._members.get(deployment.id)
        if member is None:
            provider = deployment.provider
            account = self._accounts.get(provider.name) or self._accounts.setdefault(provider.name, Account(provider))
            share = account.shares.setdefault(deployment.model, AccountShare(deployment.concurrency))
            member = self._members[deployment.id] = Member(deployment, account, share, _adaptive(self._limits))
        return member

    # --- questions

    def objection(self, deployment: DeploymentSettings) -> str:
        """Why no call should be planned there now; "" = nothing speaks against it."""
        member, now = self.member(deployment), self.clock.monotonic()
        out = "" if member.is_well else why_out(member, now)
        if out:
            return out
        if not member.share.allows(now):
            return f"has all {member.share.limit(now):.0f} calls under way that its account allows"
        return "" if self._bears(member) else f"has all {member.limit.limit} calls under way that it bears"

    def is_up(self, deployment: DeploymentSettings) -> bool:
        """Whether it is in: neither it nor its account is out."""
        return self.member(deployment).back_in_s(self.clock.monotonic()) is None

    def is_full(self, deployment: DeploymentSettings) -> bool:
        """Whether it is in, and only has too many calls under way."""
        member, now = self.member(deployment), self.clock.monotonic()
        return member.back_in_s(now) is None and not (member.share.allows(now) and self._bears(member))

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
        if not (self._bears(member) and member.share.enter(now)):
            return None
        if not (member.is_well or member.admit(now)):
            member.share.leave()
            return None
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
        if self._named is not None and len(self._members) > len(self._named):
            self._forget()
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
        return sum((seekers.line.shed for seekers in self._seekers.values()), self._shed_before)

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
            first_byte_s=member.first_byte_s(now),
            usual_s=member.usual_s,
            back_in_s=member.back_in_s(now),
        )


def _adaptive(limits: LimitSettings) -> Capacity:
    return Capacity(LEAST, max(LEAST, limits.max_concurrency))


def _ids(deployments: Sequence[DeploymentSettings]) -> tuple[str, ...]:
    return tuple(each.id for each in deployments)
