"""DeepSeek: what its API does differently. As of 2026-11-15, api-docs.deepseek.com.

- FIM, chat prefix completion (``prefix: true`` on the last message) and ``strict`` tools are served under ``/beta``
  only: FIM by the row's base for completions, the other two by the same base (guides/chat_prefix_completion).
- Its messages API refuses Anthropic's explicit tool discriminator ``type: custom``, which means the same as none
  (seen in LiteLLM 1.109.1); it is left out.
- Hits and misses come in two spellings (``providers/usage.py`` reads both); 402 is an empty balance; while a call
  queues it sends blank lines or comments, which are no data; all of these are read as every provider's are.
"""

from collections.abc import Mapping
from typing import Any

from penstock.config.settings import DeploymentSettings, ProviderSettings
from penstock.providers.openai import OpenAICompatible, base_of


class DeepSeek(OpenAICompatible):
    """The adapter of api.deepseek.com."""

    def url(self, dialect: str, fields: Mapping[str, Any], provider: ProviderSettings) -> str:
        """Chat features that are beta go to the beta base, where the row has one."""
        if dialect == "chat" and "completions" in provider.base_urls and _is_beta(fields):
            return base_of(provider, "completions") + "/chat/completions"
        return super().url(dialect, fields, provider)

    def changes(
        self, dialect: str, fields: Mapping[str, Any], deployment: DeploymentSettings, *, stream: bool
    ) -> dict[str, Any]:
        """The common edits, and messages tools without ``type: custom``."""
        changes = super().changes(dialect, fields, deployment, stream=stream)
        tools = fields.get("tools")
        if dialect in {"messages", "count_tokens"} and isinstance(tools, list) and any(map(_is_custom, tools)):
            changes["tools"] = [_without_type(tool) if _is_custom(tool) else tool for tool in tools]
        return changes


def _is_beta(fields: Mapping[str, Any]) -> bool:
    messages = fields.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, dict) and last.get("prefix") is True:
        return True
    tools = fields.get("tools")
    return isinstance(tools, list) and any(map(_is_strict, tools))


def _is_strict(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and function.get("strict") is True


def _is_custom(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "custom"


def _without_type(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tool.items() if name != "type"}
