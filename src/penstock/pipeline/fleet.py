"""The fleet: every deployment and every account as it does now, learned from its own calls. Outlives a reload.

A seat is a place at a deployment, from the plan that chose it to the end of its call. Who sits there is counted as in
flight, so that requests that are planned at the same moment do not all choose the same; what becomes of the call tells
the breakers of the deployment and of its account. Fails open: a fleet that knows nothing bars nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.config.settings import DeploymentSettings, LimitSettings
from penstock.core.breaker import ACCOUNT, DEPLOYMENT, Blame, Breaker, State, blame, is_slow
from penstock.core.concurrency import AccountShare, AdaptiveLimit
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


class Account:
    """One provider's account: its standing, and the seats that it allows per model."""

    __slots__ = ("breaker", "shares")

    def __init__(self) -> None:
        self.breaker = Breaker(ACCOUNT)
        self.shares: dict[str, AccountShare] = {}


class Member:
    """One deployment."""

    __slots__ = (
        "_first_byte", "_quantile", "_whole", "account", "breaker", "id", "in_flight", "limit", "region", "share",
        "silent", "usual_s",
    )  # fmt: skip

    def __init__(self, deployment: DeploymentSettings, account: Account, share: AccountShare, most: int) -> None:
        """``most``: calls at once that are never exceeded here."""
        self.id = deployment.id
        self.region = deployment.region
        self.account = account
        self.share = share
        self.breaker = Breaker(DEPLOYMENT)
        self.limit = AdaptiveLimit(LEAST, max(LEAST, most))
        self.in_flight = 0
        self.silent: dict[Seat, None] = {}
        """Streams that were asked for and have not begun."""
        self.usual_s: float | None = None
        """The P95 of the first bytes of its streams; None = too few are known."""
        self._first_byte = Smoothed()
        self._whole = Smoothed()
        self._quantile = Quantile()

    def began(self, waited_s: float, in_flight: int, now: float) -> None:
        """A stream gave its first data. ``in_flight``: with it, when it was sent."""
        self._first_byte.observe(waited_s, now)
        self._quantile.observe(waited_s, now)
        self.limit.observe(waited_s, in_flight, now)

    def answered(self, took_s: float, now: float) -> None:
        """A whole answer came."""
        self._whole.observe(took_s, now)

    def latency_s(self, now: float) -> float | None:
        """To the first byte; where nobody asks for streams, to the whole answer; None = not known."""
        first = self._first_byte.value(now)
        return self._whole.value(now) if first is None else first

    def learn(self, now: float) -> None:
        """Work out what is usual."""
        self.usual_s = self._quantile.value(USUAL, now)


def _blame(error: PenstockError) -> Blame:
    """Whom the end of a call is held against."""
    return blame(error.kind, error.status) if isinstance(error, UpstreamError) else Blame.NOBODY


