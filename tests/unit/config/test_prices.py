"""The shipped price book is sound, and a directory of price files is read as a whole."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from penstock.config.price_file import read_price_file
from penstock.config.prices import chinese_holidays, load_book, price_directory
from penstock.core.coverage import gaps
from penstock.core.money import to_nano
from penstock.errors import ConfigError
from tests.support.instants import epoch

NOW = epoch("2026-11-22T12:00Z")


def test_every_entry_has_a_source_and_a_date_that_has_come() -> None:
    """A price without a source is no entry."""
    entries = [entry for model in load_book().all for own in model.entries.values() for entry in own]
    assert len(entries) > 60
    assert all(entry.source and entry.date <= "2026-11-22" and entry.since <= NOW for entry in entries)


def test_a_hit_never_costs_more_than_a_miss() -> None:
    """In no entry, tier or tariff: the commonest slip of the pen is to swap the two."""
    tiers = [
        tier
        for model in load_book().all
        for own in model.entries.values()
        for entry in own
        for tier in (*entry.peak, *entry.off_peak)
    ]
    assert all(tier.rates.input_hit <= tier.rates.input_miss <= tier.rates.cache_write for tier in tiers)


def test_off_peak_is_cheaper_in_every_bucket() -> None:
    """Peak and off-peak are not mixed up."""
    timed = [entry for model in load_book().all for own in model.entries.values() for entry in own if entry.schedule]
    pairs = [(peak.rates, off.rates) for entry in timed for peak, off in zip(entry.peak, entry.off_peak, strict=True)]
    assert pairs
    assert all(low < high for peak, off in pairs for low, high in zip(off[:4], peak[:4], strict=True))


def test_the_known_gaps_are_these() -> None:
    """What has no source is left out; a new gap is a slip, and a closed one belongs in this list no more."""
    found = {(gap.book, gap.model, gap.currency) for gap in gaps(load_book().all)}
    assert found == {
        ("deepseek", "deepseek-chat", "CNY"),
        ("deepseek", "deepseek-reasoner", "CNY"),
        ("zhipu", "glm-5.3", "CNY"),
    }


@pytest.mark.parametrize(
    ("owner", "model", "currency", "prompt", "rates"),
    [
        ("sim", "sim-chat", "CNY", 10**6, ("2", "0.5", "2", "8")),
        ("sim", "sim-embed", "CNY", 1, ("0.5", "0.5", "0.5", "0")),
        ("openai", "gpt-6-sol", "USD", 272_000, ("2", "0.2", "2.5", "10")),
        ("openai", "gpt-6-sol", "USD", 272_001, ("4", "0.4", "5", "15")),
        ("anthropic", "claude-haiku-5-5", "USD", 100_001, ("0.5", "0.05", "0.625", "2.5")),
        ("dashscope", "qwen3-max", "CNY", 32_000, ("2.5", "0.5", "3.125", "10")),
        ("dashscope", "qwen3-max", "CNY", 32_001, ("4", "0.8", "5", "16")),
        ("ark", "doubao-seed-2-0-pro-260215", "CNY", 128_001, ("9.6", "0.64", "9.6", "48")),
        ("zhipu", "glm-5.3", "CNY", 1, ("8", "2", "8", "28")),
        ("moonshot", "kimi-k3", "USD", 1, ("3", "0.3", "3", "15")),
        ("siliconflow", "zai-org/GLM-5.3", "USD", 1, ("1.4", "0.26", "1.4", "4.4")),
        ("openrouter", "~z-ai/glm-latest", "USD", 1, ("1.4", "0.26", "1.4", "4.4")),
    ],
)
def test_todays_prices_of_the_other_providers(
    owner: str, model: str, currency: str, prompt: int, rates: tuple[str, str, str, str]
) -> None:
    """Miss, hit, write, output; tiers by the length of the prompt."""
    found = load_book().rates(owner, model, currency, NOW, prompt)
    assert found[:4] == tuple(to_nano(Decimal(price)) for price in rates)


def test_the_calendar_knows_the_published_years() -> None:
    """Bridge days are in it, made-up workdays are not, and a year without a list is missing."""
    holidays = chinese_holidays()
    assert {day for day in holidays[2026] if day.weekday() < 5} == {
        date(2026, 1, 1), date(2026, 1, 2),
        *(date(2026, 2, day) for day in (16, 17, 18, 19, 20, 23)),
        date(2026, 4, 6), date(2026, 5, 1), date(2026, 5, 4), date(2026, 5, 5), date(2026, 6, 19), date(2026, 9, 25),
        *(date(2026, 10, day) for day in (1, 2, 5, 6, 7)),
    }  # fmt: skip
    assert date(2026, 10, 3) in holidays[2026]
    plain_saturday, made_workdays = date(2026, 11, 21), {date(2026, 1, 4), date(2026, 9, 20), date(2026, 10, 10)}
    assert not {plain_saturday, *made_workdays} & holidays[2026]
    assert 2024 in holidays
    assert 2100 not in holidays


def test_a_directory_is_read_as_a_whole(tmp_path: Path) -> None:
    """The mistakes of all files come at once, each with its file."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"provider: {name}\nmodels: {{}}\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_book(tmp_path)
    assert [mistake.split(":")[0] for mistake in caught.value.mistakes] == [
        f"{tmp_path.name}/one.yaml",
        f"{tmp_path.name}/two.yaml",
    ]


def test_a_directory_without_price_files_is_a_mistake(tmp_path: Path) -> None:
    """An installation that lost its prices does not serve unpriced."""
    with pytest.raises(ConfigError, match="holds no price file"):
        load_book(tmp_path)


def test_the_reference_shows_a_file_that_reads() -> None:
    """The example of docs/reference/prices.md is a price file."""
    reference = price_directory().parent / "docs" / "reference" / "prices.md"
    example = reference.read_text("utf-8").partition("```yaml\n")[2].partition("```")[0]
    (model,) = read_price_file("deepseek", "prices.md", example.encode(), {"CN": chinese_holidays()})
    assert model.name == "deepseek-flash"


def test_the_shipped_lists_are_found() -> None:
    """Beside the sources here, inside the package when installed."""
    assert (price_directory() / "deepseek.yaml").is_file()
