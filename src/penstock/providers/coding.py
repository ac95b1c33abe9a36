"""Content codings of response bodies, undone piece by piece and never more than ``PIECE`` bytes at a time.

Decoding happens when the reader asks, so a bomb costs what the reader is willing to take and no more; what the
encoder flushed comes out at once, so every event of a compressed stream arrives when it was sent.
"""

import zlib
from typing import Final, Protocol

import brotli  # type: ignore[import-untyped] # it ships no stubs

PIECE: Final = 256 * 1024
"""Bytes that one decode gives at most (brotli: about)."""


class CodingError(Exception):
    """The body is not what its coding says."""


class Decoder(Protocol):
    """One body's decoder. ``pending``: more will come out without more going in."""

    pending: bool

    def decode(self, data: bytes) -> bytes:
        """The next piece; b"" when it needs more input. Raises CodingError."""
        ...

    def finish(self) -> None:
        """Raises CodingError when the body was cut short."""
        ...


def decoder_for(coding: str) -> Decoder | None:
    """The decoder of a ``content-encoding``; None for none. Raises CodingError for one that we never asked for."""
    match coding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return _Zlib(_GZIP)
        case "deflate":
            return _Zlib(zlib.MAX_WBITS)
        case "br":
            return _Brotli()
    raise CodingError(f"unknown content-encoding {coding[:40]!r}")


_GZIP: Final = zlib.MAX_WBITS | 16
_RAW: Final = -zlib.MAX_WBITS


class _Zlib:
    """gzip, zlib, and the bare deflate that some servers send under zlib's name."""

    def __init__(self, window: int) -> None:
        self.pending = False
        self._window = window
        self._zlib = zlib.decompressobj(window)
        self._tail = b""
        self._begun = False

    def decode(self, data: bytes) -> bytes:
        self._tail += data
        out = self._next()
        while self.pending and not out:
            out = self._next()
        return out

    def _next(self) -> bytes:
        """What the input at hand gives, up to the end of its member."""
        data = self._tail
        try:
            out = self._zlib.decompress(data, PIECE)
        except zlib.error as error:
            if self._begun or self._window != zlib.MAX_WBITS:
                raise CodingError(str(error)) from error
            self._window = _RAW
            self._zlib = zlib.decompressobj(_RAW)
            return self._next()
        self._begun = self._begun or bool(data)
        self._tail = self._zlib.unconsumed_tail
        if self._zlib.eof and self._zlib.unused_data:
            self._next_member()
        self.pending = bool(self._tail) or len(out) == PIECE
        return out

    def finish(self) -> None:
        if self._begun and not self._zlib.eof:
            raise CodingError("the compressed body is cut short")

    def _next_member(self) -> None:
        """A gzip body may be several in a row (RFC 1952); anything else behind the end is an error."""
        if self._window != _GZIP:
            raise CodingError("something follows the end of the compressed body")
        self._tail = self._zlib.unused_data
        self._zlib = zlib.decompressobj(_GZIP)


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self.pending = False
        self._brotli = brotli.Decompressor()
        self._waiting = b""
        self._begun = False

    def decode(self, data: bytes) -> bytes:
        self._waiting += data
        self._begun = self._begun or bool(data)
        feed = b""
        if self._brotli.can_accept_more_data():
            feed, self._waiting = self._waiting, b""
        try:
            out: bytes = self._brotli.process(feed, output_buffer_limit=PIECE)
        except brotli.error as error:
            raise CodingError(str(error)) from error
        self.pending = bool(self._waiting) or not self._brotli.can_accept_more_data()
        return out

    def finish(self) -> None:
        if self._begun and not self._brotli.is_finished():
            raise CodingError("the compressed body is cut short")
