"""Streams as providers send them, and the answers they fold into."""

from typing import Any

import msgspec
import pytest

from penstock.wire.fold import Fold, fold_for
from penstock.wire.sse import DONE, Event, comment, sse


def folded(dialect: str, *bodies: Any) -> Fold:
    """A fold that has seen these chunks."""
    fold = fold_for(dialect)
    for body in bodies:
        fold.add(sse(body if isinstance(body, bytes) else msgspec.json.encode(body)))
    return fold


def answer(fold: Fold) -> Any:
    """The whole answer, decoded."""
    return msgspec.json.decode(fold.whole())


def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A chat chunk with these choices."""
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": list(choices),
        **fields,
    }


def delta(fields: dict[str, Any], index: int = 0, finish_reason: str | None = None, **beside: Any) -> dict[str, Any]:
    """One choice of a chat chunk."""
    return {"index": index, "delta": fields, "finish_reason": finish_reason, **beside}


def messages(*deltas: dict[str, Any]) -> list[Any]:
    """The messages of the answer that these deltas of one choice make."""
    chunks = [chunk(delta(fields)) for fields in deltas]
    return [choice["message"] for choice in answer(folded("chat", *chunks))["choices"]]


# --- chat


def test_a_chat_stream() -> None:
    """Content joins, the head stays, the object is that of a whole answer."""
    fold = folded(
        "chat",
        chunk(delta({"role": "assistant", "content": ""}), system_fingerprint="fp"),
        chunk(delta({"content": "Hel"})),
        chunk(delta({"content": "lo"})),
        chunk(delta({}, finish_reason="stop")),
        chunk(usage={"prompt_tokens": 3}),
        DONE,
    )
    assert answer(fold) == {
        "id": "c1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3},
    }
    assert (fold.upstream_id, fold.usage) == ("c1", {"prompt_tokens": 3})


def test_how_a_chat_stream_comes_along() -> None:
    """Comments start nothing; the finish reason finishes; [DONE] is done."""
    fold = fold_for("chat")
    steps = []
    for event in (
        comment("keep-alive"),
        sse(msgspec.json.encode(chunk(delta({"content": "a"})))),
        sse(msgspec.json.encode(chunk(delta({}, finish_reason="stop")))),
        sse(DONE),
    ):
        fold.add(event)
        steps.append((fold.started, fold.finished, fold.done))
    assert steps == [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]


def test_nothing_came() -> None:
    """A stream without chunks is an answer without choices."""
    fold = folded("chat", DONE)
    assert answer(fold)["choices"] == []
    assert (fold.finished, fold.usage, fold.upstream_id) == (False, None, "")


def test_reasoning_beside_content() -> None:
    """DeepSeek says null for the one it is not saying."""
    assert messages(
        {"role": "assistant", "content": None, "reasoning_content": ""},
        {"content": None, "reasoning_content": "Hm"},
        {"content": None, "reasoning_content": "m."},
        {"content": "Yes", "reasoning_content": None},
        {"content": ".", "reasoning_content": None},
    ) == [{"role": "assistant", "content": "Yes.", "reasoning_content": "Hmm."}]


def test_the_role_in_every_chunk() -> None:
    """Some providers repeat it; it is said once."""
    assert messages({"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}) == [
        {"role": "assistant", "content": "ab"}
    ]


def test_tool_calls_merge_by_index() -> None:
    """Names and ids are said once, arguments join, other fields stay; content stays null."""
    assert messages(
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 1, "id": "t1", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": "t0", "type": "function", "function": {"name": "f", "arguments": '{"a'}}]},
        {"tool_calls": [{"index": 1, "id": "t1", "function": {"name": "g", "arguments": "{}"}, "extra": {"x": 1}}]},
        {"tool_calls": [{"index": 0, "id": None, "function": {"arguments": '":1}'}, "extra": {"y": 2}}]},
    ) == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "t0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}, "extra": {"y": 2}},
                {"id": "t1", "type": "function", "function": {"name": "g", "arguments": "{}"}, "extra": {"x": 1}},
            ],
        }
    ]


def test_tool_calls_without_index() -> None:
    """An id tells a new call from more of the last one."""
    (message,) = messages(
        {"tool_calls": [{"id": "t0", "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"function": {"arguments": "}"}}]},
        {"tool_calls": [{"id": "t1", "function": {"name": "f", "arguments": "["}}]},
        {"tool_calls": [{"id": "t1", "function": {"arguments": "]"}}]},
    )
    assert [tool["function"]["arguments"] for tool in message["tool_calls"]] == ["{}", "[]"]


def test_the_old_function_call() -> None:
    """Before tools there was one function call."""
    (message,) = messages(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a"'}},
        {"function_call": {"arguments": ":1}"}},
    )
    assert message["function_call"] == {"name": "f", "arguments": '{"a":1}'}


def test_unknown_fields_of_a_delta() -> None:
    """Strings join, lists extend, objects merge, of anything else the last stays."""
    (message,) = messages(
        {"content": "a", "odd": "x", "list": [1], "box": {"a": "p", "n": 1}, "number": 1, "flag": True, "gone": None},
        {"content": "b", "odd": "y", "list": [{"b": 2}], "box": {"a": "q", "n": 2}, "number": 2, "flag": False},
    )
    assert message == {
        "role": "assistant",
        "content": "ab",
        "odd": "xy",
        "list": [1, {"b": 2}],
        "box": {"a": "pq", "n": 2},
        "number": 2,
        "flag": False,
        "gone": None,
    }


def test_several_choices_in_any_order() -> None:
    """Choices are told apart by index; all have to finish."""
    fold = folded(
        "chat",
        chunk(delta({"content": "b"}, 1), delta({"content": "a"}, 0)),
        chunk(delta({"content": "B"}, 1, "stop")),
        chunk(delta({"content": "A"}, 0)),
    )
    assert not fold.finished
    fold.add(sse(msgspec.json.encode(chunk(delta({}, 0, "length")))))
    assert fold.finished
    told = [
        (choice["index"], choice["message"]["content"], choice["finish_reason"]) for choice in answer(fold)["choices"]
    ]
    assert told == [(0, "aA", "length"), (1, "bB", "stop")]


def test_logprobs_extend() -> None:
    """Content and refusal logprobs are lists in pieces."""
    first, second = {"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -0.2}
    fold = folded(
        "chat",
        chunk(delta({"content": "a"}, logprobs={"content": [first], "refusal": None})),
        chunk(delta({"content": "b"}, logprobs={"content": [second], "refusal": None})),
        chunk(delta({}, finish_reason="stop", logprobs=None)),
    )
    assert answer(fold)["choices"][0]["logprobs"] == {"content": [first, second], "refusal": None}


def test_fields_beside_the_delta() -> None:
    """They are facts about the choice: strings replace, lists extend."""
    fold = folded(
        "chat",
        chunk(delta({"content": "a"}, stop_reason=None, token_ids=[1], native_finish_reason="stop")),
        chunk(delta({}, finish_reason="stop", stop_reason="END", token_ids=[2, 3], native_finish_reason="stop")),
    )
    (choice,) = answer(fold)["choices"]
    assert (choice["stop_reason"], choice["token_ids"], choice["native_finish_reason"]) == ("END", [1, 2, 3], "stop")


def test_fields_at_the_top() -> None:
    """The last that says something stays, wherever in the stream it came."""
    fold = folded(
        "chat",
        chunk(delta({"content": "a"}), id="", model="", system_fingerprint=None),
        chunk(delta({"content": "b"}), id="c2", system_fingerprint="fp", service_tier="flex"),
        chunk(delta({}, finish_reason="stop"), id="c2", system_fingerprint=None, timings={"n": 1}),
        chunk(id="", model="", usage=None),
    )
    whole = answer(fold)
    assert {name: value for name, value in whole.items() if name != "choices"} == {
        "id": "c2",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "system_fingerprint": "fp",
        "service_tier": "flex",
        "timings": {"n": 1},
    }


@pytest.mark.parametrize(
    "last",
    [
        chunk(usage={"total_tokens": 5}),
        chunk(delta({}, finish_reason="stop"), usage={"total_tokens": 5}),
        chunk(delta({}, finish_reason="stop", usage={"total_tokens": 5})),
        {"usage": {"total_tokens": 5}},
    ],
    ids=["alone", "beside the last choice", "inside the choice", "bare"],
)
def test_where_usage_stands(last: dict[str, Any]) -> None:
    """Wherever a provider puts its usage, it is found, and stands where whole answers have it."""
    fold = folded("chat", chunk(delta({"content": "a"}), usage=None), last)
    assert fold.usage == answer(fold)["usage"] == {"total_tokens": 5}
    assert all("usage" not in choice for choice in answer(fold)["choices"])


def test_padding_is_no_part_of_the_answer() -> None:
    """What only a stream needs is not kept."""
    assert "obfuscation" not in answer(folded("chat", chunk(delta({"content": "a"}), obfuscation="xyz")))


def test_usage_twice() -> None:
    """Engines that report as they go report totals: the last one is the bill, and a null says nothing."""
    fold = folded("chat", chunk(usage={"total_tokens": 1}), chunk(usage={"total_tokens": 5}), chunk(usage=None))
    assert fold.usage == {"total_tokens": 5}


# --- what is no proper stream


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages"])
@pytest.mark.parametrize("junk", [b"{", b"hello", b"[1]", b"null", b'"\xff"', b"[" * 100_000])
def test_what_cannot_be_understood_never_finishes(dialect: str, junk: bytes) -> None:
    """An answer that may lack a piece looks unfinished, so that nobody keeps it."""
    fold = folded(dialect, *STREAMS[dialect], junk)
    whole = answer(fold)
    assert (fold.broken, fold.finished) == (True, False)
    assert [choice["finish_reason"] for choice in whole.get("choices", ())] in ([], [None])
    assert whole.get("stop_reason") is None


def test_an_error_inside_a_stream_never_finishes() -> None:
    """An error after the answer's end still spoils it."""
    fold = folded("chat", *STREAMS["chat"], {"error": {"message": "busy"}})
    assert not fold.finished
    assert answer(fold)["error"] == {"message": "busy"}


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages", "embeddings", "count_tokens"])
def test_a_whole_answer_is_taken_as_it_is(dialect: str) -> None:
    """A whole answer is told to the same taps: it keeps its bytes."""
    raw = b'{"id": "c9",  "usage": {"total_tokens": 2}}'
    fold = fold_for(dialect)
    fold.add(Event(raw, raw, whole=True))
    assert (fold.whole(), fold.started, fold.done, fold.finished) == (raw, True, True, True)
    assert (fold.usage, fold.upstream_id) == ({"total_tokens": 2}, "c9")


