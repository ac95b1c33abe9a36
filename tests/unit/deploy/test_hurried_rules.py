"""tests/support/hurried_rules.py: what a run in a hurry goes by are the committed rules, and all of them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.hurried_rules import SHORTER, hurried, hurried_expr, seconds, write_hurried
from tests.support.panels import rules
from tests.support.prometheus_server import PLACE

PROMTOOL: Final = shutil.which("promtool")
PATIENCE_S: Final = 60
FILES: Final = sorted((PLACE / "rules").glob("*.yaml"))


def read(path: Path) -> Any:
    """A rule file."""
    return yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)


def all_rules(document: Any) -> Iterator[Any]:
    """Of all its groups."""
    for group in document["groups"]:
        yield from group["rules"]


@pytest.mark.parametrize(
    ("expr", "wanted"),
    [
        ("rate(x[5m]) * 300 >= 5", "rate(x[6s]) * 6 >= 5"),
        ("sum_over_time(x:rate5m[3d:15m]) * 900 >= 10", "sum_over_time(x:rate5m[44s:6s]) * 6 >= 10"),
        ("x:per_hour offset 7d > 14.4 * 0.005", "x:per_hour offset 48s > 14.4 * 0.005"),
        ("x > 0 unless x offset 15m and on (job) up", "x > 0 unless x offset 6s and on (job) up"),
        ("max(penstock_price_age_seconds) > 60 * 86400", "max(penstock_price_age_seconds) > 60 * 86400"),
        ("x > 300 or y[2m]", "x > 300 or y[1s]"),
    ],
)
def test_times_are_made_shorter_and_nothing_else(expr: str, wanted: str) -> None:
    """Ranges, offsets, and the seconds by which a rate is made a count; names and thresholds stay."""
    assert hurried_expr(expr) == wanted


def test_a_time_that_nobody_thought_of_is_no_rule() -> None:
    """Rather than that one of them is waited for in full."""
    for expr in ("rate(x[7m])", "x offset 30d", "max_over_time(x[1h:3m])"):
        with pytest.raises(KeyError):
            hurried_expr(expr)
    with pytest.raises(KeyError):
        hurried({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "x", "for": "3m"}]}]})


def test_longer_stays_longer() -> None:
    """What compares an hour with a day goes on to do so; six hours are found in a day; a range sees several scrapes."""
    in_order = sorted(SHORTER, key=seconds)
    assert all(seconds(SHORTER[one]) <= seconds(SHORTER[other]) for one, other in pairwise(in_order))
    assert all(seconds(SHORTER[each]) < seconds(each) for each in SHORTER)
    assert seconds(SHORTER["1d"]) >= 6 * seconds(SHORTER["1h"])
    ranges = {time for rule in rules() for time in re.findall(r"[\[:](\d+[mhd])\b", rule["expr"])}
    assert min(seconds(SHORTER[each]) for each in ranges) >= 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_with_the_times_as_they_are_the_rules_are_as_they_are(path: Path) -> None:
    """So all else is kept: names, labels, annotations, groups, order. In a hurry only times differ."""
    assert hurried(read(path), {each: each for each in SHORTER}) == read(path)
    slow, quick = (list(all_rules(each)) for each in (read(path), hurried(read(path))))
    assert [{**rule, "expr": "", "for": ""} for rule in slow] == [{**rule, "expr": "", "for": ""} for rule in quick]
    assert [rule["for"] for rule in quick if "for" in rule] == [SHORTER[rule["for"]] for rule in slow if "for" in rule]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt install prometheus)")
def test_promtool_takes_them(tmp_path: Path) -> None:
    """Every file, under its own name."""
    write_hurried(tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [path.name for path in FILES]
    command = [str(PROMTOOL), "check", "rules", "--lint-fatal", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
