"""The law of folding: a whole answer told as a stream folds back into itself."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.fold import Fold, fold_for
from penstock.wire.sse import Event, SseParser
from penstock.wire.unfold import PIECE_CHARS, unfold
from tests.support.json_values import OBJECTS, TEXT, VALUES

LONG = TEXT | TEXT | TEXT | st.sampled_from([("水a" * PIECE_CHARS)[:size] for size in (PIECE_CHARS, PIECE_CHARS + 1)])
REASONS = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])
USAGE = st.dictionaries(TEXT, st.integers(0, 10**9) | OBJECTS, min_size=1, max_size=3)
NAMED = ("choices", "usage", "object", "error")


def without(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Unknown fields, under any other name."""
    return OBJECTS.map(lambda fields: {name: value for name, value in fields.items() if name not in names})


TOOLS = st.builds(
    lambda extra, name, function: {**extra, "id": name, "type": "function", "function": function},
    without("id", "type", "index", "function"),
    TEXT.filter(bool),
    st.builds(lambda name, arguments: {"name": name, "arguments": arguments}, TEXT.filter(bool), LONG),
)
SAID = st.fixed_dictionaries(
    {"content": st.none() | LONG},
    optional={
        "reasoning_content": st.none() | LONG,
        "refusal": st.none() | TEXT,
        "tool_calls": st.lists(TOOLS, max_size=3),
        "function_call": st.fixed_dictionaries({"name": TEXT.filter(bool), "arguments": TEXT}),
    },
)
MESSAGES = st.builds(
    lambda extra, said: {**extra, "role": "assistant", **said},
    without("role", "content", "reasoning_content", "refusal", "tool_calls", "function_call"),
    SAID,
)
BESIDE = st.fixed_dictionaries({}, optional={"logprobs": st.none() | OBJECTS, "content_filter_results": OBJECTS})
CHAT_CHOICES = st.builds(
    lambda message, reason, more: {"message": message, "finish_reason": reason, **more}, MESSAGES, REASONS, BESIDE
)
TEXT_CHOICES = st.builds(
    lambda text, reason, more: {"text": text, "finish_reason": reason, **more}, LONG, REASONS, BESIDE
)


def answers(kind: str, choices: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Whole answers of one to three choices."""
    return st.builds(
        lambda extra, usage, chosen: {
            **extra,
            "object": kind,
            "choices": [{"index": index, **choice} for index, choice in enumerate(chosen)],
            "usage": usage,
        },
        without(*NAMED),
        USAGE,
        st.lists(choices, min_size=1, max_size=3),
    )


BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, LONG),
    st.builds(
        lambda text, cited: {"type": "text", "text": text, "citations": cited}, TEXT, st.none() | st.lists(OBJECTS)
    ),
    st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, LONG, TEXT),
    st.builds(lambda name, args: {"type": "tool_use", "id": "t", "name": name, "input": args}, TEXT, OBJECTS),
    st.builds(lambda data: {"type": "redacted_thinking", "data": data}, TEXT),
    st.builds(
        lambda result: {"type": "web_search_tool_result", "tool_use_id": "t", "content": result}, st.lists(OBJECTS)
    ),
)
WHOLE_MESSAGES = st.builds(
    lambda extra, content, reason, usage: {
        **extra,
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"output_tokens": 5, **usage},
    },
    without("type", "role", "content", "stop_reason", "stop_sequence", "usage", "error"),
    st.lists(BLOCKS, max_size=4),
    st.sampled_from(["end_turn", "max_tokens", "tool_use"]),
    USAGE,
)


def refolded(dialect: str, whole: dict[str, Any]) -> Fold:
    """The answer told, sent as bytes, read and folded."""
    events = unfold(dialect, msgspec.json.encode(whole), include_usage=True)
    fold = fold_for(dialect)
    for event in SseParser().feed(b"".join(event.raw for event in events)):
        fold.add(event)
    return fold


def check(dialect: str, whole: dict[str, Any]) -> None:
    """The law, and that the stream ends properly."""
    fold = refolded(dialect, whole)
    assert msgspec.json.decode(fold.whole()) == whole
    assert fold.usage == whole["usage"]
    assert (fold.started, fold.finished, fold.done, fold.broken) == (True, True, True, False)


@given(answers("chat.completion", CHAT_CHOICES))
def test_chat(whole: dict[str, Any]) -> None:
    """Also with several choices, tools, logprobs and fields that nobody knows."""
    check("chat", whole)


@given(answers("text_completion", TEXT_CHOICES))
def test_completions(whole: dict[str, Any]) -> None:
    """Also with several choices."""
    check("completions", whole)


@given(WHOLE_MESSAGES)
def test_messages(whole: dict[str, Any]) -> None:
    """Also with thinking, tools, citations and blocks that nobody knows."""
    check("messages", whole)


@given(answers("chat.completion", CHAT_CHOICES))
def test_chat_without_usage(whole: dict[str, Any]) -> None:
    """A client that did not ask gets everything but the usage."""
    fold = fold_for("chat")
    for event in unfold("chat", msgspec.json.encode(whole), include_usage=False):
        fold.add(event)
    assert msgspec.json.decode(fold.whole()) == {name: value for name, value in whole.items() if name != "usage"}


@given(st.lists(TEXT, max_size=12), st.data())
def test_how_content_is_cut_does_not_matter(pieces: list[str], data: st.DataObject) -> None:
    """Deltas join in order; keep-alives and odd values among them change nothing."""
    fold = fold_for("chat")
    for piece in pieces:
        fold.add(Event(b": keep-alive\n\n", None))
        chunk = {
            "choices": [{"index": 0, "delta": {"content": piece, "odd": data.draw(VALUES)}, "finish_reason": None}]
        }
        fold.add(Event(b"", msgspec.json.encode(chunk)))
    choices = msgspec.json.decode(fold.whole())["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["".join(pieces)] * bool(pieces)
