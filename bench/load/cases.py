"""What is measured: the requests, and the limits of issue 2 ("Numbers").

Every body but ``hit`` carries a number that differs in each request, so that a cache that is on never answers it.
"""

import json
from dataclasses import dataclass

MODEL = "mock-model"
NUMBER = "@@N@@"
"""Stands in a body where the request's own number goes."""

REFERENCE = "nginx"
"""The peer that ratios are taken against, in the same run."""

LONG_BYTES = 32 * 1024
_WORDS = "The quick brown fox jumps over the lazy dog while reading a long prompt. "


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request. ``limit`` is in times the reference's CPU per request; None = no such limit."""

    name: str
    body: str
    limit: float | None

    @property
    def unique(self) -> bool:
        """Whether every request differs."""
        return NUMBER in self.body


def chat(text: str, *, stream: bool = False, pause: bool = False) -> str:
    """A chat request of one question. ``pause``: the mock provider waits after the first chunk."""
    fields: dict[str, object] = {"model": MODEL}
    if pause:
        fields["user"] = "mock:pause"
    if stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    fields["messages"] = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": text},
    ]
    return json.dumps(fields)


_ASK = f"Question number {NUMBER}, how are you today?"

CASES = {
    case.name: case
    for case in (
        Case("uniq", chat(_ASK), 12.0),
        Case("ulong", chat(f"Question number {NUMBER}. " + (_WORDS * 500)[:LONG_BYTES]), 9.0),
        Case("ustream", chat(_ASK, stream=True), 2.5),
        Case("hit", chat("The same question as before, how are you today?"), 5.0),
        Case("ttft", chat(_ASK, stream=True, pause=True), None),
        Case("rss", chat(_ASK), None),
    )
}

ADDED_P50_LIMIT_MS = 1.0
"""What the gateway may add to the median at one client (``ttft``, and ``uniq`` at one client)."""

RSS_REQUESTS = 100_000
RSS_LIMIT_MB = 120.0
"""After ``RSS_REQUESTS`` requests, beside the configured bytes of the cache."""
CACHE_MB = 64.0
"""``cache.exact.max_bytes`` in penstock.yaml."""
