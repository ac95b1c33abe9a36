"""The rows of the ledger: one per exchange, one per attempt, one per share.

Ids are ours. Amounts are integers of nano-units (1e-9) of the named currency; ``None`` means no price covers it
(never 0: unpriced and free are different). Times are seconds since the epoch, UTC. A share says that ``attempt_id``
served ``exchange_id`` for ``amount_nano``: the shares of an attempt sum to its charge, and the lever of a share says
why the exchange paid that little (``direct``: it paid its baseline's price itself; ``routing``: another's).
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from penstock.core.usage import NO_USAGE, Usage

OPEN: Final = "open"
"""The outcome of an exchange or an attempt that has not ended. Its rows are written over once, by those of its end."""


class AttemptRow(msgspec.Struct, kw_only=True, gc=False):
    """One call to one deployment."""

    id: str
    exchange_id: str
    started_at: float
    ended_at: float
    provider: str
    deployment: str
    """``provider/upstream model``."""
    region: str = ""
    outcome: str
    """``open``, ``ok``, or the kind of the error that ended it."""
    status: int = 0
    """The provider's HTTP status, 0 when none came."""
    upstream_id: str = ""
    """The id in the provider's body: never a key of ours."""
    usage: Usage = NO_USAGE
    estimated: bool = False
    """The usage is our own count because the provider's never came."""
    charged_nano: int | None = 0
    """In ``currency``, the currency of the price list."""
    currency: str = ""
    fx_rate: str = "1"
    """Book currency per unit of ``currency``, as a decimal string."""
    charged_book_nano: int | None = 0
    """In the book currency."""
    price_source: str = ""
    """Which dated entry priced it."""
    held_nano: int | None = 0
    """The most it could cost, in the book currency; None = no price covers it."""
    held_tokens: int = 0
    """The most tokens it could use."""
    stops: bool = False
    """The provider stops when we leave: a cut attempt is billed for what it said, not for the whole."""
    overrun: bool = False
    """It was charged more than was held for it."""

    def outgrew_hold(self) -> bool:
        """Whether it was charged more, or used more, than was held for it."""
        charged, held = self.charged_book_nano, self.held_nano
        dearer = charged is not None and held is not None and charged > held
        return dearer or self.usage.total > self.held_tokens


class ShareRow(msgspec.Struct, kw_only=True, gc=False):
    """One attempt's service to one exchange, in the book currency."""

    attempt_id: str
    exchange_id: str
    amount_nano: int
    lever: str
    """``direct exact joined routing hedging``; ``similar prefix compression off-peak packing`` come with their stages.
    """


class ExchangeRow(msgspec.Struct, kw_only=True, gc=False):
    """One request through the gateway and how it ended."""

    id: str
    at: float
    endpoint: str
    """The dialect: chat, completions, embeddings, messages, count_tokens."""
    model: str
    deployment: str = ""
    key_id: str = ""
    key_name: str = ""
    team: str = ""
    user: str = ""
    tags: dict[str, str] = {}
    outcome: str
    """``open``, ``ok``, or the kind of the error that ended it."""
    status: int
    """The HTTP status the client got."""
    cache: str = "off"
    """``exact joined miss off``, as in the response header."""
    streamed: bool = False
    attempts: int = 0
    usage: Usage = NO_USAGE
    """What the answer used; for a hit or a joined answer the usage it would have had."""
    estimated: bool = False
    baseline_nano: int | None = 0
    """What it would have cost sent straight to the requested model, in the book currency."""
    cost_nano: int | None = 0
    """The sum of its shares, in the book currency."""
    currency: str
    """The book currency."""
    degraded: str = ""
    """The steps of the ladder that were taken, gentlest first (``core/budget.STEPS``), comma-separated."""
    avoided_nano: int | None = 0
    """What it would likely have cost, had no budget refused it; None = no price covers it."""
    duration_s: float
    first_byte_s: float | None = None
    overhead_s: float = 0.0
    """Time spent in the gateway itself: the duration less the time waiting for providers and other exchanges."""
    owner: str = ""
    """While it is open: the process that serves it."""
    parent: str = ""
    """Its id at the Penstock that it came through."""


LedgerRow = ExchangeRow | AttemptRow | ShareRow
"""Anything the ledger appends."""


def noted_at(rows: Iterable[LedgerRow]) -> float | None:
    """When rows that belong together were appended, as they tell themselves, epoch seconds; None = they do not."""
    return max((at for at in map(_noted_at, rows) if at is not None), default=None)


def _noted_at(row: LedgerRow) -> float | None:
    if isinstance(row, ExchangeRow):
        return row.at + row.duration_s
    return row.ended_at if isinstance(row, AttemptRow) else None
