"""Options that many commands take. Given to a group (``penstock -c FILE keys list``) they hold for its commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(command: _Command) -> _Command:
    """``-c/--config FILE``, as the parameter ``config``: a path for ``load_here``, or None."""
    return _config_option(expose=True)(command)


def group_config_option(group: _Command) -> _Command:
    """The same for a group, which has no use for it itself."""
    return _config_option(expose=False)(group)


def inherit(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A callback: what the command line says here, else what it said to a group above."""
    name = f"{__name__}.{parameter.name}"
    source = context.get_parameter_source(parameter.name or "")
    if source is click.core.ParameterSource.COMMANDLINE:
        context.meta[name] = value
    return context.meta.get(name, value)


def _config_option(*, expose: bool) -> Callable[[_Command], _Command]:
    what = "The config file; default ./penstock.yaml when it exists, else built-in settings and the environment."
    path = click.Path(path_type=Path)
    return click.option(
        "-c", "--config", "config", type=path, metavar="FILE", help=what, callback=inherit, expose_value=expose
    )
