"""The program: its commands, and the error boundary that turns an error into one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import stat
import sys
import warnings
from collections.abc import Callable, MutableMapping
from typing import Annotated, TextIO

import typer
from typer.exceptions import TyperException

from charrnn import __version__
from charrnn.cli import (
    ablate,
    chat,
    corpora,
    evaluate,
    export,
    gates,
    history,
    inspect,
    manage,
    memory,
    runs,
    sample,
    steer,
    train,
)
from charrnn.cli.completion import IN_BASH, bash_words
from charrnn.cli.help import Group, add_command
from charrnn.display.terminal import MAX_COLUMNS, Terminal, safe_text, write
from charrnn.errors import CharrnnError, CharrnnWarning, ExitCode

MAX_MESSAGE = 2000  # characters; parts of a message may come from an untrusted file
WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO)  # without a file name: of stdout
_show_other_warning = warnings.showwarning

app = typer.Typer(
    name="charrnn",
    cls=Group,
    invoke_without_command=True,
    pretty_exceptions_enable=False,  # show bugs as plain tracebacks, without the values of local variables
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"charrnn {__version__}")
        raise typer.Exit


@app.callback()
def program(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train a character-level recurrent network, sample from it, inspect its cells.

    [bold]charrnn train shakespeare.txt[/bold]
    [bold]charrnn inspect --cell 42[/bold]
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)  # prints the help, and returns an empty string


COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (train.train, "--minutes --epochs --name --resume --model --layers --hidden-size --documents"),
    (sample.sample, "--prime --length --temperature --num --stop --seed --top-p --output"),
    (chat.chat, "--you --reply --turn-end --temperature --length --seed"),
    (inspect.inspect, "--cell --text --property --evidence --prove --html --output --json"),
    (ablate.ablate, "--cell --property --text --details --json"),
    (steer.steer, "--cell --property --texts --length --json"),
    (gates.gates, "--text --json"),
    (memory.memory, "--against --text --output --json --csv"),
    (history.history, "--cell --property --signal --text --json"),
    (evaluate.evaluate, "--baselines --explain --compare --per-line --dynamic --mix --json"),
    (export.export, "--half --with-text --checkpoint --json"),
    (export.import_, ""),
)
"""The commands, and the options that --help shows; all where none are named."""

for command, main_options in COMMANDS:
    add_command(app, command, main_options.split())
for command in (manage.show, manage.rename, manage.rm):
    add_command(runs.runs_app, command)
app.add_typer(runs.runs_app, name="runs")
app.add_typer(corpora.corpora_app, name="corpora")


def main() -> None:
    """Run the program and exit with one of `ExitCode`."""
    warnings.showwarning = _show_warning
    try:
        code = _run()
        sys.stdout.flush()  # raises here if the reader of a pipe has gone, or a disk is full
    except KeyboardInterrupt:  # after the command ended
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        _exit_by_signal(signal.SIGPIPE)
    except OSError as error:
        if _terminal_is_closed(error):
            _exit_by_signal(signal.SIGHUP)
        if error.filename is not None or error.errno not in WRITE_ERRORS:
            raise
        _discard(sys.stdout)
        code = _report(f"standard output cannot be written: {error.strerror}", ExitCode.FAILURE)
    sys.exit(code)


def _run() -> ExitCode:
    """Run the program. Return an exit code; raise only OSErrors and bugs."""
    try:
        _ignore_invalid_width(os.environ)
        _prepare_streams()
        completing = os.environ.get(IN_BASH[0]) == IN_BASH[1]
        with bash_words(os.environ) if completing else contextlib.nullcontext():
            return app(standalone_mode=False) or ExitCode.SUCCESS
    except CharrnnError as error:
        return _report(str(error), error.exit_code)
    except TyperException as error:  # a wrong command line
        command = getattr(getattr(error, "ctx", None), "command_path", "charrnn")
        return _report(f"{error.format_message().rstrip('.')}; see {command} --help", ExitCode.USAGE)
    except KeyboardInterrupt:  # outside a command; typer handles those inside
        return ExitCode.INTERRUPTED
    except typer.Abort:
        return _report("aborted", ExitCode.FAILURE)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _report("out of memory; try a smaller --hidden-size, --batch-size or --num", ExitCode.FAILURE)


def _prepare_streams() -> None:
    """Open closed standard streams, and let all of them write any character. Raise CharrnnError for a closed stdout."""
    stdout_is_closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # each opens the lowest free descriptor
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - open until the program ends
    if stdout_is_closed:
        raise CharrnnError("standard output is closed", "redirect it to a file or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _ignore_invalid_width(environment: MutableMapping[str, str]) -> None:
    """Remove an implausible COLUMNS: rich would fail, or allocate lines of that length."""
    columns = environment.get("COLUMNS", "")
    if not (columns.isascii() and columns.isdigit() and len(columns) <= len(str(MAX_COLUMNS))):
        environment.pop("COLUMNS", None)


def _discard(stream: TextIO) -> None:
    """Redirect a stream to /dev/null, so that its buffer does not fail again when the program ends."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)


def _report(message: str, code: ExitCode) -> ExitCode:
    ellipsis = "…" if len(message) > MAX_MESSAGE else ""
    line = f"charrnn: {safe_text(message[:MAX_MESSAGE], keep_newlines=False)}{ellipsis}"
    try:
        write(sys.stderr, "".join(f"{part}\n" for part in Terminal.of(sys.stderr).wrap(line)))
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, CharrnnWarning):
        _report(f"warning: {message}", ExitCode.SUCCESS)
    else:
        _show_other_warning(message, category, filename, lineno, file, line)


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """PyTorch raises RuntimeError for a lack of memory; only the message tells."""
    return isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)


def _terminal_is_closed(error: OSError) -> bool:
    """Return whether an error comes from a write to a closed terminal."""
    if error.errno != errno.EIO or error.filename is not None:
        return False
    status = os.fstat(sys.stdout.fileno())
    return stat.S_ISCHR(status.st_mode) and not sys.stdout.isatty()


def _exit_by_signal(number: signal.Signals) -> None:
    """Exit as other tools do when their output is no longer read, as in `charrnn sample | head`."""
    _discard(sys.stdout)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
