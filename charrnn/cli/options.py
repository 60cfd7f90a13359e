"""Options that several commands share, and options made from settings classes, which hold their help and bounds."""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from charrnn.cli.completion import complete_cell, complete_corpus, complete_property, complete_run
from charrnn.errors import CharrnnError, UsageError
from charrnn.options import Option, Settings
from charrnn.settings import DEVICES, ReadSettings

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.text.encoded_text import EncodedText

COMPUTE = "Model and device"

RunArgument = Annotated[
    str | None,
    typer.Argument(
        help="Name or folder of a run.",
        metavar="RUN",
        show_default="the newest, else the built-in one",
        autocompletion=complete_run,
    ),
]
NamedRunArgument = Annotated[
    str,
    typer.Argument(help="Name or folder of a run.", metavar="RUN", show_default=False, autocompletion=complete_run),
]
TextOption = Annotated[
    str | None,
    typer.Option(help="File to read, or - for standard input.", show_default="the held-out text", metavar="FILE"),
]
CheckpointOption = Annotated[
    str, typer.Option(help="Checkpoint to load.", metavar="best|last|STEP", rich_help_panel=COMPUTE)
]
DeviceOption = Annotated[
    str, typer.Option(help="Device to compute on.", metavar="|".join(DEVICES), rich_help_panel=COMPUTE)
]
SkipUnknownOption = Annotated[
    bool, typer.Option("--skip-unknown", help="Skip characters that the model does not know.")
]
AgainOption = Annotated[bool, typer.Option("--again", help="Measure again, even if the run keeps results from before.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
JsonListOption = Annotated[bool, typer.Option("--json", help="Print a JSON list.")]


def cell_option(help: str, *, repeatable: bool = False) -> Any:
    """Return an option that names a cell."""
    return typer.Option(
        "--cell",
        "-c",
        help=f"{help}, as in 42 or 2:17 (LAYER:INDEX).{' Repeatable.' if repeatable else ''}",
        metavar="CELL",
        show_default=False,
        autocompletion=complete_cell,
    )


def property_option(help: str, default: str, panel: str | None = None) -> Any:
    """Return an option that names a property. default: what is taken without it."""
    return typer.Option(
        "--property",
        "-p",
        help=help,
        metavar="NAME",
        show_default=default,
        autocompletion=complete_property,
        rich_help_panel=panel,
    )


def language_option(panel: str | None = None) -> Any:
    """Return an option for the language of a text."""
    return typer.Option(
        help="Programming language of the text, as Pygments names it, or none.",
        metavar="NAME",
        show_default="guessed from the corpus",
        rich_help_panel=panel,
    )


def corpus_option(help: str, panel: str | None = None) -> Any:
    """Return an option for the corpus of a run."""
    return typer.Option(
        help=help,
        metavar="CORPUS",
        show_default="looked up in corpora/",
        autocompletion=complete_corpus,
        rich_help_panel=panel,
    )


def seed_option(help: str = "Random seed.", **details: Any) -> Any:
    """Return an option for a seed. details: of `typer.Option`."""
    return typer.Option(help=help, min=0, max=2**32, **details)


def output_option(help: str, metavar: str = "FILE", panel: str | None = None) -> Any:
    """Return an option for the file to write to."""
    return typer.Option("--output", "-o", help=help, metavar=metavar, rich_help_panel=panel)


CellOption = Annotated[str, cell_option("Cell")]
PropertyOption = Annotated[
    str | None,
    property_option("Name of a property, NAME=REGEX, or FILE.py:function.", "the one that a search found"),
]
HeldSignalOption = Annotated[
    str, typer.Option("--signal", help="What to hold. auto: c if the model has one, else h.", metavar="auto|c|h")
]
LanguageOption = Annotated[str | None, language_option()]


class WithSettings:
    """A command that also has an option for every field of some settings classes.

    The command is called with one more keyword, `given`: name → value of the options that the user set; `settings_from`
    fills in the rest. The options are looked up when the command line is built, so that they include what plugins
    registered. without: fields that get no option.
    """

    def __init__(self, command: Callable[..., None], classes: Collection[type[Settings]], without: Collection[str]):
        self._command, self._classes, self._without = command, classes, without
        self.__name__, self.__doc__ = command.__name__, command.__doc__
        self.__annotations__: dict[str, Any] = {}  # typer looks here for parameters without an annotation

    def _options(self) -> dict[str, Option]:
        options = {name: option for cls in self._classes for name, option in cls.options().items()}
        return {name: option for name, option in options.items() if name not in self._without}

    @property
    def __signature__(self) -> inspect.Signature:
        own = inspect.signature(self._command, eval_str=True)
        parameters = [parameter for parameter in own.parameters.values() if parameter.name != "given"]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(option))
            for name, option in self._options().items()
        ]
        return own.replace(parameters=parameters)

    def __call__(self, **arguments: Any) -> None:
        given = {name: value for name in self._options() if (value := arguments.pop(name)) not in (None, [])}
        self._command(**arguments, given=given)


