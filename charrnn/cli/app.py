"""The program: its commands, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from charrnn import __version__
from charrnn.cli import corpora, evaluate, inspect, sample, train
from charrnn.display.terminal import safe_text
from charrnn.errors import CharrnnError, ExitCode

app = typer.Typer(
    name="charrnn",
    no_args_is_help=True,
    add_completion=True,
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
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Train a character-level recurrent network on a text, sample from it, and look inside its cells.

    [bold]charrnn train shakespeare.txt[/bold] · [bold]charrnn sample --temperature 0.8[/bold] ·
    [bold]charrnn inspect --cell 42[/bold]
    """


for module in (train, sample, inspect, evaluate, corpora):
    module.register(app)


def main() -> None:
    """Runs the program and ends the process with one of `ExitCode`."""
    try:
        app(standalone_mode=True)
    except CharrnnError as error:
        print(f"charrnn: {safe_text(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        _leave_quietly()


def _leave_quietly() -> None:
    """The reader of our output has gone, as in `charrnn sample | head`: end as other tools do, by SIGPIPE."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(ExitCode.FAILURE)
