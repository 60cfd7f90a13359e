"""Options that several commands share, and those made from the settings classes: no help text is written twice."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from charrnn.errors import UsageError
from charrnn.settings import DEVICES, Option, Settings

MACHINE = "Model and machine"

RunArgument = Annotated[
    str | None, typer.Argument(help="A run's name or folder.", metavar="RUN", show_default="the newest")
]
CheckpointOption = Annotated[
    str,
    typer.Option(
        help="Which weights: best, last, or the step of a save.", metavar="best|last|STEP", rich_help_panel=MACHINE
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="Where to compute.", metavar="|".join(DEVICES), rich_help_panel=MACHINE)
]
SkipUnknownOption = Annotated[
    bool, typer.Option("--skip-unknown", help="Leave out characters that the model does not know.")
]


def with_settings(*classes: type[Settings]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command every option of these settings classes, and hands it those that the user set.

    The command's own parameters come first; it receives one more keyword, `given`: name → value of the options that the
    user wrote, and nothing of those that were left at their default (`settings_from` fills them in).
    """
    options = {name: option for cls in classes for name, option in cls.options().items()}

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapper(**arguments: Any) -> Any:
            given = {name: value for name in options if (value := arguments.pop(name)) is not None}
            return command(**arguments, given=given)

        own = inspect.signature(command, eval_str=True)
        parameters = [p for p in own.parameters.values() if p.name != "given"]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(option))
            for name, option in options.items()
        ]
        wrapper.__signature__ = own.replace(parameters=parameters)
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate


def _annotation(option: Option) -> Any:
    shown = _default_shown(option)
    info = typer.Option(
        *(option.flags or (option.flag,)),
        help=f"{option.help} [dim]\\[default: {shown}][/dim]" if shown else option.help,
        show_default=False,  # the parameter's own default is None, which tells what the user did not give
        rich_help_panel=option.panel,
        metavar=option.metavar or ("|".join(option.choices) if option.choices else None),
    )
    return Annotated[typing.Optional[option.value_type], info]  # noqa: UP045 - a runtime value, not an annotation


def _default_shown(option: Option) -> str | None:
    if option.chosen:
        return "chosen"
    if option.default is None or option.default is False:
        return None
    return f"{option.default:g}" if isinstance(option.default, float) else str(option.default)


def flowing(command: Callable[..., Any]) -> str:
    """A command's docstring as its help: each paragraph one line, for the terminal to wrap where it ends."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def only_one_of(**flags: Any) -> None:
    """Raises UsageError where more than one of these flags (name with underscores → value or None) was given."""
    named = ["--" + name.replace("_", "-") for name, value in flags.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} exclude each other", f"give {named[0]} or {named[1]}")
