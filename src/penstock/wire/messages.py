"""Streams of the messages dialect (Anthropic), folded.

The events: https://docs.anthropic.com/en/docs/build-with-claude/streaming. Counts in ``message_delta`` are totals:
they replace those of ``message_start``, and what the delta leaves out stays. Relays repeat the prompt's counts there as
zeros: a zero never takes back what was counted.
"""

from typing import Any, Final

import msgspec

from penstock.wire.draft import Draft, Text, add_field, add_fields, written
from penstock.wire.pieces import Pieces
from penstock.wire.sse import Event

_BLOCK_OF: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "tool_use"}
"""The block that a delta without a ``content_block_start`` belongs to."""
_INPUT_TEXT: Final = "partial_json"
"""A tool's arguments arrive under this name, as text, and become ``input``."""
_CUTS: Final = ("max_tokens", "model_context_window_exceeded")
"""Stop reasons that may leave a tool's arguments unfinished."""
_decode = msgspec.json.Decoder().decode


class MessagesFold(Pieces):
    """A stream of message events."""

    __slots__ = ("_blocks", "_cut_input")

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, Draft] = {}
        self._cut_input = False
        """Some tool's arguments are no JSON."""

    def add(self, event: Event) -> None:
        """Take one event."""
        body = event.json
        if body.__class__ is not dict or event.whole:
            self._take(event)
            return
        kind = body.get("type")
        if kind == "ping":
            return
        self.started = True
        if kind == "content_block_delta":
            self._grow(body)
        elif kind == "content_block_start":
            self._begin(body)
        elif kind == "content_block_stop":
            self._end(body)
        elif kind in ("message_start", "message_delta"):
            self._know(body)
        elif kind == "message_stop":
            self.done = True
        elif kind == "error":
            self.broken = True

    def _block(self, body: dict[str, Any]) -> Draft:
        index = body.get("index")
        return self._blocks.setdefault(index if isinstance(index, int) else 0, {})

    def _begin(self, body: dict[str, Any]) -> None:
        block = body.get("content_block")
        if isinstance(block, dict):
            add_fields(self._block(body), block)

    def _end(self, body: dict[str, Any]) -> None:
        index = body.get("index")
        if isinstance(index, int) and index in self._blocks:
            self._read_input(self._blocks[index])

    def _grow(self, body: dict[str, Any]) -> None:
        delta = body.get("delta")
        if not isinstance(delta, dict):
            return
        block = self._block(body)
        if not block:
            block["type"] = _BLOCK_OF.get(str(delta.get("type")), "text")
        for name, value in delta.items():
            if value.__class__ is str and (text := block.get(name)).__class__ is Text:
                text.append(value)
            elif name == "citation":
                add_field(block, "citations", [value])
            elif name != "type":
                add_field(block, name, value)

    def _read_input(self, block: Draft) -> None:
        """A tool's arguments, once they are all there. Those cut short leave ``input`` as it began."""
        text = block.pop(_INPUT_TEXT, None)
        if not text:
            return
        try:
            block["input"] = _decode("".join(text) or "{}")
        except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError):
            self._cut_input = True

    def _know(self, body: dict[str, Any]) -> None:
        """Add what an event says about the message itself."""
        said = body.get("message" if body["type"] == "message_start" else "delta")
        if isinstance(said, dict):
            for name, value in said.items():
                self._set(name, value)
        for name, value in body.items():
            if name not in ("type", "message", "delta"):
                self._set(name, value)
        if self._cut_input and self._top.get("stop_reason") not in (None, *_CUTS):
            self.broken = True

    def _set(self, name: str, value: Any) -> None:
        if name == "content" and isinstance(value, list):
            self._blocks.update((index, block) for index, block in enumerate(value) if isinstance(block, dict))
        elif name == "usage" and isinstance(value, dict):
            counted = {count: number for count, number in value.items() if number}
            self._top["usage"] = {**value, **(self.usage or {}), **counted}
        elif value is not None or name not in self._top:
            self._top[name] = value

    def _ended(self) -> bool:
        return self.done or bool(self._top.get("stop_reason"))

    def _body(self) -> dict[str, Any]:
        for block in self._blocks.values():
            self._read_input(block)
        content = [written(self._blocks[index]) for index in sorted(self._blocks)]
        body = {"type": "message", "role": "assistant", **self._top, "content": content}
        return {**body, "stop_reason": None} if self.broken else body
