"""From what the file says to what it means: providers, keys and models it leaves to the environment and the rows."""

from collections.abc import Mapping
from typing import Any, Final

from penstock.config.document import Document
from penstock.config.endpoints import default_models
from penstock.config.environment import Environment
from penstock.config.kinds import Kind
from penstock.config.schema import DeploymentSection, File, ModelSection, ProviderSection

SIMULATED: Final = "sim"
"""The kind that serves when no provider is configured."""


def complete(file: File, document: Document, environment: Environment, kinds: Mapping[str, Kind]) -> File:
    """The file with nothing left out. Without a file, every kind whose key is set is a provider."""
    providers = {name: environment.provider(section, kinds) for name, section in file.providers.items()}
    if not providers and not document.lines:
        providers = environment.providers(kinds)
    if not providers and not document.damaged(("providers",)):
        providers = {SIMULATED: ProviderSection.model_construct(kind=SIMULATED)}
    models = file.models
    if not models and not document.damaged(("models",)):
        models = _default_models(providers, kinds)
    found = {"server": environment.server(file.server), "providers": providers, "models": models}
    return file.model_copy(update=found)


def _default_models(providers: Mapping[str, ProviderSection], kinds: Mapping[str, Kind]) -> dict[str, ModelSection]:
    """The default models of the providers' kinds; providers of one kind share its models.

    They fetch whole answers as streams: nobody who starts without a file should see a long answer time out.
    """
    served: dict[str, list[DeploymentSection]] = {}
    aliases: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name, section in providers.items():
        if kind := kinds.get(section.kind):
            for model in default_models(section, kind):
                served.setdefault(model, []).append(DeploymentSection.model_construct(provider=name))
            aliases |= {alias: (each.model, each.fields) for alias, each in kind.default_aliases.items()}
    return {
        model: ModelSection.model_construct(
            deployments=tuple(deployments),
            stream_upstream=True,
            aliases={alias: dict(sets) for alias, (of, sets) in aliases.items() if of == model and alias not in served},
        )
        for model, deployments in served.items()
    }
