"""Whatever a provider writes into its usage, our buckets are disjoint, never negative, and keep its totals."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.usage import Usage
from penstock.providers.answers import messages_usage as messages_fields
from penstock.providers.answers import usage_fields
from penstock.providers.usage import MOST, chat_usage, messages_usage

COUNTS = st.integers(0, 10**7)
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), st.text(max_size=5), st.just([]), st.just({})
)
NAMES = st.sampled_from(
    [
        "prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens",
        "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cached_tokens",
        "cache_write_tokens", "reasoning_tokens",
    ]
)  # fmt: skip
OBJECTS = st.dictionaries(NAMES, ANYTHING, max_size=8)
NESTED = st.sampled_from(["prompt_tokens_details", "completion_tokens_details", "cache_creation"])
USAGES = st.builds(dict[str, Any], OBJECTS) | st.builds(
    lambda flat, nested: {**flat, **nested}, OBJECTS, st.dictionaries(NESTED, OBJECTS | ANYTHING)
)


def usages() -> st.SearchStrategy[Usage]:
    """Usage as it may be."""
    return st.builds(
        lambda miss, hit, write, output, share: Usage(miss, hit, write, output, output * share // 100),
        COUNTS, COUNTS, COUNTS, COUNTS, st.integers(0, 100),
    )  # fmt: skip


def holds(usage: Usage | None) -> bool:
    """The promise of ``Usage``."""
    return usage is None or (min(usage) >= 0 and usage.reasoning <= usage.output and max(usage) <= 5 * MOST)


@given(USAGES)
def test_any_chat_usage_gives_buckets(fields: dict[str, Any]) -> None:
    """And the prompt is what the provider says it is, however it contradicts itself."""
    usage = chat_usage({"usage": fields})
    assert holds(usage)
    prompt = fields.get("prompt_tokens")
    if usage is not None and isinstance(prompt, int) and not isinstance(prompt, bool) and 0 < prompt <= MOST:
        assert usage.prompt == prompt


@given(st.dictionaries(NAMES, COUNTS), st.dictionaries(NAMES, COUNTS), st.dictionaries(NAMES, COUNTS))
def test_a_slip_in_a_report_does_not_change_how_the_rest_is_read(
    counts: dict[str, int], of_prompt: dict[str, int], of_answer: dict[str, int]
) -> None:
    """A report as documented and one with a count spelt as a float are read by different means, to the same buckets."""
    documented = {**counts, "prompt_tokens_details": of_prompt, "completion_tokens_details": of_answer}
    slipped = {name: float(count) for name, count in counts.items()}
    details = {
        "prompt_tokens_details": {**of_prompt, "cache_write_tokens": float(of_prompt.get("cache_write_tokens", 0))}
    }
    read = chat_usage({"usage": documented})
    assert read is not None
    assert read == chat_usage({"usage": {**documented, **slipped}}) == chat_usage({"usage": {**documented, **details}})


@given(st.lists(USAGES, max_size=4), st.booleans())
def test_any_messages_usage_gives_buckets(events: list[dict[str, Any]], nested: bool) -> None:  # noqa: FBT001 - drawn
    """Event after event, merged."""
    usage: Usage | None = None
    for fields in events:
        body: dict[str, Any] = {"message": {"usage": fields}} if nested else {"usage": fields}
        usage = messages_usage(body, usage)
        assert holds(usage)


@given(ANYTHING | st.dictionaries(st.sampled_from(["usage", "message"]), ANYTHING | OBJECTS))
def test_any_body_is_read_or_has_none(body: Any) -> None:
    """No shape of a body raises."""
    fields = body if isinstance(body, dict) else {"usage": body}
    assert holds(chat_usage(fields))
    assert holds(messages_usage(fields, None))


@given(usages())
def test_what_the_stand_ins_write_is_read_back(usage: Usage) -> None:
    """Writing and reading are inverse, in both families of dialects."""
    assert chat_usage({"usage": usage_fields(usage)}) == usage
    written = msgspec.json.decode(msgspec.json.encode(messages_fields(usage)))
    assert messages_usage({"usage": written}, None) == usage._replace(reasoning=0)


@given(usages())
def test_a_messages_stream_adds_up(usage: Usage) -> None:
    """The prompt from the first event, the output from the last."""
    start = messages_usage({"message": {"usage": messages_fields(usage._replace(output=1))}}, None)
    assert messages_usage({"usage": {"output_tokens": usage.output}}, start) == usage._replace(reasoning=0)
