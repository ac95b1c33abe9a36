"""What one call is charged, and when that is sure to be known: by the provider's word, else by our own count.

A call is settled exactly once, whatever ended it. A provider that worked and failed is charged for what came of it: it
will bill that too. Our own count is marked as estimated, and under a budget stays between what was surely said and what
was held.
"""

from collections.abc import Awaitable
from math import ceil
from typing import Any, Final

import msgspec

from penstock.core.edge import Told
from penstock.core.records import OPEN, AttemptRow, ShareRow
from penstock.core.tokens import estimate_answer, surely_said
from penstock.core.usage import NO_USAGE, Usage
from penstock.errors import PenstockError
from penstock.pipeline.accounts import Accounts
from penstock.pipeline.counting import count
from penstock.pipeline.exchange import Exchange
from penstock.pipeline.hold import Hold
from penstock.pipeline.meter import Meter
from penstock.pipeline.stream import STREAMABLE
from penstock.pipeline.teller import Teller
from penstock.ports.clock import Clock
from penstock.ports.providers import Adapter
from penstock.wire.answers import upstream_id
from penstock.wire.fold import Fold
from penstock.wire.sse import Event

HEDGE_LOST: Final = "hedge_lost"
"""The outcome of a call beside which another began to answer first."""
JOURNAL_MARGIN_TOKENS: Final = 16
"""What a provider may have said beyond what was read of it: it was under way to us."""

Metered = tuple[Usage, bool]
"""Usage, and whether it is our own count."""
_decode = msgspec.json.Decoder().decode