def test_deep_fields_do_not_exhaust_the_stack() -> None:
    """An object further down than any answer needs is kept as it came."""
    deep: Any = "x"
    for _ in range(200):
        deep = {"a": deep}
    (message,) = messages({"content": "a", "deep": deep}, {"content": "b"})
    assert message["deep"] == deep


def test_pieces_stay_untouched() -> None:
    """A fold never changes what other stages look at."""
    first = chunk(delta({"content": "a", "list": [1], "box": {"a": [1]}}, logprobs={"content": [1]}))
    event = sse(msgspec.json.encode(first))
    fold = fold_for("chat")
    fold.add(event)
    fold.add(sse(msgspec.json.encode(first)))
    assert answer(fold)["choices"][0]["message"]["box"] == {"a": [1, 1]}
    assert event.json == first


# --- completions


def test_a_completions_stream() -> None:
    """Text joins; logprobs extend list by list."""
    fold = folded(
        "completions",
        {"id": "x", "object": "text_completion", "choices": [{"index": 0, "text": "a", "logprobs": {"tokens": ["a"]}}]},
        {"id": "x", "choices": [{"index": 0, "text": "b", "logprobs": {"tokens": ["b"]}, "finish_reason": "stop"}]},
        {"id": "x", "choices": [], "usage": {"total_tokens": 2}},
        DONE,
    )
    assert answer(fold) == {
        "id": "x",
        "object": "text_completion",
        "choices": [{"index": 0, "text": "ab", "finish_reason": "stop", "logprobs": {"tokens": ["a", "b"]}}],
        "usage": {"total_tokens": 2},
    }
    assert (fold.finished, fold.done) == (True, True)


