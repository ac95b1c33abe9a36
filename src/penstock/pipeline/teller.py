"""Holds before every dispatch, durable, and what becomes of them.

The prompt is held by its bytes, the output by its cap: the client's, else the model's ``default_output``, lowered to
what the budgets hold beside what is posted. Without a budget nothing is injected, and the hold only says what a crash
would be charged. At a provider that stops when we leave, a stream holds a slice and tops up as it goes.

Fails closed: a hold that cannot be made durable is released and its call is not made, unless ``ledger.on_failure`` says
to answer on.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

from penstock.config.settings import DeploymentSettings
from penstock.core.bound import asked_cap, choices, prompt_bound
from penstock.core.calibration import Calibration
from penstock.core.records import OPEN, AttemptRow, ExchangeRow, ShareRow
from penstock.errors import BudgetExceeded, ClientGone, CostUnbounded, LeaseEnded, LedgerUnavailable, StoreError
from penstock.pipeline.accounts import Accounts
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.hold import Hold
from penstock.pipeline.rows import opening_row
from penstock.pipeline.stream import STREAMABLE
from penstock.pipeline.treasury import Cost, Treasury
from penstock.ports.clock import Clock, Ids
from penstock.ports.faults import FailPoint
from penstock.ports.ledger import Ledger

SLICE_TOKENS: Final = 512
"""How much output a stream holds at a time where it can be stopped."""
SHORTEST_CAP: Final = 256
"""An answer is not capped below this, or below what the model usually says, where that is known."""
RETRY_AFTER_LEDGER_S: Final = 5.0
LEASES: Final = 3
"""Under so many leases a hold is tried: one ends when this process was stopped for too long."""

Calibrations = dict[str, Calibration]
"""What has been seen of each deployment, by its id; outlives a reload."""
Running = dict[str, Callable[[], None]]
"""What journals the progress of each call that could be cut, by attempt id; outlives a reload."""


class Tokenizer(Protocol):
    """The exact tokens of a kind of provider, where it lets us know."""

    def prompt(self, exchange: Exchange) -> int:
        """What its prompt is billed as."""
        ...

    def said(self, text: str) -> int:
        """What a piece of an answer is billed as."""
        ...


class Teller:
    """Takes holds and ends them."""

    def __init__(
        self,
        *,
        clock: Clock,
        ids: Ids,
        ledger: Ledger,
        accounts: Accounts,
        treasury: Treasury,
        calibrations: Calibrations,
        running: Running,
        tokenizers: Mapping[str, Tokenizer],
        wait_s: float,
        calibrated: bool,
        strict: bool,
        reached: FailPoint,
        owner: str = "",
    ) -> None:
        """``wait_s``: ``budget_wait``; ``calibrated``: ``bound: calibrated``; ``strict``: no call without a row.

        ``tokenizers``: by provider kind. ``owner``: who holds.
        """
        self._clock = clock
        self._ids = ids
        self._ledger = ledger
        self._accounts = accounts
        self._treasury = treasury
        self._calibrations = calibrations
        self.running = running
        self._tokenizers = tokenizers
        self._wait_s = wait_s
        self._calibrated = calibrated
        self._strict = strict
        self.reached = reached
        self._owner = owner

    async def open(self, exchange: Exchange, deployment: DeploymentSettings, *, waits: bool = True) -> Hold:
        """A durable hold for a call to ``deployment``. ``waits``: for others to end theirs, up to ``budget_wait``.

        Raises BudgetExceeded, CostUnbounded, LedgerUnavailable, SharedUnavailable; then nothing is held.
        """
        for _ in range(LEASES):
            lease = self._treasury.lease
            try:
                return await self._open(exchange, deployment, waits=waits)
            except LeaseEnded:
                await self._treasury.after_lease(lease)
        raise _unavailable()

    async def _open(self, exchange: Exchange, deployment: DeploymentSettings, *, waits: bool) -> Hold:
        """Raises LeaseEnded, too: what was held under it is not held any more, and may be held under another."""
        self.reached("reserve")
        await self._treasury.ready()
        hold = self._measure(exchange, deployment)
        waiting_since = self._clock.monotonic()
        left_s = exchange.started + exchange.total_s - waiting_since
        wait_s = max(0.0, min(self._wait_s, left_s)) if waits else 0.0
        hold.at = await self._treasury.hold(hold.attempt_id, exchange.payer, hold.cost, wait_s)
        self._ledger.append([*self._opening(exchange), self.row(exchange, hold)])
        try:
            await self._ledger.flush()
        except LeaseEnded:
            self._treasury.settle(hold.attempt_id, exchange.payer, hold.at, Cost(0, 0))
            raise
        except StoreError as error:
            if self._strict:
                self.release(exchange, hold, LedgerUnavailable.kind)
                raise _unavailable() from error
        except BaseException:
            self.release(exchange, hold, ClientGone.kind)
            raise
        finally:
            exchange.waited_s += self._clock.monotonic() - waiting_since
        self.reached("held")
        return hold

    def foresee(self, exchange: Exchange) -> None:
        """Ask for room for its first call before that is planned, where nodes share and too little is lent."""
        if self._treasury.is_lent and self._treasury.applies(exchange.payer):
            with suppress(BudgetExceeded, CostUnbounded):
                costs = [self._measure(exchange, each).cost for each in exchange.model.deployments]
                dearest = Cost(max(cost.nano or 0 for cost in costs), max(cost.tokens for cost in costs))
                self._treasury.foresee(exchange.payer, dearest)

    def tokenizer(self, hold: Hold) -> Tokenizer | None:
        """How the provider counts, where we know."""
        return self._tokenizers.get(hold.deployment.provider.kind)

    def top_up(self, exchange: Exchange, hold: Hold, output: int) -> bool:
        """Hold at least ``output`` tokens, up to what the caps allow; False when the budgets do not allow it."""
        wanted = min(hold.most, max(output, hold.output + SLICE_TOKENS))
        before, after = hold.cost, hold.cost_of(wanted)
        more = Cost(None if after.nano is None else after.nano - (before.nano or 0), after.tokens - before.tokens)
        if not self._treasury.top_up(hold.attempt_id, exchange.payer, more):
            return False
        hold.resize(wanted)
        return True

    def cut(self, exchange: Exchange, why: str) -> None:
        """End an answer that outgrew its hold: raises BudgetExceeded, unless no budget binds it any more."""
        if self._treasury.applies(exchange.payer):
            raise self._treasury.refusal(exchange.payer, Cost(0, 0), why)

    def note(self, row: AttemptRow) -> None:
        """Journal how far an open attempt has come: what it is charged if we die."""
        self._ledger.append([row])

    def settle(self, exchange: Exchange, hold: Hold, row: AttemptRow, share: ShareRow | None) -> None:
        """Replace the hold by what was billed: ``row``, priced."""
        row.overrun = row.outgrew_hold()
        self.reached("settle")
        self._treasury.settle(hold.attempt_id, exchange.payer, hold.at, Cost(row.charged_book_nano, row.usage.total))
        self._ledger.append([row] if share is None else [row, share])
        self._learn(exchange, row)

    async def flush(self, exchange: Exchange) -> None:
        """Return when what was settled or noted is durable. What cannot be written now waits, and is written later."""
        since = self._clock.monotonic()
        try:
            await self._ledger.flush()
        except StoreError:
            return
        finally:
            exchange.waited_s += self._clock.monotonic() - since
        self.reached("flush")

    def release(self, exchange: Exchange, hold: Hold, outcome: str) -> None:
        """End a hold whose call was never dispatched; the exchange was opened with it, and is to be closed too."""
        row = self.row(exchange, hold)
        row.outcome, row.ended_at = outcome, max(self._clock.now(), hold.at)
        exchange.attempts.append(row)
        self._treasury.settle(hold.attempt_id, exchange.payer, hold.at, Cost(0, 0))
        self._ledger.append([row])

    # --- how much

    def _measure(self, exchange: Exchange, deployment: DeploymentSettings) -> Hold:
        binding = self._treasury.applies(exchange.payer)
        prompt = self._prompt(exchange, deployment)
        if prompt is None and binding:
            raise CostUnbounded("a part of this request is only named by its address, so no budget can hold its cost")
        asked, number = asked_cap(exchange.fields), choices(exchange.fields)
        generates = exchange.asked.dialect in STREAMABLE
        cap = (exchange.model.default_output if asked is None else asked) if generates else 0
        now = self._clock.now()
        until = now + exchange.model.timeouts.total_s
        quote = self._accounts.quote(deployment, prompt or 0, now, until)
        hold = Hold(
            self._ids.new("att"),
            deployment,
            at=now,
            prompt=prompt or 0,
            output=cap * number,
            quote=quote,
            binding=binding,
        )
        if binding:
            self._fit(exchange, hold, asked, number)
        return hold

    def _fit(self, exchange: Exchange, hold: Hold, asked: int | None, number: int) -> None:
        """Make the hold one that the budgets can hold beside what is posted. Raises BudgetExceeded, CostUnbounded."""
        room = self._treasury.room(exchange.payer)
        if hold.quote is None and room[0] is not None:
            raise CostUnbounded(
                f"no price is known for {hold.deployment.id}, so no budget can hold its cost: the operator can set one"
            )
        if not hold.most:
            return
        cap = self._lowered(exchange, hold, number, room)
        hold.cap, hold.most = None if cap == asked else cap, cap * number
        streams = exchange.wants_stream or exchange.model.stream_upstream
        sliced = streams and hold.deployment.provider.after_disconnect == "stops"
        hold.resize(min(hold.most, SLICE_TOKENS) if sliced else hold.most)

    def _prompt(self, exchange: Exchange, deployment: DeploymentSettings) -> int | None:
        """The most tokens of the prompt that are billed; None = unknown. To count them is free."""
        if exchange.asked.dialect == "count_tokens":
            return 0
        exact = self._tokenizers.get(deployment.provider.kind)
        if exact is not None:
            return exact.prompt(exchange)
        bound = prompt_bound(exchange.raw, exchange.fields)
        if self._calibrated and bound is not None and deployment.id in self._calibrations:
            return self._calibrations[deployment.id].likely_prompt(bound) or bound
        return bound

    def _lowered(self, exchange: Exchange, hold: Hold, number: int, room: tuple[int | None, int | None]) -> int:
        """The cap, or the largest below it that fits beside what is posted. Raises BudgetExceeded."""
        cap = hold.most // number
        money, tokens = room

        def fits(candidate: int) -> bool:
            cost = hold.cost_of(candidate * number)
            return (money is None or (cost.nano or 0) <= money) and (tokens is None or cost.tokens <= tokens)

        if fits(cap):
            return cap
        known = self._calibrations.get(hold.deployment.id)
        usual = None if known is None else known.usual_output()
        least, most = min(cap, SHORTEST_CAP if usual is None else usual), cap
        if not fits(least):
            why = f"this request may need {least * number} tokens of output"
            raise self._treasury.refusal(exchange.payer, hold.cost_of(least * number), why)
        while least < most - 1:
            middle = (least + most) // 2
            least, most = (middle, most) if fits(middle) else (least, middle)
        return least

    # --- rows

    def _opening(self, exchange: Exchange) -> list[ExchangeRow]:
        """The exchange's row, once, when its first call is held."""
        return [] if exchange.attempts else [opening_row(exchange, self._accounts.currency, self._owner)]

    def row(self, exchange: Exchange, hold: Hold) -> AttemptRow:
        """An attempt of which nothing is known but what is held for it."""
        provider = hold.deployment.provider
        held_nano, held_tokens = hold.cost
        return AttemptRow(
            id=hold.attempt_id,
            exchange_id=exchange.id,
            started_at=hold.at,
            ended_at=hold.at,
            provider=provider.name,
            deployment=hold.deployment.id,
            region=hold.deployment.region,
            outcome=OPEN,
            held_nano=held_nano,
            held_tokens=held_tokens,
            stops=provider.after_disconnect == "stops",
        )

    def _learn(self, exchange: Exchange, row: AttemptRow) -> None:
        if row.outcome == "ok" and not row.estimated:
            known = self._calibrations.get(row.deployment)
            if known is None:
                known = self._calibrations[row.deployment] = Calibration()
            known.observe(len(exchange.raw), row.usage.prompt, row.usage.output // choices(exchange.fields))


def _unavailable() -> LedgerUnavailable:
    return LedgerUnavailable(
        "the ledger cannot be written, so nothing is spent now: try again later", retry_after_s=RETRY_AFTER_LEDGER_S
    )
