"""What only DeepSeek does."""

from typing import Any

import msgspec
import pytest

from penstock.config.settings import DeploymentSettings, ProviderSettings
from penstock.ports.providers import UpstreamCall
from penstock.providers.registry import KINDS, adapter


def encoded(dialect: str, **fields: Any) -> UpstreamCall:
    """The call for these fields."""
    row = ProviderSettings(
        "deepseek", "deepseek", KINDS["deepseek"].base_urls, None, None, False, "completes", "completion", "deepseek",
        "CNY", None, None, {},
    )  # fmt: skip
    raw = msgspec.json.encode({"model": "m", **fields})
    return adapter("deepseek").encode(
        dialect, {"model": "m", **fields}, raw, DeploymentSettings(row, "deepseek-flash", 1, ""), {}
    )


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, "https://api.deepseek.com/chat/completions"),
        (
            {"messages": [{"role": "assistant", "content": "a", "prefix": True}]},
            "https://api.deepseek.com/beta/chat/completions",
        ),
        (
            {"messages": [], "tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
            "https://api.deepseek.com/beta/chat/completions",
        ),
        ({"messages": [], "tools": [{"function": {"strict": False}}, 7]}, "https://api.deepseek.com/chat/completions"),
    ],
)
def test_beta_features_go_to_the_beta_base(fields: dict[str, Any], url: str) -> None:
    """Prefix completion and strict tools are served there only."""
    assert encoded("chat", **fields).url == url


def test_fim_goes_to_the_beta_base() -> None:
    """The row's base of completions."""
    assert encoded("completions", prompt="a", suffix="b").url == "https://api.deepseek.com/beta/completions"


def test_thinking_passes_untouched() -> None:
    """As every field that Penstock does not read."""
    sent = msgspec.json.decode(encoded("chat", thinking={"type": "disabled"}, reasoning_effort="low").body)
    assert sent["thinking"] == {"type": "disabled"}
    assert sent["reasoning_effort"] == "low"


def test_messages_tools_lose_the_discriminator_that_is_refused() -> None:
    """``type: custom`` means what its absence means; other types and all other fields stay."""
    tools = [
        {"type": "custom", "name": "a", "input_schema": {}},
        {"type": "bash_20250124", "name": "bash"},
        {"name": "b"},
    ]
    sent = msgspec.json.decode(encoded("messages", tools=tools).body)
    assert sent["tools"] == [{"name": "a", "input_schema": {}}, *tools[1:]]
