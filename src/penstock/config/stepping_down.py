"""Whether a model's ``cheaper`` one can take its requests."""

from collections.abc import Iterator

from penstock.config.checked import Checked
from penstock.config.endpoints import base_urls
from penstock.config.fields import nearest
from penstock.config.schema import ModelSection


def check_cheaper(subject: Checked, name: str, model: ModelSection) -> None:
    """Note what is wrong with one model's ``cheaper``: unknown, going in circles, or deaf to what clients speak."""
    if model.cheaper is None:
        return
    path = ("models", name, "cheaper")
    known = subject.served_names()
    if model.cheaper not in known:
        if subject.names_all_models():
            what = f"names no model; there is {', '.join(known)}{nearest(model.cheaper, known)}"
            subject.wrong(path, what)
        return
    steps = list(_steps(subject, name))
    if name in steps:
        circle = " > ".join((name, *steps[: steps.index(name) + 1]))
        subject.wrong(path, f"leads back to {name}, by {circle}; remove one of these steps")
    elif missing := _missing(subject, name, _owner(subject, model.cheaper)):
        what = f"does not speak {', '.join(sorted(missing))}, which {name} does; name a model that does"
        subject.wrong(path, what)


def _steps(subject: Checked, name: str) -> Iterator[str]:
    """The models that requests of this one step down to, until one is met again."""
    seen: set[str] = set()
    while (model := subject.file.models.get(name)) and model.cheaper:
        name = _owner(subject, model.cheaper)
        yield name
        if name in seen:
            return
        seen.add(name)


def _owner(subject: Checked, name: str) -> str:
    """The model of that name, or whose alias it is."""
    models = subject.file.models
    return name if name in models else next((each for each in models if name in models[each].aliases), name)


def _missing(subject: Checked, name: str, cheaper: str) -> set[str]:
    """The dialects that a model speaks and its cheaper one does not; none where a mistake hides what they are."""
    spoken, understood = _dialects(subject, name), _dialects(subject, cheaper)
    return set() if spoken is None or understood is None else spoken - understood


def _dialects(subject: Checked, name: str) -> set[str] | None:
    """What a model's deployments speak; None = not known."""
    model, file = subject.file.models.get(name), subject.file
    if model is None or not subject.intact("models", name, "deployments"):
        return None
    found: set[str] = set()
    for deployment in model.deployments:
        section = file.providers.get(deployment.provider)
        kind = subject.kinds.get(section.kind) if section else None
        if section is None or kind is None or not subject.intact("providers", deployment.provider):
            return None
        found |= set(base_urls(section, kind))
    return found