class Seat:
    """A place at a deployment, for one call."""

    __slots__ = ("_beside", "_ended", "_fleet", "_member", "_others", "_sent_at", "_slow", "_taken_at", "deployment")

    def __init__(
        self, fleet: "Fleet", deployment: DeploymentSettings, member: Member, others: Sequence[Member]
    ) -> None:
        """``others``: those that could have taken the call instead."""
        self.deployment = deployment
        self._fleet = fleet
        self._member = member
        self._others = others
        self._taken_at = self._sent_at = fleet.clock.monotonic()
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
        self._member.silent.pop(self, None)
        self._member.began(now - self._sent_at, self._beside, now)

    def answer(self) -> None:
        """A whole answer is there."""
        now = self._fleet.clock.monotonic()
        self._member.answered(now - self._sent_at, now)

    def watch(self, now: float) -> None:
        """Told from time to time while the stream has not begun: silence counts before it ends."""
        if not self._slow and is_slow(now - self._sent_at, self._usual_s()):
            self._slow = True
            self._report(self._member.breaker, now, ok=True)

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
            member.share.refused(self._sent_at, now, error.retry_after_s)
        member.silent.pop(self, None)
        member.in_flight -= 1
        member.share.leave()
        well = error is None and not ours
        self._judge(member.account.breaker, now, well=well, failed=blamed is Blame.ACCOUNT)
        self._judge(member.breaker, now, well=well and not self._slow, failed=blamed is Blame.DEPLOYMENT)
        self._fleet.freed(member)

    def _judge(self, breaker: Breaker, now: float, *, well: bool, failed: bool) -> None:
        if well or failed:
            self._report(breaker, now, ok=well)
        else:
            breaker.forget(self._taken_at)

    def _report(self, breaker: Breaker, now: float, *, ok: bool) -> None:
        breaker.report(
            ok=ok,
            sent_at=self._taken_at,
            now=now,
            chance=self._fleet.rng.random(),
            slow=self._slow,
            alone=not self._rivals(now),
        )

    def _rivals(self, now: float) -> list[Member]:
        """Those that could have taken the call instead, and do well."""
        return [each for each in self._others if each.breaker.state(now) is State.CLOSED]

    def _usual_s(self) -> float | None:
        known = [each.usual_s for each in self._rivals(self._fleet.clock.monotonic()) if each.usual_s is not None]
        return min(known, default=None)


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
        self._lines: dict[str, Line] = {}
        self._served: dict[str, set[str]] = {}
        """The models in whose lines one waits for a seat at a deployment, by its id."""

    def adopt(self, limits: LimitSettings) -> None:
        """Go by these from now on."""
        self._limits = limits
        for line in self._lines.values():
            line.adopt(limits)

    def member(self, deployment: DeploymentSettings) -> Member:
        """What is known of a deployment."""
        member = self._members.get(deployment.id)
        if member is None:
            account = self._accounts.setdefault(deployment.provider.name, Account())
            share = account.shares.setdefault(deployment.model, AccountShare(deployment.concurrency))
            member = Member(deployment, account, share, self._limits.max_concurrency)
            self._members[deployment.id] = member
        return member

    # --- questions

    def objection(self, deployment: DeploymentSettings) -> str:
        """Why no call should be planned there now; "" = nothing speaks against it."""
        member, now = self.member(deployment), self.clock.monotonic()
        for breaker, what in ((member.account.breaker, "has an account that is refused"), (member.breaker, "is out")):
            until = breaker.until(now)
            if until is not None:
                return f"{what}; it is asked again in {max(0.0, until - now):.1f} s"
        if not member.share.allows(now):
            return f"{FULL} {member.share.limit(now):.0f} calls under way that its account allows"
        return "" if self._bears(member) else f"{FULL} {member.limit.limit} calls under way that it bears"

    def is_up(self, deployment: DeploymentSettings) -> bool:
        """Whether it is in: neither it nor its account is out."""
        return self._out_until(self.member(deployment), self.clock.monotonic()) is None

    def back_in_s(self, deployments: Sequence[DeploymentSettings]) -> float | None:
        """Seconds until the first of these may be asked again; None = none of them is out."""
        now = self.clock.monotonic()
        known = [self._out_until(self.member(each), now) for each in deployments]
        return min((max(0.0, until - now) for until in known if until is not None), default=None)

    def load(self, deployment: DeploymentSettings) -> Load:
        """What a balancer is told."""
        member = self.member(deployment)
        return Load(deployment.id, deployment.weight, member.in_flight, member.latency_s(self.clock.monotonic()))

    def _out_until(self, member: Member, now: float) -> float | None:
        untils = [breaker.until(now) for breaker in (member.account.breaker, member.breaker)]
        return max((until for until in untils if until is not None), default=None)

    def _borne(self, member: Member) -> int:
        return member.limit.limit if self._limits.adaptive else self._limits.max_concurrency

    def _bears(self, member: Member) -> bool:
        return not self._limits.adaptive or member.limit.allows(member.in_flight)

    # --- seats

    def take(self, deployment: DeploymentSettings, plan: Sequence[DeploymentSettings]) -> Seat | None:
        """A place there, which must be ended; None = there is none by now. ``plan``: all that could take the call."""
        member, now = self.member(deployment), self.clock.monotonic()
        account = member.account.breaker
        if not (account.allows(now) and member.breaker.allows(now) and self._bears(member)):
            return None
        if not member.share.enter(now):
            return None
        account.admit(now)
        member.breaker.admit(now)
        member.in_flight += 1
        others = [self.member(each) for each in plan if each.id != deployment.id] if len(plan) > 1 else ()
        return Seat(self, deployment, member, others)

    def must_wait(self, model: str) -> bool:
        """Whether others wait already for a seat at a deployment of that model."""
        line = self._lines.get(model)
        return line is not None and line.busy

    async def wait(self, model: str, deployments: Sequence[DeploymentSettings], tenant: str, *, batch: bool) -> None:
        """Return when a seat at one of these may be free. Raises Saturated."""
        line = self._lines.get(model)
        if line is None:
            what = f"all deployments of {model!r} have the calls they can serve"
            line = self._lines[model] = Line(self.clock, self._limits, what, lambda: self._call(model))
        for each in deployments:
            self._served.setdefault(each.id, set()).add(model)
        await line.wait(tenant, batch=batch)

    def freed(self, member: Member) -> None:
        """A seat is free: who waits for it may come."""
        for model in self._served.get(member.id, ()):
            self._call(model)

    def _call(self, model: str) -> None:
        self._lines[model].call()

    # --- from time to time

    def watch(self) -> None:
        """Look after calls that are overdue, and work out what is usual."""
        now = self.clock.monotonic()
        for member in self._members.values():
            member.learn(now)
            for seat in tuple(member.silent):
                seat.watch(now)

    @property
    def waiting(self) -> int:
        """How many wait for a seat."""
        return sum(map(len, self._lines.values()))

    @property
    def shed(self) -> Mapping[str, int]:
        """How many of those who waited for a seat were sent away, by why."""
        return sum((line.shed for line in self._lines.values()), Counter[str]())

    def states(self) -> list[MemberState]:
        """Every deployment that was planned, as it does now."""
        now = self.clock.monotonic()
        return [self._state(member, now) for member in self._members.values()]

    def state(self, deployment: DeploymentSettings) -> MemberState:
        """A deployment as it does now, planned or not."""
        return self._state(self.member(deployment), self.clock.monotonic())

    def _state(self, member: Member, now: float) -> MemberState:
        until = self._out_until(member, now)
        state: str = member.breaker.state(now).value
        if member.account.breaker.state(now) is not State.CLOSED:
            state = f"account_{member.account.breaker.state(now).value}"
        return MemberState(
            id=member.id,
            region=member.region,
            state=state,
            in_flight=member.in_flight,
            limit=int(min(member.share.limit(now), self._borne(member))),
            latency_s=member.latency_s(now),
            usual_s=member.usual_s,
            back_in_s=None if until is None else max(0.0, until - now),
        )
