"""Help pages: --help shows the options that matter most, --help-all all of them."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Collection
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from charrnn.cli.completion import check_shell
from charrnn.cli.parameters import flags_of, with_flags
from charrnn.errors import CharrnnError

WIDEST_METAVAR = 8  # characters, as in auto|c|h; longer ones follow the help text
NUMBERS = {int: "N", float: "X"}
CLAUSE_END = re.compile(r"[.:;] | \((?!default)")
EXAMPLES = 2  # on a short page, to fit a terminal of 24 lines
DEFAULT = re.compile(r" \[dim\]\\\[default: .*")


class _CommandMixin:
    """Mixin for commands: their help pages, and the command that a message names.

    A help page has a column of metavars in place of one of types. The page of the program shows its commands only.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            parsed: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]  # of the command class
        except TyperException as error:
            error.ctx = getattr(error, "ctx", None) or ctx  # type: ignore[attr-defined]  # typer sets none where an option lacks its value
            raise
        return parsed

    def format_help(self, ctx: Any, formatter: Any) -> None:
        page: Any = copy.copy(self)
        params = page.get_params(ctx) if ctx.parent is not None else []
        page.get_params = lambda ctx: [_described(param) for param in params]
        super(_CommandMixin, page).format_help(ctx, formatter)  # type: ignore[misc]  # of the command class


class Command(_CommandMixin, TyperCommand):
    """A command of the program.

    main_options: the options that --help shows; all, and the arguments, if it is empty.
    """

    main_options: Collection[str] = ()

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)
        return [*params, self._help_all(params[-1])] if self.main_options else params

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CharrnnError as error:
            flags = flags_of(self.params)
            error.message = with_flags(error.message, flags)
            error.hint = error.hint and with_flags(error.hint, flags)
            raise

    def _help_all(self, help_option: Any) -> Any:
        """Return an option like --help that shows the options of all panels."""

        def show(ctx: Any, param: Any, value: bool) -> None:
            if value and not ctx.resilient_parsing:
                super(Command, self).format_help(ctx, ctx.make_formatter())
                ctx.exit()

        option = copy.copy(help_option)
        option.name, option.opts, option.callback = "help_all", ["--help-all"], show
        option.help = f"Show all {len(self.params)} options and exit."
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if not self.main_options:
            return super().format_help(ctx, formatter)
        short = copy.copy(self)
        short.help = _summary_and_examples(self.help or "")
        short.get_usage = self.get_usage  # type: ignore[method-assign]  # names the arguments
        short.get_params = lambda ctx: [_short(param) for param in self.get_params(ctx) if self._is_main(param)]  # type: ignore[method-assign]
        return super(Command, short).format_help(ctx, formatter)

    def _is_main(self, param: Any) -> bool:
        return not {*self.main_options, "--help", "--help-all"}.isdisjoint(param.opts)


class Group(_CommandMixin, TyperGroup):
    """The program, or a command with subcommands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        check_shell(args[:1])
        return super().parse_args(ctx, args)


def add_command(
    app: typer.Typer, command: Callable[..., None], main_options: Collection[str] = (), name: str | None = None
) -> None:
    """Add a function to the program, with its docstring as help.

    main_options: see `Command`. name: by default the function's, without a `_` at its end. The terminal wraps
    paragraphs; examples, in bold, keep their lines.
    """
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    text = "\n\n".join(one if one.startswith("[bold]") else " ".join(one.split()) for one in paragraphs)
    cls = type("Command", (Command,), {"main_options": tuple(main_options)})
    app.command(name or command.__name__.removesuffix("_"), cls=cls, help=text)(command)


def _summary_and_examples(text: str) -> str:
    summary, *others = text.split("\n\n")
    examples = [line for one in others if one.startswith("[bold]") for line in one.splitlines()]
    return "\n\n".join([summary, "\n".join(examples[:EXAMPLES])])


def _described(param: Any) -> Any:
    """Return a parameter to display, with a metavar in place of its type. A long one follows the help text."""
    shown = copy.copy(param)
    shown.min = shown.max = None
    metavar = _metavar(param)
    text, default, rest = (param.help or "").partition(" [dim]")
    if metavar is not None and len(metavar) > WIDEST_METAVAR:
        text += f" [dim]{escape(f'[{metavar}]')}[/dim]"
        metavar = "VALUE"
    shown.display_type_rich = lambda ctx: metavar
    value = _default(param)
    if value is not None:
        default, rest, shown.show_default = " [dim]", f"\\[default: {value}][/dim]", False
    shown.help = f"{text}{default}{rest}"
    return shown


def _metavar(param: Any) -> str | None:
    """Return what stands for the value of an option; None for a flag or an argument."""
    if param.param_type_name == "argument" or param.is_flag:
        return None
    return param.metavar or NUMBERS.get(param.type_descriptor.annotation, "VALUE")


def _default(param: Any) -> str | None:
    """Return the default that a parameter of a command shows; None if its help names it, or there is none."""
    if isinstance(param.show_default, str):
        return param.show_default
    is_number = isinstance(param.default, int | float) and not isinstance(param.default, bool)
    if not param.show_default or not (is_number or isinstance(param.default, str)):
        return None
    return f"{param.default:,}" if is_number else str(param.default)


def _short(param: Any) -> Any:
    """Return an option to display in the only panel, with the first clause of its help and without other names."""
    shown = copy.copy(param)
    shown.rich_help_panel, shown.secondary_opts = None, []
    aliases = [name for name in param.opts if name.startswith("--")][1:]
    shown.opts = [name for name in param.opts if name not in aliases]
    text = param.help or ""
    default = DEFAULT.search(text)
    first = CLAUSE_END.split(text[: default.start()] if default else text)[0]
    shown.help = first.removesuffix(".") + "." + (default[0] if default else "")
    return shown
