"""``penstock check``."""

from pathlib import Path

import pytest

from penstock.cli.check import deployment_rows, summary, unpriced
from penstock.cli.main import run
from penstock.config.load import load
from penstock.config.prices import load_book
from penstock.config.settings import Settings
from penstock.providers.registry import KINDS

NOW = 1_795_000_000.0
FILE = """
providers:
  deepseek: {kind: deepseek, api_key: canary-1}
  own: {kind: vllm, prices: {input: 1, cached_input: 1, output: 1}}
  other: {kind: vllm}
models:
  deepseek-flash:
    deployments: [{provider: deepseek}, {provider: own, model: q, weight: 2}, {provider: other, model: q}]
    aliases: {deepseek-chat: {}, old: {}}
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of FILE, which is ``penstock.yaml`` where the test runs."""
    monkeypatch.chdir(tmp_path)
    Path("penstock.yaml").write_text(FILE, "utf-8")
    return load(Path("penstock.yaml"), {}, registry=KINDS)


def test_a_right_config_is_summed_up(settings: Settings) -> None:
    """How much there is of what."""
    assert summary(settings) == "penstock.yaml: 3 providers, 1 model, 2 aliases"


def test_each_deployment_says_how_it_is_priced(settings: Settings) -> None:
    """By the price book, by the config, or not at all."""
    rows = deployment_rows(settings, load_book(), NOW)
    assert [(row["deployment"], row["weight"], row["price"]) for row in rows] == [
        ("deepseek/deepseek-flash", 1, "price book deepseek, in CNY"),
        ("own/q", 2, "from the config, in CNY"),
        ("other/q", 1, "not priced"),
    ]
    assert rows[0]["aliases"] == "deepseek-chat, old"


def test_a_name_that_is_not_sold_has_no_price(tmp_path: Path) -> None:
    """One that never was, one that is no more, one in another currency: each with what the price book does know."""
    path = tmp_path / "penstock.yaml"
    path.write_text(
        "providers:\n"
        "  p: {kind: deepseek, api_key: k}\n"
        "  usd: {kind: deepseek, api_key: k, currency: EUR}\n"
        "fx: {EUR: 8}\n"
        "models:\n"
        "  never: {deployments: [{provider: p}]}\n"
        "  deepseek-coder: {deployments: [{provider: p}]}\n"
        "  deepseek-flash: {deployments: [{provider: usd}]}\n"
    )
    settings, book = load(path, {}, registry=KINDS), load_book()
    assert {row["price"] for row in deployment_rows(settings, book, NOW)} == {"not priced"}
    never, coder, euros = unpriced(settings, book, NOW)
    assert never.startswith("p/never is not priced: the book deepseek knows deepseek-flash")
    assert coder.startswith("p/deepseek-coder is not priced: it has prices from ")
    assert euros.startswith("usd/deepseek-flash is not priced: it has prices in CNY, USD")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("arguments", [[], ["-c", "penstock.yaml"], ["--config", "penstock.yaml"]])
def test_a_right_config_is_ok(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and no secret on the screen."""
    assert run(["check", *arguments]) == 0
    streams = capsys.readouterr()
    assert streams.out.startswith("OK: penstock.yaml: 3 providers")
    assert "canary" not in streams.out + streams.err


def test_without_a_file_it_says_that_answers_are_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that nobody takes them for real."""
    monkeypatch.chdir(tmp_path)
    assert run(["check"]) == 0
    assert "answers are simulated" in capsys.readouterr().out


def test_a_wrong_config_is_every_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, exit code 2."""
    path = tmp_path / "bad.yaml"
    path.write_text("stor: memory\nretry: {attempts: 0}\n", "utf-8")
    assert run(["check", "-c", str(path)]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.splitlines() == [
        f"{path}:1: stor: is no setting; did you mean store?",
        f"{path}:2: retry.attempts: '0' is too small; 1 is the least",
    ]
