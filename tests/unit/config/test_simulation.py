"""``providers.NAME.simulate``: how a simulated provider does."""

from pathlib import Path

import pytest

from penstock.config.load import load
from penstock.config.settings import ProviderSettings, SimulationSettings
from penstock.errors import ConfigError
from penstock.providers.registry import KINDS


def loaded(text: str, directory: Path) -> ProviderSettings:
    """The provider ``p`` of a file."""
    path = directory / "penstock.yaml"
    path.write_text(f"providers: {{p: {text}}}\nmodels: {{m: {{deployments: [{{provider: p}}]}}}}", "utf-8")
    return load(path, {}, registry=KINDS).providers["p"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{kind: sim}", None),
        ("{kind: sim, simulate: {}}", SimulationSettings()),
        ("{kind: sim, simulate: {failing: 1}}", SimulationSettings(failing=1.0)),
        ("{kind: sim, simulate: {speed: 0.05, busy: 0, failing: 0.5}}", SimulationSettings(0.05, 0.0, 0.5)),
    ],
)
def test_it_does_as_the_file_says(text: str, wanted: SimulationSettings | None, tmp_path: Path) -> None:
    """Each by itself; what is absent is as it is without."""
    assert loaded(text, tmp_path).simulation == wanted


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("{kind: vllm, simulate: {failing: 1}}", "providers.p.simulate: is for `kind: sim`; remove it"),
        ("{kind: sim, simulate: {failing: 2}}", "providers.p.simulate.failing"),
        ("{kind: sim, simulate: {busy: -1}}", "providers.p.simulate.busy"),
        ("{kind: sim, simulate: {speed: 0}}", "providers.p.simulate.speed"),
        ("{kind: sim, simulate: {slow: 1}}", "providers.p.simulate.slow"),
    ],
)
def test_what_it_may_not_say(text: str, mistake: str, tmp_path: Path) -> None:
    """A provider that is none, shares beyond all of it, a speed of nothing, a name that there is not."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, tmp_path)
    assert mistake in "\n".join(caught.value.mistakes)
