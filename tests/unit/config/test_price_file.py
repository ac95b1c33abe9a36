"""A price file is read exactly, or every mistake in it is named with its line and what to do."""

from datetime import date
from math import inf
from textwrap import dedent

import pytest

from penstock.config.price_file import read_price_file
from penstock.core.pricebook import Alias, PricedModel
from penstock.errors import ConfigError
from tests.support.instants import epoch

CALENDARS = {"CN": {2026: frozenset({date(2026, 10, 1)})}}

GOOD = """\
provider: maker
schedules:
  office: {timezone: Asia/Shanghai, peak: ["09:00-12:00"], weekdays: [mon, fri], holidays: CN}
models:
  new:
    aliases:
      - {name: old, from: 2026-03-01T00:00Z, until: 2026-04-01T00:00Z, source: page, date: 2026-03-02}
    prices:
      - currency: CNY
        from: 2026-02-01T00:00Z
        schedule: office
        peak: {input: 0.3, cached_input: 0.000000001, cache_write: 0.4, output: 1}
        off_peak: [{up_to: 32000, input: 0.1, output: 0.5}, {input: 0.2, output: 0.6}]
        source: https://maker.example/pricing
        date: 2026-02-02
        note: by hand
      - currency: CNY
        from: 2026-01-01T00:00Z
        rates: {input: "0.70", output: 7e-1}
        source: page
        date: 2026-01-01
"""


def read(text: str) -> list[PricedModel]:
    """The file called maker.yaml."""
    return read_price_file("maker", "prices/maker.yaml", dedent(text).encode(), CALENDARS)


