"""Token estimates."""

from typing import Any

import pytest

from penstock.core.tokens import IMAGE_TOKENS, MESSAGE_TOKENS, estimate_answer, estimate_request, estimate_tokens

TEN = "abcdefghij"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("a", 1),
        (TEN, 3),
        (TEN * 100, 300),
        ("水", 1),
        ("水" * 10, 6),
        ("水a" * 10, 9),
        ("é", 1),
        ("🚰" * 10, 6),
    ],
)
def test_estimate_tokens(text: str, tokens: int) -> None:
    """0.3 per ASCII character, 0.6 per other, rounded up once."""
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize(
    ("dialect", "fields", "tokens"),
    [
        ("chat", {"messages": [{"role": "user", "content": TEN}]}, MESSAGE_TOKENS + 3),
        ("chat", {"messages": [{"role": "user", "content": TEN}] * 3}, 3 * MESSAGE_TOKENS + 9),
        ("chat", {"messages": [{"role": "assistant", "content": None}]}, MESSAGE_TOKENS),
        ("chat", {"messages": [{"role": "assistant", "content": TEN, "reasoning_content": TEN}]}, MESSAGE_TOKENS + 6),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": TEN}]}]}, MESSAGE_TOKENS + 3),
        ("chat", {"messages": [{"role": "user", "content": [IMAGE, IMAGE]}]}, MESSAGE_TOKENS + 2 * IMAGE_TOKENS),
        ("chat", {"messages": [{"role": "user", "content": ""}], "tools": [{"a": "bcde"}]}, MESSAGE_TOKENS + 5),
        ("completions", {"prompt": TEN, "suffix": TEN}, 6),
        ("completions", {"prompt": [TEN, TEN]}, 6),
        ("completions", {"prompt": [1, 2, 3]}, 3),
        ("completions", {"prompt": [[1, 2], [3]]}, 3),
        ("embeddings", {"input": [TEN] * 4}, 12),
        ("embeddings", {"input": TEN}, 3),
        ("messages", {"system": TEN, "messages": [{"role": "user", "content": TEN}]}, MESSAGE_TOKENS + 6),
        ("messages", {"system": [{"type": "text", "text": TEN}], "messages": []}, 3),
        (
            "count_tokens",
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [IMAGE, {"text": TEN}]}]}]},
            MESSAGE_TOKENS + IMAGE_TOKENS + 3,
        ),
        ("chat", {}, 0),
        ("completions", {}, 0),
    ],
)
def test_estimate_request(dialect: str, fields: dict[str, Any], tokens: int) -> None:
    """What it says, its tools, and its images by their cap."""
    assert estimate_request(dialect, fields) == tokens


@pytest.mark.parametrize(
    ("whole", "tokens"),
    [
        ({"choices": [{"message": {"role": "assistant", "content": TEN}}]}, 3),
        ({"choices": [{"message": {"content": TEN, "reasoning_content": TEN}}, {"message": {"content": TEN}}]}, 9),
        ({"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [{"a": "bcde"}]}}]}, 5),
        ({"choices": [{"text": TEN}]}, 3),
        ({"choices": [None, {}]}, 0),
        ({"content": [{"type": "text", "text": TEN}, {"type": "thinking", "thinking": TEN, "signature": TEN}]}, 6),
        ({"data": [{"embedding": [0.1]}]}, 0),
        ({}, 0),
        ({"content": DEEP}, 0),
    ],
)
def test_estimate_answer(whole: dict[str, Any], tokens: int) -> None:
    """What was said, what was thought, what was called."""
    assert estimate_answer(whole) == tokens
