"""The program: its commands, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from charrnn import __version__
from charrnn.cli import corpora, evaluate, inspect, sample, train
from charrnn.display.terminal import safe_text, write
from charrnn.errors import CharrnnError, ExitCode

app = typer.Typer(
    name="charrnn",
    invoke_without_command=True,
    pretty_exceptions_enable=False,  # a bug ends in Python's own traceback, without the values of local variables
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit


@app.callback()
def program(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Train a character-level recurrent network on a text, sample from it, and look inside its cells.

    [bold]charrnn train shakespeare.txt[/bold] · [bold]charrnn sample --temperature 0.8[/bold] ·
    [bold]charrnn inspect --cell 42[/bold]
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)  # typer has printed it already


for module in (train, sample, inspect, evaluate, corpora):
    module.register(app)


def main() -> None:
    """Runs the program and ends the process with one of `ExitCode`."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that has gone can still be answered
    except CharrnnError as error:
        code = _said(str(error), error.exit_code)
    except TyperException as error:  # the command line could not be parsed
        command = getattr(getattr(error, "ctx", None), "command_path", "charrnn")
        code = _said(f"{error.format_message().rstrip('.')}; see {command} --help", ExitCode.USAGE)
    except typer.Abort:
        code = _said("aborted", ExitCode.FAILURE)
    except BrokenPipeError:
        _leave_quietly()
    sys.exit(code)


def _said(message: str, code: ExitCode) -> ExitCode:
    line = safe_text(message, keep_newlines=False)
    write(sys.stderr, f"charrnn: {line}\n")
    return code


def _leave_quietly() -> None:
    """The reader of our output has gone, as in `charrnn sample | head`: end as other tools do, by SIGPIPE."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())  # what is still in the buffer goes there
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
