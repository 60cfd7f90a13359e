"""`charrnn train`: train a model on a text."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import DeviceOption, help_of, only_one_of, with_settings
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.settings import DATA, LENGTH, ModelSettings, TrainingSettings, settings_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charrnn.cli.screen import TrainingScreen
    from charrnn.cli.tensorboard import Board
    from charrnn.text.corpus import Corpus
    from charrnn.training.distributed import ProcessGroup
    from charrnn.training.events import Finished, Requests
    from charrnn.training.setup import Ready

RUN = "Run"
DEFAULT_CORPUS = "python"
STDIN = "-"

CorpusArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Files, folders, glob patterns, - for standard input, or names (see: charrnn corpora).",
        metavar="CORPUS...",
        show_default=False,
    ),
]
NameOption = Annotated[str | None, typer.Option(help="Name of the run.", rich_help_panel=RUN, show_default="as corpus")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Resume a run (--name, or the newest).", rich_help_panel=RUN)
]
InitFromOption = Annotated[
    str | None, typer.Option(help="Initialize from another run's weights.", metavar="RUN", rich_help_panel=RUN)
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
BytesOption = Annotated[
    bool, typer.Option("--bytes", help="Model the bytes of any file instead of characters.", rich_help_panel=DATA)
]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Also log to TensorBoard, in the run's folder.", rich_help_panel=RUN)
]
SummaryJsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object at the end; everything else goes to stderr.")
]


def register(app: typer.Typer) -> None:
    app.command("train", help=help_of(train))(train)


@with_settings(ModelSettings, TrainingSettings)
def train(
    corpus: CorpusArgument = None,
    name: NameOption = None,
    resume: ResumeOption = False,
    init_from: InitFromOption = None,
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
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

    [bold]charrnn train shakespeare.txt[/bold]  ·  [bold]charrnn train src/ --minutes 20 --name mine[/bold]  ·
    [bold]charrnn train shakespeare.txt --resume[/bold]
    """
    _check_options(given, epochs, minutes, resume, init_from)

    from charrnn.cli.screen import TrainingScreen
    from charrnn.cli.signals import SignalHandler
    from charrnn.cli.tensorboard import Board, summary_writer
    from charrnn.model.device import choose_device, keep_freed_memory
    from charrnn.training.distributed import process_group
    from charrnn.training.events import Requests

    requests = Requests()
    with process_group(device) as group:
        if choose_device(device).type == "cpu":
            keep_freed_memory()
        if not group.is_first:
            with SignalHandler(requests).installed():
                _follow(group, device, requests)
            return
        screen = TrainingScreen(sys.stderr if as_json else sys.stdout, requests)
        signals = SignalHandler(requests, screen.show_interrupt)
        with _error_ends_group(group):
            if tensorboard:
                summary_writer()
            ready, specs = _prepare(corpus, name, resume, init_from, epochs, minutes, as_bytes, device, given)
            screen.show_plan(ready)
        run, checkpoint = ready.writer.run, ready.checkpoint
        with ready.writer, contextlib.ExitStack() as stack:
            group.broadcast_object(
                {"settings": run.settings.to_json(), "vocabulary": run.vocabulary.to_json(), "specs": specs}
            )
            board = Board(run.path, checkpoint.step + 1 if checkpoint else 1) if tensorboard else None
            if board is not None:
                stack.enter_context(contextlib.closing(board))
            with signals.installed():
                finished = _train(ready, screen, requests, group, board)
    screen.show_summary(run, finished)
    if as_json:
        print(json.dumps(screen.summary_json(run, finished)))
    if signals.exit_code != ExitCode.SUCCESS:
        raise typer.Exit(signals.exit_code)


def _check_options(
    given: dict[str, Any], epochs: float | None, minutes: float | None, resume: bool, init_from: str | None
) -> None:
    """Raise UsageError for options that exclude each other or are out of bounds, before anything is loaded."""
    only_one_of(steps=given.get("steps"), epochs=epochs, minutes=minutes)
    only_one_of(resume=resume or None, init_from=init_from)
    for flag, length in (("--epochs", epochs), ("--minutes", minutes)):
        if length is not None and not 0 < length < 1e9:
            raise UsageError(f"{flag} must be above 0 and below 1e+09, not {length:g}")
    settings_from(ModelSettings, given), settings_from(TrainingSettings, given)
    if "documents" in given:
        from charrnn.text.documents import DocumentSeparator

        DocumentSeparator(given["documents"])


