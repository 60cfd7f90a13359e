"""A training run with its screen. `charrnn train` may start several."""

from __future__ import annotations

import collections
import contextlib
import errno
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charrnn.cli.screen import TrainingScreen
from charrnn.errors import CharrnnError, ExitCode
from charrnn.model.run import Run
from charrnn.training.events import Finished, Requests
from charrnn.training.options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from charrnn.cli.tensorboard import Board
    from charrnn.settings import ReadSettings
    from charrnn.text.corpus import Corpus
    from charrnn.training.session import TrainingSession

MIN_SEARCHED_SECONDS = 30.0  # shorter training is not followed by a search


@dataclass(frozen=True)
class Trained:
    """A training run that has ended. exit_code: of the signal that stopped it, if one did."""

    run: Run
    finished: Finished
    screen: TrainingScreen
    exit_code: ExitCode


def train_with_screen(
    corpus: Corpus | Sequence[str] | None,
    options: TrainOptions,
    *,
    tensorboard: bool,
    to_stderr: bool,
    note: str | None = None,
    with_corpus: bool = True,
) -> Trained | None:
    """Train, and draw the events. Return None on all processes of a group but the first.

    note: a line below the plan. with_corpus: whether the plan says what the corpus is.
    """
    from charrnn.cli.signals import SignalHandler
    from charrnn.cli.tensorboard import Board
    from charrnn.training.session import training_session

    requests = Requests()
    with _command_named(), training_session(corpus, options, load=load_with_bar) as session:
        if not session.group.is_first:
            with SignalHandler(requests).installed():
                collections.deque(session.events(requests), maxlen=0)
            return None
        screen = TrainingScreen(sys.stderr if to_stderr else sys.stdout, requests)
        screen.show_plan(session.prepared, session.run, note, with_corpus=with_corpus)
        signals = SignalHandler(requests, screen.show_interrupt)
        checkpoint = session.prepared.checkpoint
        board = Board(session.run.path, checkpoint.step + 1 if checkpoint else 1) if tensorboard else None
        with contextlib.nullcontext() if board is None else contextlib.closing(board), signals.installed():
            finished = _train(session, screen, requests, board)
    return Trained(session.run, finished, screen, signals.exit_code)


@contextlib.contextmanager
def _command_named() -> Iterator[None]:
    """Where a corpus has to be named, show a command that is safe to paste, whatever the run holds."""
    from charrnn.training.setup import UnnamedCorpusError

    try:
        yield
    except UnnamedCorpusError as error:
        error.hint = f"name it: charrnn train {error.corpus} {error.arguments}"
        raise


def interesting_cell(trained: Trained) -> str | None:
    """Return a cell that a quick search finds; None if training was short, or without a terminal."""
    from charrnn.discovery.quick import quick_cell
    from charrnn.progress import progress_bar

    training_seconds = trained.finished.progress.seconds
    if trained.finished.reason == "stopped" or training_seconds < MIN_SEARCHED_SECONDS:
        return None
    if not trained.screen.terminal.is_terminal:
        return None
    with progress_bar() as bar:
        bar("looking for a cell to show", 0.0)
        found = quick_cell(trained.run, seconds=min(max(10.0, training_seconds / 60), 30.0))
    return None if found is None else found[0]


def raise_output_error(screen: TrainingScreen) -> None:
    """Raise the first error of a write to the output, unless its terminal was closed."""
    error = screen.output_error
    if error is not None and error.errno != errno.EIO:
        raise error


def _train(session: TrainingSession, screen: TrainingScreen, requests: Requests, board: Board | None) -> Finished:
    """Train, and draw and log the events."""
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
    assert finished is not None, "the last event is Finished"
    if finished.unsaved is not None:
        raise CharrnnError(
            f"the last checkpoint could not be saved: {finished.unsaved}",
            f"fix that; {session.run.name} can be resumed from the previous checkpoint",
        )
    return finished


def load_with_bar(specs: Sequence[str], as_bytes: bool, reading: ReadSettings) -> Corpus:
    """Load a corpus, drawing a bar while a large one is read."""
    from charrnn.cli.progress import transfer_bar
    from charrnn.text.corpus import load_corpus

    with transfer_bar() as progress:
        return load_corpus(specs, as_bytes=as_bytes, progress=progress, **reading.to_json())
