"""The life of holds, by chance from a seed: a few attempts, a ledger that becomes durable in groups, crashes.

One interleaving is a seed: which attempt takes which step when, what it is billed, when the process dies. What the
pipeline does with the bank is done here in its smallest form (DESIGN part 5, rules 3 and 4), so that a million
interleavings take minutes: hold, make the row durable, dispatch, settle, once; after a crash settle what is open.
"""

import random
from dataclasses import dataclass, field

from penstock.core.bank import Bank, Claim, Fit
from penstock.core.budget import Place

STEPS = 24
MOST = 40
"""The largest hold, and the largest limit is three of them."""
WINDOW_S = 10.0


@dataclass(slots=True)
class Attempt:
    """One, with what the oracle knows of it."""

    name: str
    places: tuple[Place, ...]
    held: int
    stops: bool
    row: str = "waiting"
    """``waiting`` for the disk, ``open``: durable, ``settling``: its end waits for the disk, ``settled``."""
    dispatched: bool = False
    billed: int | None = None
    """By the provider; None = it is not known yet."""
    charged: int | None = None
    """As the ledger says it, waiting or durable."""
    written: int | None = None
    """What its durable row says is held: as much as the provider may use; None = there is no such row."""


@dataclass(slots=True)
class Simulation:
    """One interleaving. Raises AssertionError that names the seed."""

    seed: int
    limits: dict[tuple[str, str], int] = field(default_factory=dict)
    bank: Bank = field(default_factory=Bank)
    attempts: list[Attempt] = field(default_factory=list)
    at: float = 0.0
    crashes: int = 0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(self.seed)  # noqa: S311 - chance, no secret
        scopes = [("all", ""), ("user", "a"), ("user", "b")]
        self.limits = {scope: rng.randint(0, 3 * MOST) for scope in scopes}

    def run(self) -> "Simulation":
        """All steps, the end, and the check after each."""
        acts = (self.begin, self.begin, self.write, self.write, self.dispatch, self.dispatch, self.end, self.end,
                self.end_again, self.top_up, self.give_up, self.pass_time, self.crash)  # fmt: skip
        for _ in range(STEPS):
            self.rng.choice(acts)()
            self.check()
        self.crash()
        self.check()
        for attempt in self.attempts:
            self.require(attempt.row == "settled", f"{attempt} is open when all is over")
        return self

    # --- steps

    def begin(self) -> None:
        """A hold, where it fits."""
        rng, start = self.rng, self.at // WINDOW_S * WINDOW_S
        places = (Place("all", "", start), Place("user", rng.choice("ab"), start))
        attempt = Attempt(f"att_{len(self.attempts)}", places, rng.randint(0, MOST), rng.random() < 0.5)
        claims = self.claims(attempt, attempt.held)
        if self.bank.fit(claims)[0] is Fit.NOW:
            self.bank.hold(attempt.name, claims)
            self.attempts.append(attempt)

    def write(self) -> None:
        """Everything that waits becomes durable, in one transaction."""
        for attempt in self.attempts:
            attempt.row = {"waiting": "open", "settling": "settled"}.get(attempt.row, attempt.row)
            attempt.written = attempt.held

    def dispatch(self) -> None:
        """Only what is durable is sent."""
        attempt = self.one("open")
        if attempt is not None and not attempt.dispatched:
            attempt.dispatched = True

    def end(self) -> None:
        """The usage is there, or the call is cut and charged by our own bound."""
        attempt = self.one("open")
        if attempt is None or not attempt.dispatched:
            return
        attempt.billed = self.rng.randint(0, attempt.written or 0)
        known = self.rng.random() < 0.6
        cut = self.rng.randint(attempt.billed, attempt.held) if attempt.stops else attempt.held
        self.settle(attempt, attempt.billed if known else cut)

    def end_again(self) -> None:
        """Twice changes nothing."""
        attempt = self.one("settling", "settled")
        if attempt is not None:
            again = self.bank.settle(attempt.name, dict.fromkeys(attempt.places, self.rng.randint(0, MOST)))
            self.require(again is None, f"{attempt} was settled twice")

    def top_up(self) -> None:
        """A stream that can be stopped grows its hold; the provider may use it once the row says so."""
        attempt = self.one("open")
        more = self.rng.randint(0, 9)
        if attempt is not None and attempt.stops:
            claims = self.claims(attempt, more)
            if self.bank.fit(claims)[0] is Fit.NOW:
                self.bank.top_up(attempt.name, claims)
                attempt.held += more

    def give_up(self) -> None:
        """Its client left, or it timed out, before it was dispatched."""
        attempt = self.one("waiting", "open")
        if attempt is not None and not attempt.dispatched:
            attempt.billed = 0
            self.settle(attempt, 0)

    def pass_time(self) -> None:
        """Into another window, or back: clocks step."""
        self.at = max(0.0, self.at + self.rng.choice((-4.0, 4.0, 11.0)))

    def crash(self) -> None:
        """What was not durable is gone; what is open in the ledger is settled; the accounts are summed up anew."""
        self.crashes += 1
        kept = []
        for attempt in self.attempts:
            if attempt.written is None:
                self.require(not attempt.dispatched, f"{attempt} was dispatched without a durable row")
                continue
            kept.append(attempt)
            if attempt.row != "settled":
                attempt.billed = self.left_running(attempt)
                attempt.charged = attempt.held = attempt.written
                attempt.row = "settled"
        self.attempts, self.bank = kept, Bank()
        for attempt in kept:
            for place in attempt.places:
                self.bank.post(place, attempt.charged or 0)

    def left_running(self, attempt: Attempt) -> int:
        """What the provider bills for a call whose caller died."""
        if attempt.billed is not None:
            return attempt.billed
        return self.rng.randint(0, attempt.written or 0) if attempt.dispatched else 0

    # --- what must hold

    def check(self) -> None:
        """After every step."""
        posted: dict[Place, int] = {}
        pending: dict[Place, int] = {}
        for attempt in self.attempts:
            sums = pending if attempt.charged is None else posted
            amount = attempt.held if attempt.charged is None else attempt.charged
            for place in attempt.places:
                sums[place] = sums.get(place, 0) + amount
            if attempt.billed is not None and attempt.charged is not None:
                self.require(attempt.billed <= attempt.charged <= attempt.held, f"{attempt} is charged wrongly")
        for place in posted.keys() | pending.keys() | self.bank.accounts().keys():
            account = self.bank.account(place)
            self.require(account.posted == posted.get(place, 0), f"{place}: {account.posted} is not what was spent")
            self.require(account.pending == pending.get(place, 0), f"{place}: {account.pending} is not what is held")
            self.require(account.used <= self.limits[place.budget, place.value], f"{place} is overspent")

    def require(self, holds: bool, what: str) -> None:  # noqa: FBT001 - it is an assertion
        """Or the seed and what is wrong."""
        assert holds, f"seed {self.seed}: {what}"

    # --- in small

    def one(self, *rows: str) -> Attempt | None:
        """Any whose row is in that state."""
        fitting = [attempt for attempt in self.attempts if attempt.row in rows]
        return self.rng.choice(fitting) if fitting else None

    def claims(self, attempt: Attempt, amount: int) -> list[Claim]:
        """The same amount on each of its accounts."""
        return [Claim(place, amount, self.limits[place.budget, place.value]) for place in attempt.places]

    def settle(self, attempt: Attempt, charged: int) -> None:
        """In the bank at once, in the ledger when it is next written."""
        over = self.bank.settle(attempt.name, dict.fromkeys(attempt.places, charged))
        self.require(over is False, f"{attempt} was over its hold, or had ended")
        attempt.charged = charged
        attempt.row = "settling"
