"""Anthropic's own API: messages and count_tokens.

A key goes in ``x-api-key`` alone (a bearer token there means an OAuth session and is checked first). The client's
``anthropic-version`` and ``anthropic-beta`` pass unchanged; without one the version is 2023-06-01.
"""

from typing import ClassVar

from penstock.providers.openai import OpenAICompatible


class Anthropic(OpenAICompatible):
    """The adapter of api.anthropic.com."""

    bearer_for_messages: ClassVar[bool] = False
