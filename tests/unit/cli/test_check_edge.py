"""``penstock check`` at an edge: what it says of a centre."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli.main import cli

CENTRE = "providers: {centre: {kind: penstock, base_url: 'https://centre.example/v1', api_key: psk-secret}}\n"


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("", "1 provider, 0 models, 0 aliases; more as centres offer"),
        ("models: {m: {deployments: [{provider: centre}]}}", "charged at the centre"),
    ],
)
def test_a_centre_is_no_mistake_and_needs_no_price(tmp_path: Path, models: str, said: str) -> None:
    """Nothing is called unpriced, and the key is not shown."""
    path = tmp_path / "penstock.yaml"
    path.write_text(CENTRE + models, "utf-8")
    done = CliRunner().invoke(cli, ["check", "-c", str(path)])
    assert done.exit_code == 0, done.output
    assert said in done.output
    assert "warning" not in done.output
    assert "secret" not in done.output
