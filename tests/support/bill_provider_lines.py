"""The bill of the bill provider: a file that only grows, a line per change of a call, each written before it counts.

    {"what": "begin", "call": "c-1", "marker": "mk-7", "model": "stops", "prompt": 9, ...}
    {"what": "progress", "call": "c-1", "output": 12}
    {"what": "end", "call": "c-1", "prompt": 9, "hit": 0, "output": 16, "why": "complete"}

A call is billed for its end, and for its last progress while it has none. The oracle reads nothing but this file, and
counts money in its own way: whole nano-units per token.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from penstock.core.usage import Usage

MISS_NANO: Final = 2_000
HIT_NANO: Final = 500
OUTPUT_NANO: Final = 8_000
"""Per token, in nano-units of CNY."""
PRICES: Final = {"input": 2, "cached_input": 0.5, "output": 8, "currency": "CNY"}
"""The same per million tokens, as a provider's ``prices`` in the config."""


@dataclass(frozen=True, slots=True)
class BilledCall:
    """One call that the provider accepted, and what it bills for it."""

    call: str
    """The provider's own id, the ``id`` of its answer where it behaves."""
    marker: str
    model: str
    at: float = 0.0
    """Epoch seconds."""
    streamed: bool = False
    prompt: int = 0
    """Prompt tokens, those in ``hit`` included."""
    hit: int = 0
    output: int = 0
    why: str = ""
    """How it ended: ``complete left refused broken``; "" = it has not."""

    @property
    def usage(self) -> Usage:
        """What it bills, in our buckets."""
        return Usage(input_miss=self.prompt - self.hit, input_hit=self.hit, output=self.output)

    @property
    def cost_nano(self) -> int:
        """The amount on the bill."""
        return (self.prompt - self.hit) * MISS_NANO + self.hit * HIT_NANO + self.output * OUTPUT_NANO


class BillWriter:
    """The file, from the provider's side."""

    def __init__(self, path: Path) -> None:
        """``path``: appended to; it may hold the bill of earlier runs."""
        self._file = path.open("ab", buffering=0)
        self._open: dict[str, BilledCall] = {}

    def begin(self, call: BilledCall) -> None:
        """Accepted; nothing is billed yet."""
        self._open[call.call] = call
        self._write("begin", **asdict(call))

    def progress(self, call: BilledCall, *, prompt: int, output: int) -> None:
        """So much would be billed if it ended now."""
        self._open[call.call] = call = replace(call, prompt=prompt, output=output)
        self._write("progress", call=call.call, prompt=prompt, output=output)

    def end(self, call: BilledCall, usage: Usage, why: str) -> None:
        """So much is billed. A call ends once: a second end is a fault of this provider."""
        del self._open[call.call]
        ended = {"prompt": usage.prompt, "hit": usage.input_hit, "output": usage.output, "why": why}
        self._write("end", call=call.call, **ended)

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()

    def _write(self, what: str, **fields: Any) -> None:
        line = {"what": what, **fields}
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")  # outlives us: nobody pulls the plug


class BillReader:
    """The file, from the oracle's side; reads on from where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._calls: dict[str, BilledCall] = {}

    def calls(self) -> Sequence[BilledCall]:
        """Every call so far, in the order in which they began."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))
        return list(self._calls.values())

    def _take(self, line: dict[str, Any]) -> None:
        what, name = line.pop("what"), line["call"]
        self._calls[name] = BilledCall(**line) if what == "begin" else replace(self._calls[name], **line)


def total(calls: Iterable[BilledCall]) -> tuple[Usage, int]:
    """Tokens and nano-units of all of them."""
    usage, nano = Usage(), 0
    for call in calls:
        usage = Usage(*(mine + its for mine, its in zip(usage, call.usage, strict=True)))
        nano += call.cost_nano
    return usage, nano


def by_marker(calls: Iterable[BilledCall]) -> dict[str, list[BilledCall]]:
    """The calls of each marker, in order."""
    out: dict[str, list[BilledCall]] = {}
    for call in calls:
        out.setdefault(call.marker, []).append(call)
    return out