# --- messages


def block(index: int, begun: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one content block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def started(**fields: Any) -> dict[str, Any]:
    """The first event of a message."""
    usage = {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 1}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": usage}
    return {"type": "message_start", "message": {**head, "stop_reason": None, "stop_sequence": None, **fields}}


def ended(stop_reason: str = "end_turn") -> list[dict[str, Any]]:
    """The last events of a message."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 20}}, {"type": "message_stop"}]


def test_a_messages_stream() -> None:
    """Text, thinking with its signature, a tool's input and citations, and the usage of both ends."""
    fold = folded(
        "messages",
        started(),
        {"type": "ping"},
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "H"},
            {"type": "thinking_delta", "thinking": "m"},
            {"type": "signature_delta", "signature": "sig"},
        ),
        *block(
            1,
            {"type": "text", "text": "", "citations": []},
            {"type": "text_delta", "text": "He"},
            {"type": "citations_delta", "citation": {"cited_text": "x"}},
            {"type": "text_delta", "text": "llo"},
        ),
        *block(
            2,
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"a": '},
            {"type": "input_json_delta", "partial_json": "[1]}"},
        ),
        *block(3, {"type": "redacted_thinking", "data": "zzz"}),
        *ended("tool_use"),
    )
    assert answer(fold) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "sig"},
            {"type": "text", "text": "Hello", "citations": [{"cited_text": "x"}]},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1]}},
            {"type": "redacted_thinking", "data": "zzz"},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 20},
    }
    assert (fold.finished, fold.done, fold.upstream_id) == (True, True, "msg_1")


