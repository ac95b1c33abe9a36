"""A place at a deployment, from the plan that chose it to the end of its call.

Who sits there is counted as in flight, so that requests that are planned at the same moment do not all choose the same;
what becomes of the call tells the breakers of the deployment and of its account.
"""

from collections.abc import Sequence
from typing import Protocol

from penstock.config.settings import DeploymentSettings
from penstock.core.breaker import Blame, Breaker, blame, is_slow
from penstock.errors import PenstockError, Reach, UpstreamError
from penstock.pipeline.member import Member
from penstock.ports.clock import Clock, Rng


class House(Protocol):
    """Where the seats are."""

    clock: Clock
    rng: Rng

    def freed(self, member: Member) -> None:
        """A seat there is free."""
        ...


class Seat:
    """A place at a deployment, for one call."""

    __slots__ = ("_beside", "_ended", "_house", "_member", "_others", "_sent_at", "_slow", "_taken_at", "deployment")

    def __init__(
        self, house: House, deployment: DeploymentSettings, member: Member, others: Sequence[Member], now: float
    ) -> None:
        """``others``: those that could have taken the call instead; ``now``: when the breakers admitted it."""
        self.deployment = deployment
        self._house = house
        self._member = member
        self._others = others
        self._taken_at = self._sent_at = now
        self._beside = member.in_flight
        self._slow = self._ended = False

    def send(self, *, streamed: bool) -> None:
        """The call goes out now."""
        self._sent_at = self._house.clock.monotonic()
        if streamed:
            self._member.silent[self] = None

    def begin(self) -> None:
        """The first data of a stream is there."""
        now = self._house.clock.monotonic()
        self.watch(now)
        self._member.silent.pop(self, None)
        self._member.began(now - self._sent_at, self._beside, now)

    def answer(self) -> None:
        """A whole answer is there."""
        now = self._house.clock.monotonic()
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
        member, now = self._member, self._house.clock.monotonic()
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
        failed = blamed is Blame.DEPLOYMENT
        self._judge(member.breaker, now, well=well and not self._slow, failed=failed, unsent=failed and _unsent(error))
        self._house.freed(member)

    def _refused(self, retry_after_s: float | None, now: float) -> Blame:
        """The share shrinks. Who refuses what is left of it too is a failing deployment, where others can take over."""
        is_news = self._member.share.refused(self._sent_at, now, retry_after_s)
        return Blame.DEPLOYMENT if is_news and self._rivals() else Blame.SHARE

    def _judge(self, breaker: Breaker, now: float, *, well: bool, failed: bool, unsent: bool = False) -> None:
        if well and breaker.is_closed:
            breaker.answered(self._taken_at, now)
        elif well or failed:
            self._report(breaker, now, ok=well, unsent=unsent)
        else:
            breaker.forget(self._taken_at)

    def _report(self, breaker: Breaker, now: float, *, ok: bool, slow: bool = False, unsent: bool = False) -> None:
        breaker.report(
            ok=ok,
            sent_at=self._taken_at,
            now=now,
            chance=self._house.rng.random(),
            slow=slow,
            alone=not self._rivals(),
            under_way=self._member.in_flight,
            unsent=unsent,
        )

    def _rivals(self) -> list[Member]:
        """Those that could have taken the call instead, and do well."""
        return [each for each in self._others if each.is_well]

    def _usual_s(self) -> float | None:
        known = [each.usual_s for each in self._rivals() if each.usual_s is not None]
        return min(known, default=None)


def _unsent(error: PenstockError | None) -> bool:
    return isinstance(error, UpstreamError) and error.reach is Reach.NOWHERE


def _blame(error: PenstockError) -> Blame:
    """Whom the end of a call is held against."""
    return blame(error.kind, error.status) if isinstance(error, UpstreamError) else Blame.NOBODY
