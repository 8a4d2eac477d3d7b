"""Groups of options: a dataclass holds the options of one panel of ``--help`` and is one argument of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.models import OptionInfo


class Command(TyperCommand):
    """A command whose ``--help`` shows types by metavars only."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters for parsing and for ``--help``."""
        return _with_metavars(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose ``--help`` shows types by metavars only."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters for parsing and for ``--help``."""
        return _with_metavars(super().get_params(ctx))


def _with_metavars(parameters: list[Any]) -> list[Any]:
    """Hide the types that Typer would show beside flags (<bool>) and named arguments (<path>)."""
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag and parameter.metavar is None:
            parameter.metavar = ""
        elif isinstance(parameter, TyperArgument) and parameter.metavar is not None:
            parameter.display_type_rich = _no_type  # type: ignore[method-assign]
    return parameters


def _no_type(ctx: Any) -> None:
    return None


def grouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """Make Typer see the fields of a command's dataclass parameters as options of their own.

    Parameters
    ----------
    command : callable
        A Typer command. A parameter annotated with a dataclass is a group: its fields are annotated as Typer
        options, and its class attribute ``panel`` is the heading of the group in ``--help``.

    Returns
    -------
    callable
        Takes every option as a keyword argument and calls `command` with the groups.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type[Any], tuple[str, ...]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind) and isinstance(kind, type):
            options = _options(kind)
            groups[parameter.name] = kind, tuple(option.name for option in options)
            parameters += options
        else:
            parameters.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))

    def run(**values: Any) -> Any:
        arguments = {name: kind(**{key: values.pop(key) for key in keys}) for name, (kind, keys) in groups.items()}
        return command(**arguments, **values)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _options(kind: type[Any]) -> list[inspect.Parameter]:
    """Return the fields of a group as keyword parameters with the group's panel."""
    hints = get_type_hints(kind, include_extras=True)
    options = []
    for field in fields(kind):
        base, *extras = get_args(hints[field.name])
        option = copy(next(extra for extra in extras if isinstance(extra, OptionInfo)))
        option.rich_help_panel = kind.panel
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        options.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[base, option]
            )
        )
    return options
