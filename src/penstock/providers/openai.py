"""The base of every adapter: the OpenAI-compatible dialects and, where a provider has a base for it, messages.

What ``encode`` does to a body, and all it does:

- ``model`` becomes the deployment's name for it;
- when ``fields`` say that the answer is streamed, ``stream`` is written and, for chat and completions,
  ``stream_options.include_usage`` is added to whatever other stream options the client sent;
- nothing else: unknown fields pass, and every other value keeps its bytes. A body that needs no edit goes out as it is.

Credentials: ``Authorization: Bearer`` for OpenAI's dialects; for messages also ``x-api-key``, which every
provider of that dialect reads. The provider row's own ``headers`` come last and win.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from penstock.config.settings import DeploymentSettings, ProviderSettings
from penstock.core.usage import NO_USAGE, Usage
from penstock.errors import ProviderRefused, UpstreamError
from penstock.ports.providers import UpstreamCall
from penstock.providers import refusals
from penstock.providers.usage import chat_usage, messages_usage
from penstock.wire.requests import rewrite

ANTHROPIC_VERSION: Final = "2023-06-01"
CONNECT_TIMEOUT_S: Final = 5.0
"""Until the pipeline sets the model's own."""

_PATHS: Final = {
    "chat": ("chat", "/chat/completions"),
    "completions": ("completions", "/completions"),
    "embeddings": ("embeddings", "/embeddings"),
    "messages": ("messages", "/messages"),
    "count_tokens": ("messages", "/messages/count_tokens"),
}
"""Dialect -> the dialect whose base URL it uses, and its path below that."""
_TELLS_USAGE_WHEN_ASKED: Final = frozenset({"chat", "completions"})
_STREAMED: Final = frozenset({"chat", "completions", "messages"})
_MESSAGES: Final = frozenset({"messages", "count_tokens"})


class OpenAICompatible:
    """The adapter of every provider that speaks these dialects without peculiarities."""

    bearer_for_messages: ClassVar[bool] = True
    """Whether messages calls carry the bearer token beside ``x-api-key``."""

    def encode(
        self,
        dialect: str,
        fields: Mapping[str, Any],
        raw: bytes,
        deployment: DeploymentSettings,
        headers: Mapping[str, str],
    ) -> UpstreamCall:
        """The call, as the module says. Raises ProviderRefused when the provider has no base for the dialect."""
        provider = deployment.provider
        stream = dialect in _STREAMED and fields.get("stream") is True
        changes = self.changes(dialect, fields, deployment, stream=stream)
        return UpstreamCall(
            provider=provider,
            method="POST",
            url=self.url(dialect, fields, provider),
            headers=self.headers(dialect, provider, headers, stream=stream),
            body=rewrite(raw, changes),
            stream=stream,
            connect_timeout_s=CONNECT_TIMEOUT_S,
        )

    def usage(self, dialect: str, body: Mapping[str, Any], before: Usage | None) -> Usage | None:
        """The usage in a whole answer or an event, merged over ``before``. Counting tokens is free."""
        if dialect == "count_tokens":
            return NO_USAGE
        return messages_usage(body, before) if dialect == "messages" else chat_usage(body) or before

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """By status; see ``refusals``."""
        return refusals.refusal(status, headers, body)

    def error_inside(self, dialect: str, body: Mapping[str, Any]) -> UpstreamError | None:  # noqa: ARG002 - the port's
        """By the codes in the body; see ``refusals``."""
        return refusals.error_inside(body)

    def url(self, dialect: str, fields: Mapping[str, Any], provider: ProviderSettings) -> str:  # noqa: ARG002 - for kinds
        """Where the call goes."""
        base, path = _PATHS[dialect]
        return base_of(provider, base) + path

    def changes(
        self, dialect: str, fields: Mapping[str, Any], deployment: DeploymentSettings, *, stream: bool
    ) -> dict[str, Any]:
        """Top-level fields to set in the body.

        The model is set always: the edit drops fields that came twice, of which another reader may take the first.
        """
        changes: dict[str, Any] = {"model": deployment.model}
        if stream:
            changes["stream"] = True
            if dialect in _TELLS_USAGE_WHEN_ASKED:
                options = fields.get("stream_options")
                asked = options if isinstance(options, dict) else {}
                changes["stream_options"] = {**asked, "include_usage": True}
        return changes

    def headers(
        self, dialect: str, provider: ProviderSettings, forwarded: Mapping[str, str], *, stream: bool
    ) -> dict[str, str]:
        """What the call carries, credentials included; names in lower case."""
        out = {"content-type": "application/json", "accept": "text/event-stream" if stream else "application/json"}
        messages = dialect in _MESSAGES
        if messages:
            out["anthropic-version"] = ANTHROPIC_VERSION
            out.update((name.lower(), value) for name, value in forwarded.items())
        if provider.api_key is not None:
            key = provider.api_key.reveal()
            if messages:
                out["x-api-key"] = key
            if not messages or self.bearer_for_messages:
                out["authorization"] = f"Bearer {key}"
        for name, value in provider.headers.items():
            out[name.lower()] = value.reveal()
        return out


def base_of(provider: ProviderSettings, dialect: str) -> str:
    """The base URL of a dialect, without a slash at its end."""
    base = provider.base_urls.get(dialect)
    if base is None:
        raise ProviderRefused(f"{provider.name} does not speak {dialect}")
    return base.rstrip("/")
