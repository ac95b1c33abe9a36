"""The locks, the dependencies and the lint ignores are what the project says they are."""

import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.support.source_rules import imports, modules

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "tests" / "e2e" / "node"

BROUGHT_ALONG = {"pydantic-core"}
"""A part of another dependency, with a name of its own."""
NEVER_IMPORTED = {"tzdata"}
"""Data that the standard library finds by itself."""


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[><=~! ]", each)[0] for each in requirements}


def _runtime() -> set[str]:
    project = _project()["project"]
    return _names([*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())])


def _development() -> set[str]:
    return {name for group in _project()["dependency-groups"].values() for name in _names(group)}


def _locked(file: str) -> dict[str, str]:
    """Each locked package and what follows its name up to the next package: version, marker, hashes."""
    text = (ROOT / "requirements" / file).read_text("utf-8")
    parts = re.split(r"^([a-z0-9-]+)(?===)", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("file", ["run.txt", "dev.txt"])
def test_a_lock_names_no_place(file: str) -> None:
    """No index, no link and no path of the machine that wrote it is in a lock."""
    text = (ROOT / "requirements" / file).read_text("utf-8")
    assert re.findall(r"://|^--(?!hash)|find-links|index|^-e|file:", text, flags=re.MULTILINE) == []


@pytest.mark.parametrize("file", ["run.txt", "dev.txt"])
def test_a_lock_has_a_hash_for_every_package(file: str) -> None:
    """Every package is pinned, and what is installed must match a hash."""
    assert [name for name, rest in _locked(file).items() if "--hash=sha256:" not in rest] == []


def test_the_locks_cover_what_is_declared() -> None:
    """``make lock`` was run after the last change of a dependency."""
    runtime = {name.lower() for name in _runtime()}
    assert runtime | {"hatchling"} <= _locked("run.txt").keys()
    assert runtime | {name.lower() for name in _development()} <= _locked("dev.txt").keys()


def test_the_locks_agree() -> None:
    """What is tested is what runs: a package in both locks has one version."""
    run, dev = _locked("run.txt"), _locked("dev.txt")
    assert {name: rest.split()[0] for name, rest in run.items()} == {name: dev[name].split()[0] for name in run}


def test_the_node_lock_names_no_place() -> None:
    """The Node packages are pinned by hash, whichever registry they come from."""
    packages = json.loads((NODE / "package-lock.json").read_text("utf-8"))["packages"]
    locked = {path: each for path, each in packages.items() if path}
    assert locked
    assert [path for path, each in locked.items() if "resolved" in each or "integrity" not in each] == []


def test_every_dependency_has_its_reason() -> None:
    """The tables of docs/dependencies.md are the dependencies of pyproject.toml, each with a reason."""
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    _, run, dev, _ = re.split(r"^## .*$", text, flags=re.MULTILINE)
    rows = [dict(re.findall(r"^\| ([\w-]+) \| (.{10,}) \|$", part, flags=re.MULTILINE)) for part in (run, dev)]
    assert set(rows[0]) == _runtime()
    assert set(rows[1]) == _development()


def test_what_is_imported_is_what_is_declared() -> None:
    """A package that happens to be installed is not a dependency, and a dependency that nothing imports is none."""
    owner = {
        name: {each.lower().replace("_", "-") for each in owners} for name, owners in packages_distributions().items()
    }
    roots = {name.split(".")[0] for module in modules() for _, name in imports(module.tree)}
    used = {each for root in roots - sys.stdlib_module_names - {"penstock"} for each in owner.get(root, {root})}
    assert used - BROUGHT_ALONG == {name.lower() for name in _runtime()} - NEVER_IMPORTED


def test_every_lint_ignore_has_its_reason() -> None:
    """A rule that is off says why, on its own line."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    ignores = re.findall(r'^  ("[A-Z]+\d+",.*)$', text, flags=re.MULTILINE)
    assert len(ignores) > 10
    assert [each for each in ignores if not re.search(r"# .{4,}", each)] == []


def test_every_noqa_has_its_reason() -> None:
    """A rule that is off for one line names itself and says why beside it."""
    bare = re.compile(r"# ?(noqa(?!: [A-Z]+\d+(, [A-Z]+\d+)* (- |\()\w)|type: ?ignore(?!\[[\w, -]+\]  ?# \w))")
    files = [path for room in ("src", "tests", "bench", "deploy") for path in sorted((ROOT / room).rglob("*.py"))]
    lines = [(path, number, line) for path in files for number, line in enumerate(path.read_text().splitlines(), 1)]
    found = [f"{path.relative_to(ROOT)}:{number}" for path, number, line in lines if bare.search(line)]
    assert found == []
