"""`charrnn train`: train a model on a text."""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.completion import complete_corpus, complete_run
from charrnn.cli.options import DeviceOption, with_settings
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.settings import DATA, LENGTH, ModelSettings, ReadSettings, TrainingSettings
from charrnn.training.options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charrnn.cli.screen import TrainingScreen
    from charrnn.cli.tensorboard import Board
    from charrnn.text.corpus import Corpus
    from charrnn.training.events import Finished, Requests
    from charrnn.training.session import TrainingSession

RUN = "Run"
DEFAULT_CORPUS = "python"

CorpusArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files, folders, glob patterns, - for standard input, or names (see: charrnn corpora).",
        metavar="CORPUS",
        show_default=False,
        autocompletion=complete_corpus,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        help="Name of the run.", rich_help_panel=RUN, show_default="after the corpus", autocompletion=complete_run
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Resume a run (--name, or the newest).", rich_help_panel=RUN)
]
InitFromOption = Annotated[
    str | None,
    typer.Option(
        help="Initialize from another run's weights.",
        metavar="RUN",
        rich_help_panel=RUN,
        autocompletion=complete_run,
    ),
]
EpochsOption = Annotated[float | None, typer.Option(help="Train for this many epochs.", rich_help_panel=LENGTH)]
MinutesOption = Annotated[
    float | None,
    typer.Option(
        help="Train for this many minutes, including evaluations.",
        rich_help_panel=LENGTH,
        show_default="5, on a GPU 3",
    ),
]
MoreMinutesOption = Annotated[
    float | None,
    typer.Option(help="Extend a finished run (--name, or the newest) by this many minutes.", rich_help_panel=LENGTH),
]
MoreStepsOption = Annotated[
    int | None, typer.Option(help="Extend a finished run by this many steps.", rich_help_panel=LENGTH)
]
BytesOption = Annotated[
    bool, typer.Option("--bytes", help="Model the bytes of any file instead of characters.", rich_help_panel=DATA)
]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Also log to TensorBoard, in the run's folder.", rich_help_panel=RUN)
]
SummaryJsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object at the end; everything else goes to stderr.")
]


@with_settings(ModelSettings, TrainingSettings, ReadSettings)
def train(
    corpus: CorpusArgument = None,
    name: NameOption = None,
    resume: ResumeOption = False,
    init_from: InitFromOption = None,
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
    more_minutes: MoreMinutesOption = None,
    more_steps: MoreStepsOption = None,
    as_bytes: BytesOption = False,
    device: DeviceOption = "auto",
    tensorboard: TensorboardOption = False,
    as_json: SummaryJsonOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Train a model on a text.

    By default, model size and training length are chosen for the corpus and the device, to finish in about five minutes
    (three on a GPU).

    [bold]charrnn train shakespeare.txt[/bold]
    [bold]charrnn train src/ --minutes 20 --name mine[/bold]
    [bold]charrnn train shakespeare.txt --resume[/bold]
    [bold]charrnn train shakespeare.txt --more-minutes 10[/bold]
    """
    options = TrainOptions(given, epochs, minutes, name, resume, init_from, as_bytes, device, more_minutes, more_steps)

    from charrnn.cli.screen import TrainingScreen
    from charrnn.cli.signals import SignalHandler
    from charrnn.cli.tensorboard import Board, summary_writer
    from charrnn.model.device import choose_device, keep_freed_memory
    from charrnn.training.distributed import is_launched
    from charrnn.training.events import Requests
    from charrnn.training.session import training_session

    if tensorboard:
        summary_writer()
    if choose_device(device).type == "cpu":
        keep_freed_memory()
    if not corpus and not resume and options.extension is None and not is_launched():
        corpus = [_default_corpus()]
    requests = Requests()
    with training_session(corpus, options, load=_load) as session:
        if not session.group.is_first:
            with SignalHandler(requests).installed():
                collections.deque(session.events(requests), maxlen=0)
            return
        screen = TrainingScreen(sys.stderr if as_json else sys.stdout, requests)
        screen.show_plan(session.prepared, session.run)
        signals = SignalHandler(requests, screen.show_interrupt)
        checkpoint = session.prepared.checkpoint
        board = Board(session.run.path, checkpoint.step + 1 if checkpoint else 1) if tensorboard else None
        with contextlib.nullcontext() if board is None else contextlib.closing(board), signals.installed():
            finished = _train(session, screen, requests, board)
    screen.show_summary(session.run, finished)
    if as_json:
        print(json.dumps(screen.summary_json(session.run, finished)))
    if signals.exit_code != ExitCode.SUCCESS:
        raise typer.Exit(signals.exit_code)
    if not as_json:
        _raise_output_error(screen)


def _raise_output_error(screen: TrainingScreen) -> None:
    error = screen.output_error
    if error is not None and error.errno != errno.EIO:  # the terminal was closed
        raise error


def _train(session: TrainingSession, screen: TrainingScreen, requests: Requests, board: Board | None) -> Finished:
    """Train to the end, drawing the events."""
    from charrnn.training.events import Finished

    checkpoint, finished = session.prepared.checkpoint, None
    with screen.progress_bar(session.prepared.settings.training.steps, checkpoint.step if checkpoint else 0):
        for event in session.events(requests, validation_progress=screen.show_validation):
            if board is not None:
                board.log(event)
            screen.show(event, session.run)
            if isinstance(event, Finished):
                finished = event
    if isinstance(screen.output_error, BrokenPipeError):
        raise BrokenPipeError  # without errno.EPIPE, which click turns into exit code 1
    assert finished is not None, "the last event of a training is Finished"
    if finished.unsaved is not None:
        raise CharrnnError(
            f"the last checkpoint could not be saved: {finished.unsaved}",
            f"fix that; {session.run.name} can be resumed from the previous checkpoint",
        )
    return finished


def _default_corpus() -> str:
    """Offer the corpus that every machine has. Raise UsageError off a terminal, or if the user declines."""
    from charrnn.display.terminal import is_terminal

    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        typer.echo(f"No corpus given. {DEFAULT_CORPUS} is the source code of Python's standard library.", err=True)
        if typer.confirm("Train on it?", default=True, err=True):
            return DEFAULT_CORPUS
    raise UsageError("no corpus given", f"name one, such as: charrnn train {DEFAULT_CORPUS}")


def _load(specs: Sequence[str], as_bytes: bool, reading: ReadSettings) -> Corpus:
    from charrnn.cli.progress import transfer_bar
    from charrnn.text.corpus import load_corpus

    with transfer_bar() as progress:
        return load_corpus(specs, as_bytes=as_bytes, progress=progress, **reading.to_json())
