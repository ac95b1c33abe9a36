"""Providers' usage objects read into our disjoint buckets, whatever they spell or contradict.

Chat: ``prompt_tokens`` includes what was read from and written to a cache; hits stand in DeepSeek's
``prompt_cache_hit_tokens`` and in ``prompt_tokens_details.cached_tokens``, and relays often pass only one of the two,
so the larger counts. A report with a count that cannot be, below zero or above ``MOST``, is a provider's mistake and no
bill: as if it said nothing. Messages: ``input_tokens`` excludes both. (api-docs.deepseek.com create-chat-completion;
platform.openai.com prompt-caching; platform.claude.com prompt-caching; openrouter.ai usage-accounting)
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from penstock.core.usage import NO_USAGE, Usage

MOST: Final = 10**9
"""No call uses more tokens."""
_NUMBERS: Final = (int, float)
_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]


class _Details(msgspec.Struct, frozen=True, gc=False):
    """What a chat report says of its prompt, or of its answer."""

    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    cache_creation_input_tokens: _Count = 0
    reasoning_tokens: _Count = 0


_NO_DETAILS: Final = _Details()


class _ChatReport(msgspec.Struct, frozen=True, gc=False):
    """A chat report as documented."""

    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    prompt_cache_hit_tokens: _Count = 0
    prompt_cache_miss_tokens: _Count = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


def chat_usage(body: Mapping[str, Any]) -> Usage | None:
    """What a chat, completions or embeddings body or chunk carries."""
    usage = body.get("usage")
    if not isinstance(usage, dict) or _impossible(usage, "prompt_tokens") or _impossible(usage, "completion_tokens"):
        return None
    report = _chat_report(usage)
    of_prompt, of_answer = report.prompt_tokens_details or _NO_DETAILS, report.completion_tokens_details or _NO_DETAILS
    hit = max(report.prompt_cache_hit_tokens, of_prompt.cached_tokens)
    prompt = report.prompt_tokens or hit + report.prompt_cache_miss_tokens
    written = max(of_prompt.cache_write_tokens, of_prompt.cache_creation_input_tokens)
    hit = min(hit, prompt)
    written = min(written, prompt - hit)
    output = report.completion_tokens
    return Usage(prompt - hit - written, hit, written, output, min(of_answer.reasoning_tokens, output))


def messages_usage(body: Mapping[str, Any], before: Usage | None) -> Usage | None:
    """What a messages body or event carries; counts are cumulative, and what an event leaves out stays.

    None when there never was a report.

    Relays repeat the prompt's counts as zeros at the end of a stream: zeros never take back what was counted.
    """
    usage = body.get("usage")
    if not isinstance(usage, dict):
        usage = _object(body, "message").get("usage")
    if not isinstance(usage, dict) or _impossible(usage, "input_tokens") or _impossible(usage, "output_tokens"):
        return before
    known = before or NO_USAGE
    prompt = _told(usage, "input_tokens"), _told(usage, "cache_read_input_tokens"), _written(usage)
    if any(prompt):
        miss, hit, written = (old if new is None else new for new, old in zip(prompt, known, strict=False))
        known = known._replace(input_miss=miss, input_hit=hit, cache_write=written)
    output = _told(usage, "output_tokens")
    return known if output is None else known._replace(output=output)


def _chat_report(usage: Mapping[str, Any]) -> _ChatReport:
    """As documented; where it is not, count by count, 0 for what is absent or no number."""
    try:
        return msgspec.convert(usage, _ChatReport)
    except msgspec.ValidationError:
        return _ChatReport(
            _count(usage, "prompt_tokens"),
            _count(usage, "completion_tokens"),
            _count(usage, "prompt_cache_hit_tokens"),
            _count(usage, "prompt_cache_miss_tokens"),
            _details(_object(usage, "prompt_tokens_details")),
            _details(_object(usage, "completion_tokens_details")),
        )


def _details(told: Mapping[str, Any]) -> _Details:
    return _Details(*[_count(told, name) for name in _Details.__struct_fields__])


def _written(usage: Mapping[str, Any]) -> int | None:
    told = _told(usage, "cache_creation_input_tokens")
    parts = usage.get("cache_creation")
    if told or not isinstance(parts, dict):
        return told
    return sum(_count(parts, name) for name in parts)


def _impossible(usage: Mapping[str, Any], name: str) -> bool:
    """Whether a count is none that a call can have."""
    count = usage.get(name)
    return isinstance(count, _NUMBERS) and not 0 <= count <= MOST


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _count(body: Mapping[str, Any], name: str) -> int:
    """A count, 0 when it is absent or no number."""
    return _told(body, name) or 0


def _told(body: Mapping[str, Any], name: str) -> int | None:
    """A count, None when it is absent or no number; NaN is 0."""
    value = body.get(name)
    if type(value) is int and 0 <= value <= MOST:  # the one case that is not a mistake, and not a bool
        return value
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        return None
    return int(min(max(0, value), MOST))  # in this order a NaN loses
