"""One deployment and its account, as they do now: health, pace, and how many calls they bear."""

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from penstock.config.settings import DeploymentSettings, ProviderSettings
from penstock.core.breaker import ACCOUNT, DEPLOYMENT, Breaker, State
from penstock.core.concurrency import AccountShare, Capacity
from penstock.core.latency import Quantile, Smoothed
from penstock.pipeline.line import Line

USUAL: Final = 0.95
"""The share of answers that have begun by the time that is called usual."""
ASKED_S: Final = 1.0
"""When to come back while one call finds out whether a deployment is back."""


class Silent(Protocol):
    """A stream that was asked for and has not begun."""

    def watch(self, now: float) -> None:
        """Told from time to time until it does."""
        ...


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
        self.silent: dict[Silent, None] = {}
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

    def follow(self, deployment: DeploymentSettings, concurrency: int | None) -> None:
        """Go by these settings; what is known of it stays. ``concurrency``: the least that any model says of it."""
        self.deployment = deployment
        self.share.known = concurrency
        self.account.follow(deployment.provider)

    @property
    def is_idle(self) -> bool:
        """Whether nobody is there, or waits to be."""
        return not self.in_flight and not any(seekers.line.busy for seekers in self.seekers)

    @property
    def is_well(self) -> bool:
        """Whether nothing is held against it or its account."""
        return self.breaker.is_closed and self.account.breaker.is_closed

    def admit(self, now: float) -> bool:
        """A call is made here, if its account and it allow one; then it has the place of whichever is on trial."""
        account = self.account.breaker
        if not account.admit(now):
            return False
        if self.breaker.admit(now):
            return True
        account.forget(now)
        return False

    def back_in_s(self, now: float) -> float | None:
        """When a call may be planned here again; None = now."""
        waits = [back_in_s_of(breaker, now) for breaker in (self.account.breaker, self.breaker)]
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

    def first_byte_s(self, now: float) -> float | None:
        """Of its streams lately; None = not known."""
        return self._first_byte.value(now)

    def latency_s(self, now: float) -> float | None:
        """To the first byte; where nobody asks for streams, to the whole answer; None = not known."""
        first = self.first_byte_s(now)
        return self._whole.value(now) if first is None else first

    def learn(self, now: float) -> None:
        """Work out what is usual."""
        self.usual_s = self._quantile.value(USUAL, now)
        self.call_s = self._lengths.value(0.5, now)
        self.limit.look(now, self.call_s)


def back_in_s_of(breaker: Breaker, now: float) -> float | None:
    """When it allows a call again; None = now."""
    until = breaker.until(now)
    if until is None:
        return None
    return max(0.0, until - now) if breaker.state(now) is State.OPEN else ASKED_S


def why_out(member: Member, now: float) -> str:
    """What keeps calls from it, and until when; "" = nothing does."""
    for breaker, what in ((member.account.breaker, "has an account that is refused"), (member.breaker, "is out")):
        wait_s = back_in_s_of(breaker, now)
        if wait_s is not None:
            is_open = breaker.state(now) is State.OPEN
            return f"{what}; it is " + (f"asked again in {wait_s:.1f} s" if is_open else "being asked again")
    return ""


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
