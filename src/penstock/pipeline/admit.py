"""admit: cheap checks before dear ones. Reads the body, checks its schema, finds the model, asks whether it is allowed.

Where the payer's budgets are nearly used up it takes the steps of the ladder that change the request.

On the way out it hides the usage chunk that Penstock asked for and the client did not.
"""

from collections.abc import Mapping

from penstock.config.settings import ModelSettings
from penstock.errors import ModelForbidden, UnknownModel
from penstock.pipeline.exchange import Exchange, Principal, Reply
from penstock.pipeline.stream import STREAMABLE
from penstock.pipeline.treasury import Treasury
from penstock.wire.answers import is_usage_only
from penstock.wire.requests import end_user, read_request, rewrite, wants_stream, wants_usage
from penstock.wire.sse import Event


class Admit:
    """Turns bytes into a request for a model that its principal may use."""

    def __init__(self, models: Mapping[str, ModelSettings], treasury: Treasury) -> None:
        """``models``: by public name, aliases included."""
        self._models = models
        self._treasury = treasury

    async def enter(self, exchange: Exchange) -> Reply | None:
        """Raises BodyTooLarge, BadRequest, UnknownModel, ModelForbidden."""
        dialect = exchange.asked.dialect
        exchange.raw = await exchange.read_body()
        exchange.fields = fields = read_request(dialect, exchange.raw)
        exchange.requested = exchange.model = model = self._allowed(fields["model"], exchange.principal)
        exchange.user = end_user(dialect, fields)
        exchange.wants_stream = dialect in STREAMABLE and wants_stream(fields)
        exchange.wants_usage = wants_usage(fields)
        if self._treasury.has_ladder:
            model = self._step_down(exchange, model)
        if model.fields:
            self._apply_alias(exchange)
        return None

    def tap(self, exchange: Exchange, event: Event) -> Event | None:
        """Drop a chunk that carries nothing but usage nobody asked for."""
        if exchange.wants_usage or event.whole or b'"usage"' not in event.raw:
            return event
        return None if is_usage_only(exchange.asked.dialect, event.json) else event

    def _allowed(self, name: str, principal: Principal) -> ModelSettings:
        model = self._models.get(name)
        if model is None:
            raise UnknownModel(f"unknown model {name[:200]!r}: use one of {self._names(principal)}", param="model")
        if principal.models and name not in principal.models:
            raise ModelForbidden(
                f"this key may not use model {name!r}: it may use {self._names(principal)}", param="model"
            )
        return model

    def _step_down(self, exchange: Exchange, model: ModelSettings) -> ModelSettings:
        """Take the rungs of the ladder that change the request; the model that serves it."""
        exchange.steps = steps = self._treasury.steps(exchange.payer)
        if "thinking_off" in steps:
            exchange.degraded += ("thinking_off",)
        if "cheaper" in steps and model.cheaper:
            exchange.degraded += ("cheaper",)
            exchange.model = self._models[model.cheaper]
        return exchange.model

    def _names(self, principal: Principal) -> str:
        return ", ".join(usable(self._models, principal)) or "no model at all"

    def _apply_alias(self, exchange: Exchange) -> None:
        """What the client set itself stays."""
        extra = {name: value for name, value in exchange.model.fields.items() if name not in exchange.fields}
        exchange.fields = {**exchange.fields, **extra}
        exchange.raw = rewrite(exchange.raw, extra)


def usable(models: Mapping[str, ModelSettings], principal: Principal) -> list[str]:
    """The model names that a principal may use, in the order of the config."""
    return [name for name in models if not principal.models or name in principal.models]