class Settlement:
    """One call's way into the ledger."""

    __slots__ = (
        "_accounts", "_adapter", "_clock", "_dialect", "_exchange", "_hold", "_meter", "_noted", "_pace", "_teller",
        "_told_tokens", "began", "fold", "settled", "status", "told",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, hold: Hold, adapter: Adapter, *, clock: Clock, accounts: Accounts, teller: Teller
    ) -> None:
        self._exchange = exchange
        self._hold = hold
        self._adapter = adapter
        self._clock = clock
        self._accounts = accounts
        self._teller = teller
        self._dialect = exchange.asked.dialect
        self._meter = Meter(exchange, hold, teller) if hold.binding else None
        self._pace = self._told_tokens = 0
        self._noted = NO_USAGE
        self.settled = False
        self.status = 0
        """The provider's, 0 while none came."""
        self.fold: Fold | None = None
        """Of a stream, from its head on."""
        self.began = 0.0
        """When it gave its first data, monotonic."""
        self.told: Told | None = None
        """What another Penstock says of its answer."""

    def add(self, event: Event) -> None:
        """Count one event of the stream. Raises BudgetExceeded when it has outgrown what the budgets hold."""
        if self.fold is not None:
            self.fold.add(event)
        if self._meter is not None:
            self._meter.add(event)

    def begin(self, *, stops: bool) -> None:
        """Its first data is there. ``stops``: what comes of it is journalled, for a crash would end it."""
        self.began = self._clock.monotonic()
        if stops:
            self._teller.running[self._hold.attempt_id] = self.journal

    def discard(self) -> None:
        """It was held for and is not made; nothing, where it was."""
        if self.settled:
            return
        self.settled = True
        self._teller.release(self._exchange, self._hold, HEDGE_LOST)

    def settle(
        self,
        outcome: str,
        usage: Usage | None = None,
        answer: dict[str, Any] | None = None,
        *,
        worked: bool = False,
    ) -> None:
        """Turn the call into its ledger rows, once. ``worked``: the provider did, even if nothing came of it."""
        if self.settled:
            return
        self.settled = True
        fold, exchange = self.fold, self._exchange
        usage = usage or self._reported()
        usage, estimated = self._used(outcome, usage, answer, worked=worked)
        if usage.total and not estimated:
            self._teller.reached("usage")
        if outcome == "ok":
            exchange.usage, exchange.estimated = usage, estimated
        teller, hold = self._teller, self._hold
        teller.running.pop(hold.attempt_id, None)
        row = self._row(outcome, usage)
        row.estimated = estimated
        row.upstream_id = fold.upstream_id if fold is not None else upstream_id(answer or {})
        if self.told is not None:
            row.upstream_id = self.told.request_id or row.upstream_id
        exchange.attempts.append(row)
        teller.settle(exchange, hold, row, self._share(row))

    def durable(self) -> Awaitable[None]:
        """Nothing is seen of an answer's end before what it used is sure to be known after a crash."""
        return self._teller.flush(self._exchange)

    async def note_usage(self) -> None:
        """Where a finished answer's usage is here before its end: were it cut now, it would be charged just that."""
        usage = self._reported()
        if usage is None or usage == self._noted:
            return
        self._noted = usage
        teller = self._teller
        teller.running.pop(self._hold.attempt_id, None)
        teller.note(self._row(OPEN, usage))
        await self.durable()

    def _reported(self) -> Usage | None:
        """The usage that a stream has reported so far."""
        fold = self.fold
        if fold is None or fold.usage is None:
            return None
        return self._adapter.usage(self._dialect, {"usage": fold.usage}, None)

    def _row(self, outcome: str, usage: Usage) -> AttemptRow:
        """The attempt as it is now, priced."""
        hold = self._hold
        row = self._teller.row(self._exchange, hold)
        row.outcome, row.status, row.usage = outcome, self.status, usage
        row.ended_at = max(self._clock.now(), hold.at)  # the clock may have been set back
        if not usage.total:
            return row
        at = hold.at if self._hold.deployment.provider.billed_at == "start" else row.ended_at
        priced = self._accounts.charge(self._hold.deployment, usage, at)
        if priced is None:
            row.charged_nano = row.charged_book_nano = None
            return row
        charge, row.price_source = priced
        row.charged_nano, row.currency = charge.native_nano, charge.currency
        row.charged_book_nano, row.fx_rate = charge.book_nano, charge.fx_rate
        return row

    def journal(self) -> None:
        """Note how far the answer has come, and as much ahead of that as it may come before the next note."""
        fold, hold = self.fold, self._hold
        if fold is None or self.settled:
            return
        output = estimate_answer(_told_so_far(fold))
        self._pace, self._told_tokens = max(self._pace, output - self._told_tokens), output
        ahead = min(hold.output, output + 2 * self._pace + JOURNAL_MARGIN_TOKENS)
        row = self._row(OPEN, Usage(input_miss=hold.prompt, output=ahead))
        row.estimated = True
        self._teller.note(row)

    def _share(self, row: AttemptRow) -> ShareRow | None:
        """This exchange's share of its attempt: all."""
        exchange = self._exchange
        if not row.usage.total or row.charged_book_nano is None:
            return None
        baseline = exchange.requested.baseline
        lever = "direct" if baseline is None or baseline.id == row.deployment else "routing"
        if row.outcome == HEDGE_LOST:
            lever = "hedging"
        share = ShareRow(attempt_id=row.id, exchange_id=row.exchange_id, amount_nano=row.charged_book_nano, lever=lever)
        exchange.shares.append(share)
        return share

    def _used(self, outcome: str, usage: Usage | None, answer: dict[str, Any] | None, *, worked: bool) -> Metered:
        """What the provider says, where it says all; our own count, where it worked and does not."""
        fold = self.fold if self.fold is not None and self.fold.started else None
        whole = answer is not None or (fold is not None and (outcome == "ok" or fold.finished or fold.done))
        if usage is not None and usage.output and whole:
            return usage, False
        if answer is None and fold is None and not worked:
            return usage or NO_USAGE, False
        silent = fold is None and self._dialect in STREAMABLE  # it may have said all of it by now, and shown nothing
        completes = self._hold.deployment.provider.after_disconnect == "completes"
        if self._hold.binding and not whole and (completes or silent):
            return Usage(input_miss=self._hold.prompt, output=max(self._hold.output, self._surely(None))), True
        if answer is None and fold is not None:
            answer = _told_so_far(fold)
        used, estimated = count(self._dialect, self._exchange.fields, usage, answer, whole=whole)
        if estimated and self._hold.binding:
            surely = max((usage or NO_USAGE).output, self._surely(answer))
            used = self._within_hold(used, usage or NO_USAGE, surely, unseen=0 if whole else self._unseen(used.output))
        return used, estimated

    def _surely(self, answer: dict[str, Any] | None) -> int:
        """Tokens that were said whatever the tokenizer: above its hold, the provider did not keep to its cap."""
        return max(self._meter.surely if self._meter is not None else 0, surely_said(answer or {}))

    def _unseen(self, output: int) -> int:
        """What it may have said and we not read: a second at its pace; all that is held where that is not known yet."""
        seconds = self._clock.monotonic() - self.began
        if not output or seconds <= 0:
            return self._hold.output
        return JOURNAL_MARGIN_TOKENS + ceil(output / seconds)

    def _within_hold(self, used: Usage, reported: Usage, surely: int, *, unseen: int) -> Usage:
        """Our own count and what may have been under way: not above the hold, and not below what was surely said."""
        hold = self._hold
        prompt = used.input_miss if reported.prompt else min(used.input_miss, hold.prompt)
        output = max(surely, min(hold.output, used.output + unseen))
        return used._replace(input_miss=prompt, output=output)


def _told_so_far(fold: Fold) -> dict[str, Any]:
    """What came of the answer; nothing when it is nested too deep to be written down."""
    try:
        told: dict[str, Any] = _decode(fold.whole())
    except PenstockError:
        return {}
    return told
