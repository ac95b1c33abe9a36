"""The rules of the house hold in every source file, and each rule can fail."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.support.source_rules import (
    Module,
    Rule,
    clock_reads,
    environment_reads,
    foreign_imports,
    global_statements,
    impure_code,
    inner_imports,
    modules,
    work_at_import,
)

PURE = ("penstock.core", "penstock.wire")


@dataclass(frozen=True)
class Case:
    """A rule, where it holds, and code that breaks and keeps it."""

    rule: Rule
    bad: tuple[str, ...]
    good: str
    rooms: tuple[str, ...] = ("penstock",)
    exempt: tuple[str, ...] = ()


CASES = (
    Case(
        foreign_imports,
        bad=("import os", "import json", "from pathlib import Path", "import asyncio.events", "import random"),
        good="import msgspec\nfrom collections.abc import Mapping\nfrom penstock.errors import PriceError",
        rooms=PURE,
    ),
    Case(
        impure_code,
        bad=("async def f(): ...", "def f():\n    print(1)", "x = open('y')", "def f(): return input()"),
        good="def f(cell):\n    return cell.open()",
        rooms=PURE,
    ),
    Case(
        inner_imports,
        bad=(
            "def f():\n    import json",
            "async def f():\n    from os import path",
            "class A:\n    def f(self): import re",
        ),
        good="import json\n\ndef f():\n    return json",
    ),
    Case(global_statements, bad=("def f():\n    global x\n    x = 1",), good="def f():\n    x = 1"),
    Case(
        work_at_import,
        bad=(
            "connect()",
            "x = open('y')",
            "for i in (1, 2): pass",
            "with a: pass",
            "try:\n    import b\nexcept ImportError: pass",
            "x = Path('y').read_text()",
            "class A:\n    x = load()",
            "x = {'a': [load(1)]}",
            "x = Thread(target=f)",
            "x = Row(field=load())",
            "def f(): return load()\nx = f()",
            "def f(): return g()\ndef g(): return open('y')\nx = f()",
            "def f(): return f()\nx = f()",
        ),
        good=(
            '"""Doc."""\nimport re\nX: Final = re.compile("x")\nY = {n: Row(n) for n in ("a", "b")}\n'
            "Z = lambda: load()\n@click.command()\ndef f(): connect()\n"
            "def g(x):\n    def h(): return load()\n    return Row(h)\nW = g(1)\n"
            "class A:\n    x: int = field(default=1)\n"
            'if __name__ == "__main__":\n    f()'
        ),
    ),
    Case(
        environment_reads,
        bad=("import os\nx = os.environ['A']", "from os import getenv", "import os\ndef f(): return os.getenv('A')"),
        good="import os\n\ndef f(settings):\n    return settings.environ, os.getpid()",
        exempt=("penstock.config.load",),
    ),
    Case(
        clock_reads,
        bad=(
            "import time",
            "from random import choice",
            "import datetime\nx = datetime.datetime.now()",
            "from datetime import date\ndef f(): return date.today()",
            "async def f(): await asyncio.sleep(1)",
            "async def f():\n    async with asyncio.timeout(1): pass",
            "import os\nx = os.urandom(8)",
        ),
        good="from datetime import datetime\nasync def f(clock):\n    await asyncio.sleep(0)\n    return clock.now()",
        exempt=("penstock.clock",),
    ),
)

EACH_RULE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule.__name__)


@pytest.fixture(scope="module")
def source() -> Sequence[Module]:
    """All of it, parsed once."""
    return modules()


@EACH_RULE
def test_the_source_keeps_the_rule(case: Case, source: Sequence[Module]) -> None:
    """No module breaks the rule, but those named as exempt."""
    subject = [each for each in source if each.inside(*case.rooms) and not each.inside(*case.exempt)]
    assert subject
    assert [f"{each.name}:{line}: {what}" for each in subject for line, what in case.rule(each)] == []


@pytest.mark.parametrize(
    ("rule", "bad"),
    [pytest.param(case.rule, bad, id=f"{case.rule.__name__}: {bad}") for case in CASES for bad in case.bad],
)
def test_the_rule_sees_a_breach(rule: Rule, bad: str) -> None:
    """Code that breaks the rule is reported, with its line."""
    breaches = list(rule(Module.parse(bad)))
    assert breaches
    assert all(line >= 1 and what for line, what in breaches)


@EACH_RULE
def test_the_rule_lets_good_code_pass(case: Case) -> None:
    """Code that keeps the rule is not reported."""
    assert list(case.rule(Module.parse(case.good))) == []