def test_how_a_messages_stream_comes_along() -> None:
    """A ping starts nothing; the stop reason finishes; message_stop is done."""
    fold = fold_for("messages")
    steps = []
    for body in ({"type": "ping"}, started(), *ended()):
        fold.add(sse(msgspec.json.encode(body), body["type"]))
        steps.append((fold.started, fold.finished, fold.done))
    assert steps == [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]


def test_a_tool_without_arguments() -> None:
    """No input said is the input begun with."""
    begun = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    fold = folded(
        "messages", started(), *block(0, begun, {"type": "input_json_delta", "partial_json": ""}), *ended("tool_use")
    )
    assert (answer(fold)["content"], fold.finished) == ([begun], True)


@pytest.mark.parametrize(("stop_reason", "finished"), [("max_tokens", True), ("tool_use", False)])
def test_arguments_cut_short(stop_reason: str, finished: bool) -> None:  # noqa: FBT001 - a column of the table
    """The token limit may cut a tool's input; a tool that was called without a proper one is a broken answer."""
    begun = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    cut = {"type": "input_json_delta", "partial_json": '{"a": "b'}
    fold = folded("messages", started(), *block(0, begun, cut), *ended(stop_reason))
    assert (answer(fold)["content"], fold.finished) == ([begun], finished)


def test_an_unfinished_block() -> None:
    """What came of a message that was cut off is still told."""
    begun = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    events = [*block(0, begun, {"type": "input_json_delta", "partial_json": '{"a":1}'})[:2]]
    fold = folded("messages", started(), *events)
    assert answer(fold)["content"] == [{**begun, "input": {"a": 1}}]
    assert not fold.finished


def test_the_end_of_a_block_that_never_began() -> None:
    """It adds nothing."""
    assert answer(folded("messages", started(), {"type": "content_block_stop", "index": 0}))["content"] == []


def test_blocks_without_a_start() -> None:
    """A delta alone tells which block it belongs to."""
    deltas = [{"type": "thinking_delta", "thinking": "a"}, {"type": "text_delta", "text": "b"}]
    events = [{"type": "content_block_delta", "index": index, "delta": delta} for index, delta in enumerate(deltas)]
    assert answer(folded("messages", *events))["content"] == [
        {"type": "thinking", "thinking": "a"},
        {"type": "text", "text": "b"},
    ]


def test_usage_of_a_message_merges() -> None:
    """The last totals count; a null, or nothing, leaves what the start said."""
    last = {"type": "message_delta", "delta": {}, "usage": {"input_tokens": None, "output_tokens": 7, "extra": None}}
    assert folded("messages", started(), last).usage == {
        "input_tokens": 9,
        "cache_read_input_tokens": 4,
        "output_tokens": 7,
        "extra": None,
    }


def test_an_error_event_breaks_a_message() -> None:
    """Whatever follows it, the answer is not whole."""
    fold = folded("messages", started(), {"type": "error", "error": {"type": "overloaded_error"}}, *ended())
    assert (fold.broken, fold.finished, fold.done) == (True, False, True)


STREAMS: dict[str, list[dict[str, Any]]] = {
    "chat": [chunk(delta({"content": "a"}, finish_reason="stop"))],
    "completions": [{"id": "x", "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}],
    "messages": [started(), *block(0, {"type": "text", "text": "a"}), ended()[0]],
}
