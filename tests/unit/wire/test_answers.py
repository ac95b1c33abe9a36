"""What answers and events say."""

from typing import Any

import pytest

from penstock.wire.answers import (
    capacity_cut,
    carries_usage,
    is_usage_only,
    model_of,
    reasons,
    upstream_id,
    verdict,
)

CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
JUNK: list[Any] = [None, [], {}, "x", 1, {"choices": None}, {"choices": [1]}, {"choices": {}}, {"content": 3}]


def chat(finish_reason: Any = "stop", **message: Any) -> dict[str, Any]:
    """A whole chat answer of one choice."""
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]}


def text(text: Any, finish_reason: Any = "stop") -> dict[str, Any]:
    """A whole text completion."""
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish_reason}]}


def message(stop_reason: Any, *content: dict[str, Any]) -> dict[str, Any]:
    """A whole message."""
    return {"type": "message", "content": list(content), "stop_reason": stop_reason}


SAID = {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    ("dialect", "whole", "expected"),
    [
        ("chat", chat(content="Hi"), "complete"),
        ("chat", chat("length", content="Hi"), "complete"),
        ("chat", chat("tool_calls", content=None, tool_calls=[CALL]), "complete"),
        ("chat", chat("function_call", content=None, function_call={"name": "f"}), "complete"),
        ("chat", chat(content=[{"type": "text", "text": "Hi"}]), "complete"),
        ("chat", chat(content=None, audio={"id": "a"}), "complete"),
        ("chat", chat(None, content="Hi"), "unfinished"),
        ("chat", chat("", content="Hi"), "unfinished"),
        ("chat", {"choices": [{"message": {"content": "Hi"}}]}, "unfinished"),
        ("chat", chat("insufficient_system_resource", content="Hi"), "unfinished"),
        ("chat", chat("network_error", content="Hi"), "unfinished"),
        ("chat", chat(["stop"], content="Hi"), "unfinished"),
        ("chat", {**chat(content="Hi"), "error": {"message": "busy"}}, "unfinished"),
        ("chat", chat("content_filter", content="Hi"), "filtered"),
        ("chat", chat("sensitive", content="Hi"), "filtered"),
        ("chat", chat(content=None, refusal="I cannot"), "filtered"),
        ("chat", chat(content=""), "empty"),
        ("chat", chat(content=None), "empty"),
        ("chat", chat(content=" \n\t"), "empty"),
        ("chat", chat(content="", tool_calls=[]), "empty"),
        ("chat", chat("length", content="", reasoning_content="Hm"), "empty"),
        ("chat", {"choices": []}, "empty"),
        ("chat", {"choices": chat(content="Hi")["choices"] + chat(content="")["choices"]}, "empty"),
        ("chat", {"choices": chat(content="Hi")["choices"] + chat(None, content="x")["choices"]}, "unfinished"),
        ("chat", {"choices": chat(content="")["choices"] + chat("content_filter")["choices"]}, "filtered"),
        ("completions", text("x"), "complete"),
        ("completions", text("x", "length"), "complete"),
        ("completions", text("x", None), "unfinished"),
        ("completions", text(""), "empty"),
        ("messages", message("end_turn", SAID), "complete"),
        ("messages", message("max_tokens", SAID), "complete"),
        ("messages", message("stop_sequence", SAID), "complete"),
        ("messages", message("tool_use", {"type": "tool_use", "input": {}}), "complete"),
        ("messages", message(None, SAID), "unfinished"),
        ("messages", message("pause_turn", SAID), "unfinished"),
        ("messages", message("refusal", SAID), "filtered"),
        ("messages", message("end_turn"), "empty"),
        ("messages", message("max_tokens", {"type": "thinking", "thinking": "Hm"}), "empty"),
        ("messages", message("end_turn", {"type": "text", "text": " "}), "empty"),
        ("embeddings", {"data": [{"embedding": [0.0]}]}, "complete"),
        ("embeddings", {"data": [{"embedding": "AAAA"}]}, "complete"),
        ("embeddings", {"data": [{"embedding": [0.0]}, {"embedding": []}]}, "empty"),
        ("embeddings", {"data": []}, "empty"),
        ("embeddings", {}, "empty"),
        ("count_tokens", {"input_tokens": 3}, "complete"),
    ],
)
def test_verdict(dialect: str, whole: dict[str, Any], expected: str) -> None:
    """Only a complete answer is worth keeping; the worst choice decides."""
    assert verdict(dialect, whole) == expected


