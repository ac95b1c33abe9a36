"""A stream folded into the whole answer that the provider would have sent without it."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from penstock.wire.choices import ChatFold, CompletionsFold
from penstock.wire.messages import MessagesFold
from penstock.wire.pieces import Pieces
from penstock.wire.sse import Event


class Fold(Protocol):
    """What a stream has said so far. A whole answer (``Event.whole``) is taken as it is."""

    started: bool
    """Data came; comments and pings are none."""
    done: bool
    """The stream said that it is over: ``[DONE]`` or ``message_stop``."""
    broken: bool
    """Something could not be understood: the answer cannot be trusted to be whole, and ``finished`` stays False."""

    @property
    def finished(self) -> bool:
        """Every choice seen has its finish reason, or the message its stop reason."""
        ...

    @property
    def usage(self) -> dict[str, Any] | None:
        """The last usage seen, as the provider spells it; of messages the merged one."""
        ...

    @property
    def upstream_id(self) -> str:
        """The id in the provider's body, "" before one came."""
        ...

    def add(self, event: Event) -> None:
        """Take one event. Comments are ignored."""
        ...

    def whole(self) -> bytes:
        """The whole answer's JSON, as far as it has come. Raises BadAnswer when it is too deep to be written."""
        ...


_FOLDS: Final[Mapping[str, type[Pieces]]] = {
    "chat": ChatFold,
    "completions": CompletionsFold,
    "messages": MessagesFold,
}


def fold_for(dialect: str) -> Fold:
    """A fold that has seen nothing. A dialect that is never streamed takes whole answers only."""
    return _FOLDS.get(dialect, Pieces)()