Decorator = Callable[[Callable[..., None]], WithSettings]


def with_settings(*classes: type[Settings], without: Collection[str] = ()) -> Decorator:
    """Decorator: add an option for every field of these settings classes, except some."""
    return lambda command: WithSettings(command, classes, without)


def reads_text(*classes: type[Settings], without: Collection[str] = ()) -> Decorator:
    """Decorator: `with_settings`, with options for how the files of a text are read."""
    return with_settings(*classes, ReadSettings, without=("normalize", *without))  # the run's corpus decides


def _annotation(option: Option) -> Any:
    shown = _shown_default(option)
    info = typer.Option(
        *(option.flags or (option.flag,)),
        help=f"{option.help} [dim]\\[default: {shown}][/dim]" if shown else option.help,
        show_default=False,  # the parameter's own default is None: the option was not given
        rich_help_panel=option.panel,
        metavar=option.metavar or ("|".join(option.choices) if option.choices else None),
    )
    one_type: Any = str if option.ranged else option.value_type
    value_type: Any = types.GenericAlias(list, one_type) if option.repeatable else one_type
    return Annotated[Optional[value_type], info]  # noqa: UP045 - a runtime value, not an annotation


def _shown_default(option: Option) -> str | None:
    if option.chosen:
        return "chosen"
    if option.default is None or option.default is False or option.default in ((), ""):
        return None
    if isinstance(option.default, float):
        return f"{option.default:g}"
    return f"{option.default:,}" if isinstance(option.default, int) else str(option.default)


def check_output(path: Path | None) -> None:
    """Raise CharrnnError for a file that cannot be written, before the work is done that ends in it."""
    if path is None:
        return
    try:
        existing = path if path.exists() else next(folder for folder in path.absolute().parents if folder.exists())
    except OSError as error:  # such as a name that is too long
        raise CharrnnError(f"{path} cannot be written: {error.strerror}", "name another file") from None
    if existing.is_dir() == (existing == path):
        kind = "a folder" if existing == path else "not a folder"
        raise CharrnnError(f"{path} cannot be written: {existing} is {kind}", "name another file")
    if not os.access(existing, os.W_OK):
        raise CharrnnError(f"{path} cannot be written: no permission", "name another file")


def check_figure(path: Path | None) -> None:
    """Raise an error for a file that no figure can be written to, before the work is done that ends in it."""
    if path is not None:
        from charrnn.display import export

        export.check_figure(path)
        check_output(path)


def open_text(
    run: str | None, text: str | None, checkpoint: str, device: str, *, skip_unknown: bool, given: dict[str, Any]
) -> tuple[Model, str, EncodedText]:
    """Return a model, and title and ids of the text that a command reads with it (`read_text`)."""
    model = load_model(run, checkpoint, device)
    return model, *read_text(model, text, skip_unknown=skip_unknown, given=given)


def load_model(run: str | None, checkpoint: str, device: str) -> Model:
    """Return the model of a run. Where none is named and none was trained, say that it is the built-in one."""
    from charrnn.api import load
    from charrnn.model.built_in import is_built_in

    model = load(run, checkpoint=checkpoint, device=device)
    if run is None and is_built_in(model.run.path):
        typer.echo(f'no runs yet: using the built-in model "{model.name}", trained on Python\'s source code', err=True)
    return model


def read_text(model: Model, spec: str | None, *, skip_unknown: bool, given: dict[str, Any]) -> tuple[str, EncodedText]:
    """Return title and ids of the text that a command reads; the held-out text if the user named none.

    given: what the user set, of `ReadSettings` and other classes.
    """
    reading = {name: value for name, value in given.items() if name in ReadSettings.options()}
    if spec is None and reading:
        raise UsageError(f"{ReadSettings.options()[next(iter(reading))].flag} needs a text of your own")
    if spec is None and skip_unknown:
        raise UsageError("--skip-unknown needs a text of your own; the held-out text has no unknown characters")
    title, encoded = model.read(None if spec is None else Path(spec), skip_unknown=skip_unknown, **reading)
    if not len(encoded):
        raise CharrnnError(f"{title} has no characters{' that the model knows' if skip_unknown else ''}")
    return f"documents of {title}" if encoded.has_documents else title, encoded
