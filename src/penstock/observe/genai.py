"""The names of OpenTelemetry that we use, all of them, and nowhere else.

From the semantic conventions for generative AI (https://github.com/open-telemetry/semantic-conventions-genai), which
are in development: only ``error.type`` is stable. They know no gateway, no cost and no cache of answers; names that
they lack begin with ``penstock.``.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
"""Cached ones included."""
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - tokens of a language model
ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = "http.response.status_code"
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE: Final = "service.instance.id"

EXCHANGE_ID: Final = "penstock.exchange.id"
ATTEMPT_ID: Final = "penstock.attempt.id"
DEPLOYMENT: Final = "penstock.deployment"
REGION: Final = "penstock.region"
OUTCOME: Final = "penstock.outcome"
CACHE: Final = "penstock.cache"
KEY: Final = "penstock.key"
TEAM: Final = "penstock.team"
DEGRADED: Final = "penstock.degraded"
COST: Final = "penstock.cost_nano"
"""In nano-units of ``CURRENCY``."""
SAVED: Final = "penstock.saved_nano"
CURRENCY: Final = "penstock.currency"
ESTIMATED: Final = "penstock.usage.estimated"
OVERHEAD_S: Final = "penstock.overhead_s"
REQUEST_BODY: Final = "penstock.request.body"
"""Only where ``telemetry.content`` is on."""
ANSWER_BODY: Final = "penstock.answer.body"
STAGE_EVENT: Final = "penstock.stage."
"""And the stage's name: the exchange has come past it."""
FIRST_BYTE_EVENT: Final = "penstock.first_byte"

_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TO_FIRST_S: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
_TOKENS: Final = tuple(4.0**power for power in range(14))


class Instrument(NamedTuple):
    """A histogram. ``bounds``: those that the conventions want."""

    name: str
    text: str
    unit: str
    attributes: tuple[str, ...]
    bounds: tuple[float, ...]


CALL_DURATION: Final = Instrument(
    "gen_ai.client.operation.duration",
    "What a call to a provider took.",
    "s",
    (OPERATION, PROVIDER, REQUEST_MODEL, ERROR_TYPE),
    _SECONDS,
)
CALL_TOKENS: Final = Instrument(
    "gen_ai.client.token.usage",
    "Tokens that a provider billed for a call.",
    "{token}",
    (OPERATION, PROVIDER, REQUEST_MODEL, TOKEN_TYPE),
    _TOKENS,
)
REQUEST_DURATION: Final = Instrument(
    "gen_ai.server.request.duration",
    "What a request took here, arrival to last byte.",
    "s",
    (OPERATION, PROVIDER, REQUEST_MODEL, CACHE, ERROR_TYPE),
    _SECONDS,
)
FIRST_TOKEN: Final = Instrument(
    "gen_ai.server.time_to_first_token",
    "Arrival of a request to the first data of its stream.",
    "s",
    (OPERATION, PROVIDER, REQUEST_MODEL),
    _TO_FIRST_S,
)
INSTRUMENTS: Final = (CALL_DURATION, CALL_TOKENS, REQUEST_DURATION, FIRST_TOKEN)

OPERATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "chat": "chat",
        "messages": "chat",
        "completions": "text_completion",
        "embeddings": "embeddings",
    }
)
"""Our dialects, in the conventions' words; one that they have none for keeps its own."""

PROVIDERS: Final[Mapping[str, str]] = MappingProxyType({"moonshot": "moonshot_ai"})
"""The same of kinds of providers; most are named alike."""


def operation_name(dialect: str) -> str:
    """What a request of that dialect does."""
    return OPERATIONS.get(dialect, dialect)


def provider_name(kind: str) -> str:
    """Who serves, by the kind of provider."""
    return PROVIDERS.get(kind, kind)
