"""The command line. A command is a file here and a line in COMMANDS.

Commands are imported when they are asked for: ``penstock check`` starts no server's modules. Exit codes: 0 done,
1 failed, 2 bad usage or config, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from penstock import __version__
from penstock.cli.options import group_config_option
from penstock.errors import ConfigError, PenstockError

COMMANDS: Final = {
    "demo": "See what it saves: simulated traffic, no key, no network.",
    "serve": "Serve the gateway.",
    "restart": "Let a new process take over from the running server.",
    "check": "Check the config: OK and what it comes to, or every mistake at once.",
    "keys": "Create, list and revoke client keys.",
    "spend": "What was spent, on what, and what was saved.",
    "report": "One page for who pays: spend, savings, speed, errors, budgets.",
    "budgets": "How much of each budget is used, and setting them.",
    "alerts": "Tell chats of alerts and of yesterday's money; find the alerts that are noise.",
    "cache": "Look at the cache, or empty it.",
    "prices": "The price book: what a model costs, and since when.",
    "top": "What the gateway does now, live.",
    "doctor": "Whether everything the config depends on is well, and what to do where it is not.",
    "migrate": "Move everything from SQLite to PostgreSQL.",
}
"""Command -> what it does. The command is the object of its name in the module of its name."""

_FAILED: Final = 1
_UNUSABLE: Final = 2
_INTERRUPTED: Final = 130


class Commands(click.Group):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All of them, in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"penstock.cli.{cmd_name}"), cmd_name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The list in ``--help``, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@group_config_option
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """Penstock: the gate in front of your LLM APIs."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run a command; its exit code. What went wrong is said on standard error, without a traceback."""
    try:
        code = cli.main(list(arguments), prog_name="penstock", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except ConfigError as error:
        return _say(error.mistakes, _UNUSABLE)
    except PenstockError as error:
        return _say([f"{error.public}: {error.detail}" if error.detail else error.public], _FAILED)
    except OSError as error:
        return _unheard(error)
    return code if isinstance(code, int) else 0


def _say(lines: Sequence[str], code: int) -> int:
    for line in lines:
        click.echo(line, err=True)
    return code


def _unheard(error: OSError) -> int:
    """The system refused: if standard output (a full disk, a pipe), the interpreter's last flush must not fail."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _say([] if isinstance(error, BrokenPipeError) else [f"Error: {error}"], _FAILED)
