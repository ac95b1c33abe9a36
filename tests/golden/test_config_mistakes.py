"""Bad config files, and what Penstock says about each: the cases stand in ``config_mistakes.md``."""

import re
from pathlib import Path

import pytest

from tests.support.configs import mistakes

_CASE = re.compile(r"^## (.+)\n\n```yaml\n([\s\S]*?\n)```\n\n((?:- .+\n)+)", re.MULTILINE)
_TEXT = Path(__file__).with_name("config_mistakes.md").read_text("utf-8")
CASES = {name: (text, re.findall("^- (.+)$", lines, re.MULTILINE)) for name, text, lines in _CASE.findall(_TEXT)}


def test_no_case_is_overlooked() -> None:
    """Every heading of the page is a case, and there are as many as were promised."""
    assert len(CASES) == _TEXT.count("\n## ") >= 40


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_named_with_its_line_and_its_cure(name: str, tmp_path: Path) -> None:
    """Exactly the expected lines, in the order of the file: no mistake is missed, none is invented."""
    text, expected = CASES[name]
    assert mistakes(text, tmp_path) == expected
