"""What every fold has in common: the top level of the answer, and how a stream begins and ends."""

from typing import Any

import msgspec

from penstock.errors import BadAnswer
from penstock.wire.sse import DONE, Event

_encode = msgspec.json.encode


class Pieces:
    """An answer in the making. By itself it takes whole answers only: embeddings are never streamed."""

    __slots__ = ("_answer", "_top", "broken", "done", "started")

    def __init__(self) -> None:
        self.started = False
        self.done = False
        self.broken = False
        self._answer: Event | None = None
        self._top: dict[str, Any] = {}

    @property
    def finished(self) -> bool:
        """The end has been said, and nothing is wrong with what was said before it."""
        if self.broken or self._top.get("error"):
            return False
        return self._answer is not None or self._ended()

    @property
    def usage(self) -> dict[str, Any] | None:
        """The last usage seen."""
        usage = self._top.get("usage")
        return usage if isinstance(usage, dict) else None

    @property
    def upstream_id(self) -> str:
        """The id in the provider's body."""
        name = self._top.get("id")
        return name if isinstance(name, str) else ""

    def add(self, event: Event) -> None:
        """Take one event."""
        self._take(event)

    def whole(self) -> bytes:
        """The whole answer's JSON."""
        if self._answer is not None:
            return self._answer.raw
        try:
            return _encode(self._body())
        except RecursionError:
            raise BadAnswer("The provider sent an answer nested too deep.") from None

    def _body(self) -> dict[str, Any]:
        return self._top

    def _ended(self) -> bool:
        return False

    def _take(self, event: Event) -> None:
        """Take what is no plain piece of a stream: a whole answer, a comment, the end, or what is no JSON object."""
        if event.data is None and not event.whole:
            return
        self.started = True
        if event.data == DONE:
            self.done = True
        elif event.whole and isinstance(event.json, dict):
            self._answer, self._top, self.done = event, event.json, True
        else:
            self.broken = True
