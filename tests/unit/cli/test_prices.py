"""``penstock prices`` prints what holds at an instant, and what the book does not know."""

import csv
import io
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from penstock.cli.prices import prices


def run(*arguments: str) -> Result:
    """``penstock prices ...``."""
    return CliRunner().invoke(prices, arguments)


def test_show_prints_every_list_that_knows_the_model() -> None:
    """At peak, in both currencies, with the source and how long it holds."""
    result = run("show", "deepseek-v4-flash", "--at", "2026-11-20T10:00+08:00", "--format", "json")
    rows = msgspec.json.decode(result.stdout)["rows"]
    assert [(row["currency"], row["tariff"], row["billed_as"]) for row in rows] == [
        ("CNY", "peak", "deepseek-flash"),
        ("USD", "peak", "deepseek-flash"),
    ]
    assert [rows[0][bucket] for bucket in ("input", "cached_input", "output")] == ["2", "0.04", "8"]
    assert rows[0]["tariff_until"] == "2026-11-20T04:00Z"
    assert rows[0]["source"].startswith("https://api-docs.deepseek.com/")


def test_show_prints_every_tier() -> None:
    """One row per prompt length, the last without a bound."""
    result = run("show", "qwen3-max", "--at", "2026-11-20T00:00Z", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["prompt_up_to"], row["input"]) for row in rows] == [("32000", "2.5"), ("128000", "4"), ("", "7")]


def test_show_narrows_to_a_provider_and_a_currency() -> None:
    """The same model is sold in several places."""
    everywhere = run("show", "glm-5.3", "--at", "2026-11-20T00:00Z", "--format", "json")
    assert len(msgspec.json.decode(everywhere.stdout)["rows"]) == 2
    result = run("show", "glm-5.3", "--provider", "zhipu", "--currency", "USD", "--at", "2026-11-20T00:00Z")
    assert result.exit_code == 0
    assert "USD" in result.stdout
    assert "CNY" not in result.stdout


def test_show_without_a_time_means_now() -> None:
    """The table is for people: it names the instant."""
    result = run("show", "sim-chat")
    assert result.exit_code == 0
    assert result.stdout.startswith("Per million tokens at 20")


def test_show_says_which_list_has_no_price() -> None:
    """One list answers, the other is named on the error stream; with none left the exit code is 1."""
    result = run("show", "deepseek-chat", "--at", "2025-09-10T00:00Z")
    assert result.exit_code == 0
    assert "no price covers deepseek/deepseek-chat in CNY at 2025-09-10T00:00Z" in result.stderr
    alone = run("show", "deepseek-chat", "--at", "2025-09-10T00:00Z", "--currency", "CNY")
    assert (alone.exit_code, alone.stdout) == (1, "")
    assert "add a dated entry" in alone.stderr


def test_show_warns_when_the_calendar_ends() -> None:
    """New Year's Day 2027 is priced at peak, and the reader is told."""
    result = run("show", "deepseek-flash", "--at", "2027-01-01T10:00+08:00", "--currency", "CNY")
    assert " peak " in result.stdout
    assert "the public holidays of 2027 are unknown" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", "nothing"), 1, "no price list asked for knows nothing"),
        (("show", "sim-chat", "--at", "2026-01-01T00:00"), 2, "lacks its time zone"),
        (("show", "sim-chat", "--at", "noon"), 2, "is no point in time"),
        (("show", "sim-chat", "--format", "xml"), 2, "xml"),
    ],
)
def test_bad_usage_is_explained(arguments: tuple[str, ...], code: int, message: str) -> None:
    """Exit code 2 for usage, 1 for a model nobody prices."""
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.stderr


def test_check_lists_gaps_and_missing_calendars() -> None:
    """An era without a source, and next year's public holidays."""
    result = run("check", "--at", "2026-11-22T00:00Z", "--format", "json")
    rows = msgspec.json.decode(result.stdout)["rows"]
    assert result.exit_code == 0
    assert {
        "provider": "deepseek",
        "model": "deepseek-chat",
        "currency": "CNY",
        "from": "2025-09-05T16:00Z",
        "until": "2025-09-30T00:00Z",
        "finding": "no CNY price has a source; priced in USD only",
    } in rows
    assert [row["from"] for row in rows if "public holidays" in row["finding"]] == ["2027-01-01T00:00Z"]


@pytest.fixture(name="config")
def config_file(tmp_path: Path) -> Path:
    """A server of one's own, with a price, and a model that nobody prices."""
    path = tmp_path / "penstock.yaml"
    path.write_text(
        """
providers:
  own:
    kind: vllm
    base_url: http://127.0.0.1:8000/v1
    prices: {input: 0.2, cached_input: 0.05, output: 0.4, currency: CNY}
  official: {kind: deepseek, api_key: made-up}
models:
  small: {deployments: [{provider: own, model: qwen3-8b}]}
  strange: {deployments: [{provider: official, model: deepseek-unheard-of}]}
""",
        "utf-8",
    )
    return path


def test_show_knows_the_prices_of_the_config(config: Path) -> None:
    """Asked with -c, it names the config as the source."""
    result = run("show", "qwen3-8b", "-c", str(config), "--format", "json")
    (row,) = msgspec.json.decode(result.stdout)["rows"]
    assert [row[key] for key in ("provider", "tariff", "input", "cached_input", "cache_write", "output")] == [
        "own", "config", "0.2", "0.05", "0.2", "0.4",
    ]  # fmt: skip
    assert row["source"] == "config: providers.own.prices"
    assert run("show", "qwen3-8b", "-c", str(config), "--currency", "USD").exit_code == 1


def test_check_finds_the_configs_unpriced_deployments(config: Path) -> None:
    """The model that the book does not know, and not the one with a price of its own."""
    result = run("check", "-c", str(config), "--format", "json")
    unpriced = [row for row in msgspec.json.decode(result.stdout)["rows"] if "no price covers" in row["finding"]]
    assert [(row["provider"], row["model"]) for row in unpriced] == [("official", "deepseek-unheard-of")]
