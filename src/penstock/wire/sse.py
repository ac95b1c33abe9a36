"""Server-sent events: one event with the bytes it came in, and the parser that cuts a stream into them."""

from typing import Any, Final

import msgspec

_UNREAD: Final = object()
_decode = msgspec.json.Decoder().decode

DONE: Final = b"[DONE]"


class Event:
    """One event of a stream, or one whole answer, with the bytes it came in.

    ``raw`` is what is sent on, untouched unless a tap replaces the event. ``data`` is None for a comment (a provider's
    keep-alive); ``name`` is the ``event:`` field. ``json`` decodes ``data`` once, however many stages look.
    """

    __slots__ = ("_json", "data", "name", "raw", "whole")

    def __init__(self, raw: bytes, data: bytes | None, name: str = "", *, whole: bool = False) -> None:
        """``whole``: the bytes are a whole answer, not a piece of a stream."""
        self.raw = raw
        self.data = data
        self.name = name
        self.whole = whole
        self._json: Any = _UNREAD

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is any of its types
        """The decoded data; None when there is none, it is ``[DONE]``, or it is not JSON."""
        if self._json is _UNREAD:
            self._json = _read(self.data)
        return self._json

    @property
    def done(self) -> bool:
        """The ``[DONE]`` that ends an OpenAI stream."""
        return self.data == DONE


def _read(data: bytes | None) -> Any:  # noqa: ANN401
    if not data or data == DONE:
        return None
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
