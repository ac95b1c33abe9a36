"""How much of its hold a streaming answer has used, counted as it goes by.

Where the provider's tokenizer is known the count is exact. Else there are two: one that is likely too high, by which a
slice is topped up ahead of the answer, and one that is surely too low, by which a provider that ignores its cap is
found out.
"""

from typing import Final

from penstock.pipeline.exchange import Exchange
from penstock.pipeline.hold import Hold
from penstock.pipeline.teller import SLICE_TOKENS, Teller
from penstock.wire.answers import said
from penstock.wire.sse import Event

AHEAD_TOKENS: Final = SLICE_TOKENS // 4
"""How far ahead of the answer a slice is topped up."""
LIKELY_PER_10_CHARS: Final = 6
CHARS_PER_TOKEN: Final = 16
"""No tokenizer makes longer tokens of prose, code or JSON on average."""


class Meter:
    """Counts one answer against its hold."""

    __slots__ = ("_chars", "_exact", "_exchange", "_hold", "_teller", "_tokenizer", "surely")

    def __init__(self, exchange: Exchange, hold: Hold, teller: Teller) -> None:
        self._exchange = exchange
        self._hold = hold
        self._teller = teller
        self._tokenizer = teller.tokenizer(hold)
        self._chars = 0
        self._exact = 0
        self.surely = 0
        """Tokens that were said whatever the tokenizer."""

    def add(self, event: Event) -> None:
        """Count one event. Raises BudgetExceeded when the answer has outgrown what the budgets hold."""
        text = said(event.json)
        if not text:
            return
        if self._tokenizer is not None:
            self._exact += self._tokenizer.said(text)
            likely = surely = self._exact
        else:
            self._chars += len(text)
            likely, surely = self._chars * LIKELY_PER_10_CHARS // 10, self._chars // CHARS_PER_TOKEN
        self.surely = surely
        hold = self._hold
        if likely + AHEAD_TOKENS > hold.output < hold.most and not self._topped_up(likely):
            self._teller.cut(self._exchange, "the answer has grown beyond what the budget holds")
        if surely > hold.most:
            self._teller.cut(self._exchange, "the provider does not keep to the cap it was given")

    def _topped_up(self, likely: int) -> bool:
        """More is held, or what is held still covers what was likely said."""
        return self._teller.top_up(self._exchange, self._hold, likely + AHEAD_TOKENS) or likely <= self._hold.output
