"""``GET /v1/models``: the names a key may use, in the shape of OpenAI or Anthropic."""

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.config.settings import ModelSettings
from penstock.errors import UnknownModel
from penstock.pipeline.admit import usable
from penstock.pipeline.exchange import Principal


def list_models(models: Mapping[str, ModelSettings], principal: Principal, name: str, *, anthropic: bool) -> bytes:
    """The list, or the one called ``name``. Raises UnknownModel."""
    names = usable(models, principal)
    shape = _anthropic if anthropic else _openai
    if name:
        if name not in names:
            raise UnknownModel(f"unknown model {name[:200]!r}: use one of {', '.join(names)}", param="model")
        return msgspec.json.encode(shape(models[name]))
    data = [shape(models[each]) for each in names]
    if anthropic:
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return msgspec.json.encode({"data": data, "has_more": False, **ends})
    return msgspec.json.encode({"object": "list", "data": data})


def _openai(model: ModelSettings) -> dict[str, Any]:
    owner = model.deployments[0].provider.name if model.deployments else "penstock"
    return {"id": model.name, "object": "model", "created": 0, "owned_by": owner}


def _anthropic(model: ModelSettings) -> dict[str, Any]:
    return {"type": "model", "id": model.name, "display_name": model.name, "created_at": "1970-01-01T00:00:00Z"}
