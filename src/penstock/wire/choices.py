"""Streams of the chat and completions dialects, folded."""

from typing import Any, ClassVar, Final

from penstock.wire.draft import Draft, Text, add_field, add_fields, written
from penstock.wire.pieces import Pieces
from penstock.wire.sse import Event

_KNOWN: Final = frozenset(("index", "delta", "text", "finish_reason", "logprobs"))
_ELSEWHERE: Final = _KNOWN - {"logprobs"} | {"usage"}
"""Fields of a choice that do not stand beside its message; usage, which Moonshot puts here, belongs to the whole."""
_STREAM_ONLY: Final = ("obfuscation",)
"""Padding that OpenAI adds to hide the lengths of chunks."""


class _Choice:
    """One choice in the making."""

    __slots__ = ("finish_reason", "message", "rest", "tools")

    def __init__(self) -> None:
        self.message: Draft = {}
        self.tools: dict[int, Draft] = {}
        self.finish_reason: Any = None
        self.rest: Draft = {}

    def say(self, delta: dict[str, Any]) -> None:
        """Add a delta to the message."""
        message = self.message
        for name, value in delta.items():
            if value.__class__ is str and (text := message.get(name)).__class__ is Text:
                text.append(value)
            elif name == "tool_calls" and isinstance(value, list):
                self._call(value)
            else:
                add_field(message, name, value)

    def know(self, choice: dict[str, Any]) -> None:
        """Add what stands beside the delta: logprobs, and fields we have no name for, whose last string stays."""
        for name, value in choice.items():
            if name in _ELSEWHERE:
                continue
            if isinstance(value, str):
                self.rest[name] = value
            else:
                add_field(self.rest, name, value)

    def settled(self) -> dict[str, Any]:
        """The message as it stands."""
        message = written(self.message)
        if self.tools:
            message["tool_calls"] = [written(self.tools[index]) for index in sorted(self.tools)]
        return message

    def _call(self, entries: list[Any]) -> None:
        self.message.setdefault("tool_calls", [])
        for entry in entries:
            if isinstance(entry, dict):
                tool = self.tools.setdefault(self._slot(entry), {})
                add_fields(tool, {name: value for name, value in entry.items() if name != "index"})

    def _slot(self, entry: dict[str, Any]) -> int:
        """Which tool call an entry continues. Without an index: the one of its id, else a new one, else the last."""
        index = entry.get("index")
        if isinstance(index, int):
            return index
        name = entry.get("id")
        last = max(self.tools, default=-1)
        if not name:
            return max(last, 0)
        return next((slot for slot, tool in self.tools.items() if tool.get("id") == name), last + 1)


class ChatFold(Pieces):
    """A stream of chat completion chunks."""

    __slots__ = ("_choices", "_open")

    kind: ClassVar[str] = "chat.completion"

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, _Choice] = {}
        self._open = 0
        """Choices without a finish reason."""

    def add(self, event: Event) -> None:
        """Take one event; the plain content delta of one choice costs the least."""
        chunk = event.json
        if chunk.__class__ is not dict or event.whole:
            self._take(event)
            return
        self.started = True
        top = self._top
        for name, value in chunk.items():
            if value or name not in top:
                top[name] = value
        choices = chunk.get("choices")
        if choices.__class__ is list:
            for choice in choices:
                if choice.__class__ is dict:
                    self._add(choice)

    def _add(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        if index.__class__ is not int:
            index = 0
        draft = self._choices.get(index)
        if draft is None:
            draft = self._choices[index] = _Choice()
            self._open += 1
        delta = self._delta(choice)
        if delta.__class__ is dict:
            draft.say(delta)
        reason = choice.get("finish_reason")
        if reason:
            self._open -= not draft.finish_reason
            draft.finish_reason = reason
        if "logprobs" in choice or not choice.keys() <= _KNOWN:
            draft.know(choice)
            if choice.get("usage"):
                self._top["usage"] = choice["usage"]

    def _delta(self, choice: dict[str, Any]) -> Any:
        return choice.get("delta")

    def _ended(self) -> bool:
        return self._open == 0 and bool(self._choices)

    def _body(self) -> dict[str, Any]:
        body = {
            name: value for name, value in self._top.items() if name not in _STREAM_ONLY and (value or name != "usage")
        }
        choices = [self._settled(index, self._choices[index]) for index in sorted(self._choices)]
        return {**body, "object": self.kind, "choices": choices}

    def _settled(self, index: int, choice: _Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": None, **choice.settled()}
        return {"index": index, "message": message, "finish_reason": self._reason(choice), **written(choice.rest)}

    def _reason(self, choice: _Choice) -> Any:
        """Why the choice ended; a stream that was not understood did not end."""
        return None if self.broken else choice.finish_reason


class CompletionsFold(ChatFold):
    """A stream of text completion chunks."""

    __slots__ = ()

    kind: ClassVar[str] = "text_completion"

    def _delta(self, choice: dict[str, Any]) -> Any:
        return {"text": choice.get("text")}

    def _settled(self, index: int, choice: _Choice) -> dict[str, Any]:
        said = {"text": "", **choice.settled()}
        return {"index": index, **said, "finish_reason": self._reason(choice), **written(choice.rest)}