def mistakes(text: str) -> list[str]:
    """What is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value.mistakes


def changed(old: str, new: str) -> str:
    """The good file with one thing changed."""
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_file_becomes_dated_entries() -> None:
    """Entries are sorted, and each ends where the next begins."""
    (model,) = read(GOOD)
    first, second = model.entries["CNY"]
    assert (model.book, model.name) == ("maker", "new")
    assert (first.since, first.until) == (epoch("2026-01-01T00:00Z"), epoch("2026-02-01T00:00Z"))
    assert (second.since, second.until) == (epoch("2026-02-01T00:00Z"), inf)
    assert (second.source, second.date, second.note) == ("https://maker.example/pricing", "2026-02-02", "by hand")
    assert model.aliases == (Alias("old", epoch("2026-03-01T00:00Z"), epoch("2026-04-01T00:00Z")),)


def test_prices_are_exact_and_never_floats() -> None:
    """0.3 is 300,000,000 nano-units; the notation does not matter."""
    (model,) = read(GOOD)
    first, second = model.entries["CNY"]
    assert first.peak[0].rates[:4] == (700_000_000, 700_000_000, 700_000_000, 700_000_000)
    assert second.peak[0].rates[:4] == (300_000_000, 1, 400_000_000, 1_000_000_000)


def test_a_bucket_without_a_price_costs_what_a_miss_costs() -> None:
    """Nothing is free because nobody wrote it down."""
    (model,) = read(GOOD)
    cheap, dear = model.entries["CNY"][1].off_peak
    assert (cheap.up_to, cheap.rates[:4]) == (32_000, (100_000_000, 100_000_000, 100_000_000, 500_000_000))
    assert (dear.up_to, dear.rates[:4]) == (inf, (200_000_000, 200_000_000, 200_000_000, 600_000_000))


def test_rates_say_where_they_come_from() -> None:
    """File, model, effective-from, tariff and tier."""
    (model,) = read(GOOD)
    first, second = model.entries["CNY"]
    assert first.peak[0].rates.source == "maker/new from 2026-01-01T00:00Z"
    assert second.peak[0].rates.source == "maker/new from 2026-02-01T00:00Z peak"
    assert second.off_peak[0].rates.source == "maker/new from 2026-02-01T00:00Z off-peak up to 32000 tokens"


@pytest.mark.parametrize(
    ("old", "new", "line", "mistake"),
    [
        ("provider: maker", "provider: other", 1, "provider: must be maker, as the file is called"),
        ("provider: maker", "vendor: maker", 1, "vendor: is unknown here"),
        ("Asia/Shanghai", "Asia/Peking", 3, "schedules.office.timezone: is no time zone"),
        ("09:00-12:00", "9-12", 3, "schedules.office.peak[0]: is no window; write one like 09:00-12:00"),
        ("09:00-12:00", "09:00-24:01", 3, "schedules.office.peak[0]: leaves the day"),
        ("09:00-12:00", "09:00-09:00", 3, "schedules.office.peak[0]: is an empty window"),
        ("[mon, fri]", "[mon, funday]", 3, "schedules.office.weekdays[1]: cannot be read"),
        ("holidays: CN", "holidays: DE", 3, "schedules.office.holidays: is no calendar; there is CN"),
        ('peak: ["09:00-12:00"], ', "", 3, "schedules.office: needs windows: either `peak` or `off_peak`"),
        ("name: old, ", "", 7, "models.new.aliases[0].name: is missing"),
        ("until: 2026-04-01T00:00Z", "until: 2026-02-01T00:00Z", 7, "models.new.aliases[0]: ends before it begins"),
        ("- currency: CNY\n        from: 2026-02", "- from: 2026-02", 9, "models.new.prices[0].currency: is missing"),
        ("currency: CNY\n        from: 2026-02", "currency: yuan\n        from: 2026-02", 9, "is no currency"),
        ("from: 2026-02-01T00:00Z", "from: 2026-02-01T00:00", 10, "models.new.prices[0].from: lacks its time zone"),
        ("from: 2026-02-01T00:00Z", "from: in spring", 10, "models.new.prices[0].from: is no point in time"),
        ("from: 2026-02-01T00:00Z", "from: 2026-01-01T00:00Z", 17, "overlaps the entry on line 9"),
        ("schedule: office", "schedule: home", 11, "models.new.prices[0].schedule: is not under `schedules`"),
        ("schedule: office\n", "note: x\n", 9, "models.new.prices[0]: needs either `rates`, or all of `peak`"),
        ("input: 0.3,", "input: 0.0000000003,", 12, "peak[0].input: 3E-10 has more than 9 decimals"),
        ("input: 0.3,", "input: cheap,", 12, "models.new.prices[0].peak[0].input: 'cheap' is not a number"),
        ("input: 0.3,", "input: -1,", 12, "models.new.prices[0].peak[0].input: -1 is below zero"),
        ("input: 0.3,", "input: [0.3],", 12, "models.new.prices[0].peak[0].input: must be one plain value"),
        ("input: 0.3,", "inputs: 0.3,", 12, "models.new.prices[0].peak[0].inputs: is unknown here"),
        (", output: 1}", "}", 12, "models.new.prices[0].peak[0].output: is missing"),
        ("up_to: 32000, ", "", 13, "models.new.prices[0].off_peak: has tiers out of order"),
        ("input: 0.2, output: 0.6", "up_to: 9, input: 0.2, output: 0.6", 13, "tiers out of order; sort them by up_to"),
        ("0.5}, {input", "0.5}, {up_to: 32000, input: 1, output: 1}, {input", 13, "has tiers out of order"),
        ("up_to: 32000", "up_to: 32k", 13, "models.new.prices[0].off_peak[0].up_to: is no number of tokens"),
        ("source: https://maker.example/pricing\n", "note: x\n", 9, "models.new.prices[0].source: is missing"),
        ("date: 2026-02-02", "date: yesterday", 15, "models.new.prices[0].date: is no date; write one like 2026-09-10"),
        ("        date: 2026-01-01\n", "", 17, "models.new.prices[1].date: is missing"),
        ("models:", "models: [", 6, "this is not valid YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(old: str, new: str, line: int, mistake: str) -> None:
    """Unknown keys, missing sources and dates, bad zones and decimals, overlaps, tiers out of order."""
    found = mistakes(changed(old, new))
    assert any(each.startswith(f"prices/maker.yaml:{line}: ") and mistake in each for each in found), found


def test_every_mistake_is_named_at_once() -> None:
    """One in a schedule, one in an entry, one in an alias."""
    text = changed("Asia/Shanghai", "Nowhere").replace("name: old, ", "").replace("date: 2026-02-02", "date: x")
    assert len(mistakes(text)) == 3


def test_an_entry_may_end_before_the_next_and_not_after_it() -> None:
    """An early end is a gap, which `check` reports; a late one is an overlap, which is a mistake."""
    early = changed("from: 2026-01-01T00:00Z", "from: 2026-01-01T00:00Z\n        until: 2026-01-15T00:00Z")
    assert read(early)[0].entries["CNY"][0].until == epoch("2026-01-15T00:00Z")
    exact = early.replace("until: 2026-01-15", "until: 2026-02-01")
    assert read(exact)[0].entries["CNY"][0].until == epoch("2026-02-01T00:00Z")
    late = early.replace("until: 2026-01-15", "until: 2026-02-15")
    assert "overlaps the entry on line 17" in mistakes(late)[0]
    for end in ("2025-01-15", "2026-01-01"):
        assert "ends before it begins" in mistakes(early.replace("until: 2026-01-15", f"until: {end}"))[0]


def test_no_name_stands_for_two_models_at_once() -> None:
    """An alias may follow on a model of that name, and not run beside it."""
    entry = (
        "{currency: CNY, from: 2025-01-01T00:00Z, until: %s, rates: {input: 1, output: 1}, source: s, date: 2025-01-01}"
    )
    beside = GOOD + "  old:\n    prices:\n      - " + entry % "2026-03-02T00:00Z"
    assert mistakes(beside) == [
        "prices/maker.yaml:24: models.old.prices[0]: old stands for new then (line 7); end one"
    ]  # fmt: skip
    before = GOOD + "  old:\n    prices:\n      - " + entry % "2026-03-01T00:00Z"
    assert [model.name for model in read(before)] == ["new", "old"]
