"""What a centre hands to its edges, as documents: what it serves, what was purged, which answers changed.

All are bounded by who makes them and checked by who reads them; a document is taken whole or not at all.
"""

from decimal import Decimal
from typing import Annotated, Final

import msgspec

from penstock.core.usage import Usage

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of one document."""
MOST_PURGES: Final = 500
MOST_ANSWERS: Final = 200
MOST_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Of the bodies in one document; an answer that is larger by itself stays where it is."""
MOST_MODELS: Final = 2000

_NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
"""Names stand in headers and labels."""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=300, pattern=_NO_CONTROLS)]
Text = Annotated[str, msgspec.Meta(max_length=1500, pattern=_NO_CONTROLS)]


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the centre serves, and what its savings are measured by there."""

    name: Name
    default_output: Annotated[int, msgspec.Meta(ge=1)] = 8192
    book: Text = ""
    """The price list; "" = none, or ``flat``."""
    priced_as: Text = ""
    """Its name in that list."""
    currency: Text = ""
    flat: tuple[Decimal, Decimal, Decimal, Decimal | None] | None = None
    """Input, cached input, output, cache write per million tokens, where the centre's config says them."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What the centre serves to this edge, and its price lists as they stand in their files."""

    models: Annotated[tuple[Offered, ...], msgspec.Meta(max_length=MOST_MODELS)]
    prices: dict[Name, str]


class PurgeNote(msgspec.Struct, frozen=True, kw_only=True):
    """What to forget of what came from the centre: what matches all that is said."""

    models: tuple[Name, ...] = ()
    """The centre's names; none = of every model."""
    tenant: Text | None = None
    """The edge's own id of it; None = of every tenant."""
    tag: Text | None = None


class PurgesPage(msgspec.Struct, frozen=True, kw_only=True):
    """What was purged since a mark."""

    mark: Name
    known: bool
    """False: forget all that came from the centre, for what was purged since is not known."""
    notes: Annotated[tuple[PurgeNote, ...], msgspec.Meta(max_length=MOST_PURGES)]
    more: bool


class ChangedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of the edge's tenants. Its age is told, not its time: clocks differ."""

    entry: Text
    """What the edge said with the request."""
    tenant: Text
    tags: tuple[Text, ...]
    model: Name
    age_s: Annotated[float, msgspec.Meta(ge=0)]
    usage: Usage
    estimated: bool
    attempt_id: Name
    body: bytes


class AnswersPage(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that changed since a mark."""

    mark: Text
    answers: Annotated[tuple[ChangedAnswer, ...], msgspec.Meta(max_length=MOST_ANSWERS)]
    more: bool
