"""What a request asks of the bill provider, read with a tokenizer that is exact: a word is a token, both ways.

The prompt's own words say what is to come: ``say=40`` so many words of answer (16 without it), ``gap=5`` so many
milliseconds before each of them, and one word ``mk-...`` is the marker.

**How the bill and the ledger are joined.** No header of ours has to reach a provider. The client that makes the load
puts a word ``mk-...`` into the prompt, a new one for each request, and sends the same as a tag: ``x-penstock-tags:
marker=mk-...``. The bill keeps the word, the ledger's exchange the tag. Calls and attempts of one marker are joined by
the provider's id (``upstream_id``) where it came, the others in the order in which they were made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

WORD: Final = "answers "
"""What every answer says, again and again. Longer than a token of our own count, so that it counts too much."""
USUAL_WORDS: Final = 16
MARK: Final = "mk-"
_CAPS: Final = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Wish:
    """One request as the provider reads it."""

    dialect: str
    model: str
    marker: str
    prompt: int
    """Tokens."""
    words: int
    """How many tokens the answer would have if nobody capped it."""
    cap: int | None
    """The most output tokens that the request allows."""
    gap_s: float
    """Seconds before each word of the answer."""
    streamed: bool
    wants_usage: bool

    @property
    def capped(self) -> int:
        """How many words the answer has at a provider that honours the cap."""
        return self.words if self.cap is None else min(self.words, self.cap)


def read_wish(dialect: str, body: Mapping[str, Any]) -> Wish:
    """The wish behind a request body of that dialect."""
    words = [word for text in _texts(body) for word in text.split()]
    told = {name: value for name, sep, value in (word.partition("=") for word in words) if sep}
    options = body.get("stream_options")
    caps = [value for name in _CAPS if isinstance(value := body.get(name), int)]
    return Wish(
        dialect=dialect,
        model=str(body.get("model", "")),
        marker=next((word for word in words if word.startswith(MARK)), ""),
        prompt=len(words),
        words=int(told.get("say", USUAL_WORDS)) if dialect != "embeddings" else 0,
        cap=min(caps) if caps else None,
        gap_s=float(told.get("gap", 0)) / 1000,
        streamed=body.get("stream") is True,
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def prompt_of(marker: str, *, say: int = USUAL_WORDS, gap_ms: int = 0, padding: int = 0) -> str:
    """A prompt that asks for that; ``padding``: so many words more."""
    return " ".join([marker, f"say={say}", f"gap={gap_ms}", *["please"] * padding])


def _texts(body: Mapping[str, Any]) -> list[str]:
    """Everything the request says."""
    said = [body.get("prompt"), body.get("system"), body.get("input")]
    said += [message.get("content") for message in body.get("messages") or [] if isinstance(message, dict)]
    return [text for each in said for text in _flat(each)]


def _flat(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    if isinstance(content, list):
        return [text for part in content for text in _flat(part.get("text") if isinstance(part, dict) else part)]
    return []
