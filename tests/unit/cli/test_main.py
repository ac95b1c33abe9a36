"""The command line as a whole: what it says, and its exit codes."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import pytest

from penstock import __version__
from penstock.cli.main import COMMANDS, cli, main, run
from penstock.errors import ConfigError, StoreError

Failing = Callable[[BaseException], int]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No config file of the developer's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Runs a command that raises what it is given."""

    def exit_code(error: BaseException) -> int:
        @click.command()
        def fail() -> None:
            raise error

        monkeypatch.setitem(cli.commands, "fail", fail)
        monkeypatch.setattr(cli, "get_command", lambda _context, name: cli.commands.get(name))
        return run(["fail"])

    return exit_code


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_the_object_of_its_name_in_the_module_of_its_name(name: str) -> None:
    """And helps."""
    command = getattr(import_module(f"penstock.cli.{name}"), name)
    assert isinstance(command, click.Command)
    assert run([name, "--help"]) == 0


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], ["check"]])
def test_what_is_done_exits_with_0(arguments: list[str]) -> None:
    """Help and version too."""
    assert run(arguments) == 0


@pytest.mark.parametrize(
    "arguments", [[], ["chek"], ["--bogus"], ["check", "--bogus"], ["check", "x"], ["check", "-c"]]
)
def test_bad_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And says what was expected, on standard error."""
    assert run(arguments) == 2
    streams = capsys.readouterr()
    assert streams.err.startswith(("Usage: penstock", "Error: "))
    assert streams.out == ""


def test_help_lists_the_commands_without_importing_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with what it does."""
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """As the wheel says."""
    run(["--version"])
    assert capsys.readouterr().out == f"penstock, version {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError(["a:1: b", "a:2: c"]), 2, "a:1: b\na:2: c\n"),
        (StoreError("the store is locked"), 1, "the store is locked\n"),
        (StoreError("the store is locked", detail="by 7"), 1, "the store is locked: by 7\n"),
        (click.UsageError("no"), 2, "Error: no\n"),
        (click.ClickException("no"), 1, "Error: no\n"),
        (click.exceptions.Exit(3), 3, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_went_wrong_is_said_without_a_traceback(
    error: BaseException, code: int, said: str, failing: Failing, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, with the exit code of its kind."""
    assert failing(error) == code
    streams = capsys.readouterr()
    assert streams.err.strip("\n").endswith(said.strip("\n"))
    assert "Traceback" not in streams.err
    assert streams.out == ""


def test_a_bug_is_not_hidden(failing: Failing) -> None:
    """What nobody expected keeps its traceback."""
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_the_entry_point_exits_with_the_code() -> None:
    """As the shell sees it."""
    with pytest.raises(SystemExit) as caught:
        main(["chek"])
    assert caught.value.code == 2


def test_nobody_listening_is_no_traceback() -> None:
    """``penstock check | true``: the pipe is closed before a word is printed."""
    program = "import sys, time; from penstock.cli.main import main; sys.stdin.read(); main(['--help'])"
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stderr is not None
    with process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["check"], ["prices", "show", "sim-chat", "--format", "csv"]])
def test_a_full_disk_is_no_traceback(arguments: list[str]) -> None:
    """``penstock spend > report.csv`` on a full disk: exit code 1, so that no script takes it for whole."""
    program = f"from penstock.cli.main import main; main({arguments!r})"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "Error: [Errno 28] No space left on device\n")