def _prepare(
    corpus: list[str] | None,
    name: str | None,
    resume: bool,
    init_from: str | None,
    epochs: float | None,
    minutes: float | None,
    as_bytes: bool,
    device: str,
    given: dict[str, Any],
) -> tuple[Ready, list[str]]:
    """Return a new run, or one to resume, and where its corpus was read."""
    from charrnn.model.lookup import open_run
    from charrnn.training import setup
    from charrnn.training.distributed import current_group, restart_count

    if current_group().size > 1 and (STDIN in corpus if corpus else not resume):
        raise UsageError("several processes need a corpus that each of them can read", "name a file")
    if resume or _is_restart(name):
        run = open_run(name)
        length = {} if restart_count() else {"epochs": epochs, "minutes": minutes}
        setup.refuse_changes(run, given | length, as_bytes)
        specs = corpus or setup.names_of_corpus(run)
        text = _load(specs, run.vocabulary.kind == "bytes")
        return setup.go_on(run, text, precision=given.get("precision"), device_name=device), specs
    specs = corpus or [_default_corpus()]
    ready = setup.begin(
        _load(specs, as_bytes),
        given,
        epochs=epochs,
        minutes=minutes,
        since=time.perf_counter(),
        name=name,
        init_from=init_from,
        device_name=device,
    )
    return ready, specs


def _train(
    ready: Ready, screen: TrainingScreen, requests: Requests, group: ProcessGroup, board: Board | None
) -> Finished:
    """Train to the end, drawing the events."""
    from charrnn.training.events import Finished
    from charrnn.training.loop import train

    writer, checkpoint, finished = ready.writer, ready.checkpoint, None
    training = writer.run.settings.training
    with screen.progress_bar(training.steps, checkpoint.step if checkpoint else 0):
        for event in train(
            ready.network,
            training,
            ready.train_text,
            ready.validation_text,
            writer=writer,
            resume=checkpoint,
            requests=requests,
            group=group,
            deadline=ready.length.deadline if ready.length else None,
        ):
            if board is not None:
                board.log(event)
            screen.show(event, writer.run)
            if isinstance(event, Finished):
                finished = event
    if screen.reader_exited:
        raise BrokenPipeError
    assert finished is not None, "the last event of a training is Finished"
    if finished.unsaved is not None:
        raise CharrnnError(
            f"the last checkpoint could not be saved: {finished.unsaved}",
            f"fix that; {writer.run.name} can be resumed from the previous checkpoint",
        )
    return finished


@contextlib.contextmanager
def _error_ends_group(group: ProcessGroup) -> Iterator[None]:
    """Tell the other processes, which wait for the plan, to exit if an error occurs."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(CharrnnError):
            group.broadcast_object(None)
        raise


def _follow(group: ProcessGroup, device_name: str, requests: Requests) -> None:
    """Train as another process of a group than the first, which plans, evaluates and saves."""
    from charrnn.model.device import choose_device
    from charrnn.model.network import CharRNN
    from charrnn.model.run_settings import RunSettings
    from charrnn.text.corpus import load_corpus
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.training.loop import train
    from charrnn.training.setup import parts_of

    device = choose_device(device_name)
    plan = group.serve_timing(device)
    if plan is None:
        raise typer.Exit(ExitCode.FAILURE)  # the first process has reported why
    settings = RunSettings.from_json(plan["settings"], "the first process")
    corpus = load_corpus(plan["specs"], vocabulary=Vocabulary.from_json(plan["vocabulary"], "the first process"))
    if corpus.sha256 != settings.corpus.sha256:
        raise CharrnnError(f"process {group.rank} reads another text as {corpus.name} than the first process")
    train_text, _ = parts_of(corpus, settings.training)
    network = CharRNN(settings.model, len(corpus.vocabulary)).to(device)
    for _ in train(network, settings.training, train_text, train_text, requests=requests, group=group):
        pass


def _is_restart(name: str | None) -> bool:
    """Return whether torchrun restarted this program after the run was created."""
    from charrnn.model.lookup import run_names, runs_folder
    from charrnn.training.distributed import may_restart, restart_count

    if name is None and may_restart():
        raise UsageError("a restarted program cannot know which run to resume", "give --name, or --resume")
    return restart_count() > 0 and name in run_names(runs_folder())


def _default_corpus() -> str:
    """Offer the corpus that every machine has. Raise UsageError off a terminal, or if the user declines."""
    from charrnn.display.terminal import is_terminal

    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        typer.echo(f"No corpus given. {DEFAULT_CORPUS} is the source code of Python's standard library.", err=True)
        if typer.confirm("Train on it?", default=True, err=True):
            return DEFAULT_CORPUS
    raise UsageError("no corpus given", f"name one, such as: charrnn train {DEFAULT_CORPUS}")


def _load(specs: list[str], as_bytes: bool) -> Corpus:
    from charrnn.cli.progress import transfer_bar
    from charrnn.text.corpus import load_corpus

    with transfer_bar() as progress:
        return load_corpus(specs, as_bytes=as_bytes, progress=progress)
