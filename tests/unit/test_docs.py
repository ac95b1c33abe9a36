"""What the documents say is what the code does: errors, headers, commands, config examples, links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from penstock.cli.main import cli
from penstock.config.load import load
from penstock.providers.registry import KINDS
from penstock.server.origins import preflight
from penstock.server.replies import ROWS, Row

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
ENVIRONMENT = {"DEEPSEEK_API_KEY": "sk-0000000000000000", "ARK_API_KEY": "ark-000000000000000"}
ORIGIN = "https://chat.example.com"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _text(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def _blocks(path: Path, language: str) -> list[str]:
    return [body for name, body in _BLOCK.findall(path.read_text("utf-8")) if name == language]


# --- errors and headers


def _error_row(line: str) -> tuple[str, Row]:
    kind, status, type_, code, anthropic, again, meaning = [cell.strip().strip("`") for cell in line.split("|")[1:-1]]
    assert meaning
    return kind, Row(int(status), type_, None if code == "null" else code, anthropic, again != "no")


def test_every_error_is_on_its_page_and_no_other() -> None:
    """docs/reference/errors.md is the table of replies: every kind, with its status, names and whether to ask again."""
    lines = re.findall(r"^\| `\w+` \| \d+ .*$", _text("reference/errors.md"), flags=re.MULTILINE)
    assert [_error_row(line) for line in lines] == list(ROWS.items())


def test_every_error_has_a_cause() -> None:
    """The page on troubles has each kind once, with its cause."""
    found = re.findall(r"^\| `([a-z_]+)` \| \S.*\|$", _text("how-to/troubleshooting.md"), flags=re.MULTILINE)
    assert sorted(found) == sorted(ROWS)


def test_every_header_that_browsers_may_use_is_documented() -> None:
    """What a preflight allows and exposes stands on the page of headers."""
    status, _, granted = preflight({b"origin": ORIGIN.encode()}, {ORIGIN})
    named = {
        header.strip().lower()
        for name, value in granted
        if name in {b"access-control-allow-headers", b"access-control-expose-headers"}
        for header in value.decode().split(",")
    }
    documented = {header.lower() for header in re.findall(r"`([A-Za-z-]+)`", _text("reference/headers.md"))}
    assert status == 204
    assert named
    assert named - documented == set()


# --- the command line


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """The commands that do something, by their full names."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    if command.invoke_without_command:
        yield name, command
    for each in command.list_commands(click.Context(command)):
        found = command.get_command(click.Context(command), each)
        assert found is not None
        yield from _commands(found, f"{name} {each}")


COMMANDS = dict(_commands(cli, "penstock"))


def _options(command: click.Command) -> set[str]:
    options = [each for each in command.params if isinstance(each, click.Option)]
    return {spelling for option in options for spelling in (*option.opts, *option.secondary_opts)}


def _heading(name: str) -> str:
    arguments = [each.name.upper() for each in COMMANDS[name].params if isinstance(each, click.Argument) and each.name]
    return " ".join([name, *arguments])


def test_every_command_is_on_its_page_with_all_its_options() -> None:
    """docs/reference/cli.md has a part for each command, and in it a row for each option, and no other."""
    parts = re.split(r"^## `(.+)`$", _text("reference/cli.md"), flags=re.MULTILINE)[1:]
    documented = {
        heading: {
            option for row in re.findall(r"^\| (`-.+?) \|", body, re.MULTILINE) for option in row.split("`")[1::2]
        }
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }
    assert documented == {_heading(name): _options(command) for name, command in COMMANDS.items()}


def _written_commands() -> Iterator[tuple[str, str]]:
    """Every ``penstock ...`` line of an example, with its page."""
    for path in PAGES:
        text = path.read_text("utf-8")
        shown = [*(line for block in _blocks(path, "sh") for line in block.splitlines())]
        shown += re.findall(r"^    (\S.*)$", text, flags=re.MULTILINE) + re.findall(r"`(penstock [^`]+)`", text)
        for line in shown:
            if line.removeprefix(".venv/bin/").startswith("penstock "):
                yield str(path.relative_to(ROOT)), line.removeprefix(".venv/bin/")


@pytest.mark.parametrize(("page", "line"), sorted(set(_written_commands())))
def test_every_command_in_an_example_exists(page: str, line: str) -> None:
    """The commands and options that a reader is told to type are there."""
    words = shlex.split(line)
    names = [name for name in (*COMMANDS, "penstock", *{name.rpartition(" ")[0] for name in COMMANDS}) if name]
    name = max((each for each in names if words[: len(each.split())] == each.split()), key=len)
    known = _options(COMMANDS[name]) if name in COMMANDS else {"--help", "--version"}
    given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert given - known <= {"--help", "-h"}, page
    assert name != "penstock" or given or words[1:2] == ["COMMAND"], page


# --- examples and links


def _config_examples() -> list[object]:
    pages = [ROOT / "README.md", DOCS / "start.md", *sorted((DOCS / "how-to").glob("*.md"))]
    return [
        pytest.param(text, id=f"{path.stem}-{place}")
        for path in pages
        for place, text in enumerate(_blocks(path, "yaml"))
    ]


@pytest.mark.parametrize("text", _config_examples())
def test_every_config_example_is_one(text: str, tmp_path: Path) -> None:
    """A config that a reader copies from a page has no mistake in it."""
    path = tmp_path / "penstock.yaml"
    path.write_text(text, "utf-8")
    assert load(path, ENVIRONMENT, registry=KINDS).models


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file that is there, and a heading that is in it."""
    for link in _LINK.findall(page.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def test_every_document_is_in_the_index() -> None:
    """Whoever starts at docs/README.md reaches every page."""
    index = {(DOCS / link.partition("#")[0]).resolve() for link in _LINK.findall(_text("README.md"))}
    assert {path for path in DOCS.rglob("*.md") if path.name != "README.md"} - index == set()


def test_the_readme_has_the_commands_of_the_first_minute() -> None:
    """``make run``, a request that needs no key, ``make test``: each in a block of its own, in both languages."""
    for name in ("README.md", "README.zh-CN.md"):
        run, ask, test = _blocks(ROOT / name, "sh")
        assert (run.strip(), test.strip()) == ("make run", "make test")
        assert ask.startswith("curl http://127.0.0.1:8787/v1/chat/completions ")
        assert '"model": "sim-chat"' in ask
