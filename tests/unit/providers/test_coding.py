"""Content codings undone piece by piece, whatever a provider makes of them."""

import gzip

from penstock.providers.coding import decoder_for

EMPTY = gzip.compress(b"")


def test_many_empty_members_are_as_good_as_none() -> None:
    """A gzip body may be several members in a row, empty ones too, however many."""
    decoder = decoder_for("gzip")
    assert decoder is not None
    assert decoder.decode(EMPTY * 5000 + gzip.compress(b"said") + EMPTY) == b"said"
    assert decoder.decode(b"") == b""
    decoder.finish()
