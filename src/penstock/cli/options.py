"""The option that every command takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(command: _Command) -> _Command:
    """``-c/--config FILE``, as the parameter ``config``: a path for ``load_here``, or None."""
    what = "The config file; default ./penstock.yaml when it exists, else built-in settings and the environment."
    path = click.Path(path_type=Path)
    return click.option("-c", "--config", "config", type=path, metavar="FILE", help=what)(command)