@pytest.mark.parametrize(
    ("dialect", "body", "expected"),
    [
        ("chat", chat("insufficient_system_resource", content="Hi"), True),
        ("chat", {"choices": [{"delta": {}, "finish_reason": "insufficient_system_resource"}]}, True),
        ("completions", text("a", "insufficient_system_resource"), True),
        ("messages", message("insufficient_system_resource"), True),
        ("messages", {"type": "message_delta", "delta": {"stop_reason": "insufficient_system_resource"}}, True),
        ("chat", chat(content="insufficient_system_resource"), False),
        ("messages", message("end_turn", SAID), False),
    ],
)
def test_capacity_cut(dialect: str, body: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - a table's column
    """Only the reason it ended says so, never what was said."""
    assert capacity_cut(dialect, body) is expected


@pytest.mark.parametrize(
    ("dialect", "body", "carries", "only"),
    [
        ("chat", {"choices": [], "usage": {"a": 1}}, True, True),
        ("chat", {"usage": {"a": 1}}, True, True),
        ("chat", {"choices": [{"delta": {}}], "usage": {"a": 1}}, True, False),
        ("chat", {"choices": [{"delta": {}, "usage": {"a": 1}}]}, True, False),
        ("chat", {"choices": [], "usage": None}, False, False),
        ("chat", {"choices": []}, False, False),
        ("completions", {"choices": [], "usage": {"a": 1}}, True, True),
        ("messages", {"type": "message_start", "message": {"usage": {"a": 1}}}, True, False),
        ("messages", {"type": "message_delta", "usage": {"a": 1}}, True, False),
        ("messages", {"type": "message_stop"}, False, False),
        ("embeddings", {"data": [], "usage": {"a": 1}}, True, False),
    ],
)
def test_usage(dialect: str, body: dict[str, Any], carries: bool, only: bool) -> None:  # noqa: FBT001 - table columns
    """A chunk of nothing but usage may be hidden; one with a choice may not."""
    assert (carries_usage(dialect, body), is_usage_only(dialect, body)) == (carries, only)


@pytest.mark.parametrize(
    ("body", "expected"),
    [({"id": "c1"}, "c1"), ({"message": {"id": "m1"}}, "m1"), ({"id": 7}, ""), ({"message": None}, ""), ({}, "")],
)
def test_upstream_id(body: dict[str, Any], expected: str) -> None:
    """The provider's id, from a whole answer or the event that starts one."""
    assert upstream_id(body) == expected


@pytest.mark.parametrize(
    ("dialect", "body", "model", "ends"),
    [
        (
            "chat",
            {"model": "a", "choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]},
            "a",
            ["stop", "length"],
        ),
        ("completions", {"choices": [{"finish_reason": None}, {"finish_reason": "stop"}]}, "", ["stop"]),
        ("messages", {"model": "b", "stop_reason": "end_turn"}, "b", ["end_turn"]),
        ("embeddings", {"model": "c", "data": []}, "c", []),
        ("chat", {"model": 7, "choices": [{"finish_reason": 3}]}, "", []),
    ],
)
def test_who_answered_and_why_it_ended(dialect: str, body: dict[str, Any], model: str, ends: list[str]) -> None:
    """As the provider says it."""
    assert (model_of(body), list(reasons(dialect, body))) == (model, ends)


@pytest.mark.parametrize("dialect", ["chat", "completions", "messages", "embeddings"])
@pytest.mark.parametrize("body", JUNK)
def test_any_json_is_judged(dialect: str, body: Any) -> None:
    """Providers send anything: none of it is complete, and none of it raises."""
    assert verdict(dialect, body) != "complete"
    assert not capacity_cut(dialect, body)
    assert not carries_usage(dialect, body)
    assert not is_usage_only(dialect, body)
    assert upstream_id(body) == model_of(body) == ""
    assert reasons(dialect, body) == ()
