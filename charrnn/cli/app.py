"""The program: its commands, and the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from charrnn import __version__
from charrnn.cli import corpora, evaluate, inspect, runs, sample, train
from charrnn.display.terminal import safe_text, write
from charrnn.errors import CharrnnError, CharrnnWarning, ExitCode

LONGEST_LINE = 2000  # characters of a message, parts of which may come from a file of a stranger's
_show_warning = warnings.showwarning

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


for module in (train, sample, inspect, evaluate, runs, corpora):
    module.register(app)


def main() -> None:
    """Runs the program and ends the process with one of `ExitCode`."""
    warnings.showwarning = _warned
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that has gone can still be answered
    except CharrnnError as error:
        code = _said(str(error), error.exit_code)
    except TyperException as error:  # the command line could not be parsed
        command = getattr(getattr(error, "ctx", None), "command_path", "charrnn")
        code = _said(f"{error.format_message().rstrip('.')}; see {command} --help", ExitCode.USAGE)
    except KeyboardInterrupt:  # before or after a command; within one, typer gives its code
        code = ExitCode.INTERRUPTED
    except typer.Abort:
        code = _said("aborted", ExitCode.FAILURE)
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        code = _said(
            "there is not enough memory for this; ask for less, such as a smaller --hidden-size, --batch-size or --num",
            ExitCode.FAILURE,
        )
    except BrokenPipeError:
        _leave_quietly(signal.SIGPIPE)
    except OSError as error:
        if not _terminal_has_gone(error):
            raise
        _leave_quietly(signal.SIGHUP)
    sys.exit(code)


def _said(message: str, code: ExitCode) -> ExitCode:
    line = safe_text(message[:LONGEST_LINE], keep_newlines=False)
    write(sys.stderr, f"charrnn: {line}{'…' if len(message) > LONGEST_LINE else ''}\n")
    return code


def _warned(message: Warning | str, category: type[Warning], *place: Any) -> None:
    if issubclass(category, CharrnnWarning):
        _said(f"warning: {message}", ExitCode.SUCCESS)
    else:
        _show_warning(message, category, *place)


def _is_lack_of_memory(error: MemoryError | RuntimeError) -> bool:
    """PyTorch's own errors say so in words alone: of a GPU as `CUDA out of memory`, of a CPU as below."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def _terminal_has_gone(error: OSError) -> bool:
    """Whether an error is what a write to a closed terminal gives: the device is there, but a terminal no more."""
    if error.errno != errno.EIO or error.filename is not None:
        return False
    status = os.fstat(sys.stdout.fileno())
    return stat.S_ISCHR(status.st_mode) and not sys.stdout.isatty()


def _leave_quietly(number: signal.Signals) -> None:
    """Nobody reads our output any more, as in `charrnn sample | head`: end as other tools do, by the signal for it."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())  # what is still in the buffer goes there
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
