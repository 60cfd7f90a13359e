"""`charrnn train`: from a text to a trained run."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import DeviceOption, flowing, only_one_of, with_settings
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.settings import DATA, LENGTH, ModelSettings, TrainingSettings, settings_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charrnn.cli.watch import Watch
    from charrnn.text.corpus import Corpus
    from charrnn.training.distributed import ProcessGroup

RUN = "Run"
DEFAULT_CORPUS = "python"
STDIN = "-"


def register(app: typer.Typer) -> None:
    app.command("train", help=flowing(train))(train)


@with_settings(ModelSettings, TrainingSettings)
def train(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, glob patterns, - for standard input, or names (see: charrnn corpora).",
            metavar="CORPUS...",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run.", rich_help_panel=RUN, show_default="after the corpus")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run (--name, or the newest) exactly.", rich_help_panel=RUN)
    ] = False,
    init_from: Annotated[
        str | None, typer.Option(help="Begin from another run's weights.", metavar="RUN", rich_help_panel=RUN)
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Length of the run in readings of the text.", rich_help_panel=LENGTH)
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Length of the run in time. Fixed as a number of steps by timing a few, and again after the warm-up.",
            rich_help_panel=LENGTH,
            show_default="5, on a GPU 3",
        ),
    ] = None,
    as_bytes: Annotated[
        bool, typer.Option("--bytes", help="Learn bytes, of any file, rather than characters.", rich_help_panel=DATA)
    ] = False,
    device: DeviceOption = "auto",
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Also write what TensorBoard draws, below the run.", rich_help_panel=RUN),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one JSON object on stdout; all else goes to stderr.")
    ] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Train a model on a text.

    Without further options, model and length are chosen for the corpus and the device, to finish well in about five
    minutes (three on a GPU).

    [bold]charrnn train shakespeare.txt[/bold]  ·  [bold]charrnn train src/ --minutes 20 --name mine[/bold]  ·
    [bold]charrnn train shakespeare.txt --resume[/bold]
    """
    only_one_of(steps=given.get("steps"), epochs=epochs, minutes=minutes)
    only_one_of(resume=resume or None, init_from=init_from)
    for flag, length in (("--epochs", epochs), ("--minutes", minutes)):
        if length is not None and not 0 < length < 1e9:
            raise UsageError(f"{flag} must be above 0 and below 1e+09, not {length:g}")
    settings_from(ModelSettings, given), settings_from(TrainingSettings, given)  # out of bounds? then say so at once
    if "documents" in given:
        from charrnn.text.documents import DocumentSeparator

        DocumentSeparator(given["documents"])

    from charrnn.cli.tensorboard import Board, summary_writer
    from charrnn.cli.watch import Watch
    from charrnn.model.device import choose_device, keep_freed_memory
    from charrnn.model.lookup import open_run
    from charrnn.training import distributed, setup

    out = sys.stderr if as_json else sys.stdout
    with distributed.process_group(device) as ranks:
        if choose_device(device).type == "cpu":
            keep_freed_memory()
        watch = Watch(out if ranks.is_first else io.StringIO())
        if not ranks.is_first:
            _follow(ranks, device, watch)
            return
        with _told_if_it_fails(ranks):
            if tensorboard:
                summary_writer()
            if ranks.size > 1 and (STDIN in corpus if corpus else not resume):
                raise UsageError("several ranks need a corpus that each of them can read", "name a file")
            if resume or _is_restart(name):
                run = open_run(name)
                length = {} if distributed.restart_count() else {"epochs": epochs, "minutes": minutes}
                setup.refuse_changes(run, given | length, as_bytes)
                specs = corpus or setup.names_of_corpus(run)
                text = _load(specs, run.vocabulary.kind == "bytes")
                ready = setup.go_on(run, text, precision=given.get("precision"), device_name=device)
                watch.resumed(run, ready.checkpoint)
            else:
                specs = corpus or [_offered_corpus()]
                text = _load(specs, as_bytes)
                ready = setup.begin(
                    text,
                    given,
                    epochs=epochs,
                    minutes=minutes,
                    since=time.perf_counter(),
                    name=name,
                    init_from=init_from,
                    device_name=device,
                )
                watch.begun(ready)
        with ready.writer, contextlib.ExitStack() as on_the_way_out:
            run = ready.writer.run
            ranks.broadcast_object(
                {"settings": run.settings.to_json(), "vocabulary": run.vocabulary.to_json(), "specs": specs}
            )
            if tensorboard:
                first_step = ready.checkpoint.step + 1 if ready.checkpoint is not None else 1
                watch.board = on_the_way_out.enter_context(contextlib.closing(Board(run.path, first_step)))
            finished = watch.run(ready, ranks)
    watch.summary(run, finished)
    if as_json:
        print(json.dumps(watch.as_json(run, finished)))
    if watch.exit_code != ExitCode.SUCCESS:
        raise typer.Exit(watch.exit_code)


@contextlib.contextmanager
def _told_if_it_fails(ranks: ProcessGroup) -> Iterator[None]:
    """Other ranks, which wait for what the first has planned, are told where there is nothing to do."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(CharrnnError):
            ranks.broadcast_object(None)
        raise


def _follow(ranks: ProcessGroup, device_name: str, watch: Watch) -> None:
    """A rank that is not the first: trains its share of what that one says."""
    from charrnn.model.device import choose_device
    from charrnn.model.network import CharRNN
    from charrnn.model.run_settings import RunSettings
    from charrnn.text.corpus import load_corpus
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.training.setup import parts_of

    device = choose_device(device_name)
    plan = ranks.serve_timing(device)
    if plan is None:
        raise typer.Exit(ExitCode.FAILURE)  # the first rank has said why, and does not wait
    settings = RunSettings.from_json(plan["settings"], "the first rank")
    corpus = load_corpus(plan["specs"], vocabulary=Vocabulary.from_json(plan["vocabulary"], "the first rank"))
    if corpus.sha256 != settings.corpus.sha256:
        raise CharrnnError(f"rank {ranks.rank} reads another text as {corpus.name} than the first rank does")
    train_text, _ = parts_of(corpus, settings.training)
    watch.follow(settings, CharRNN(settings.model, len(corpus.vocabulary)).to(device), train_text, ranks)


def _is_restart(name: str | None) -> bool:
    """Whether torchrun has begun the program again and the run is there: then it goes on."""
    from charrnn.model.lookup import run_names, runs_folder
    from charrnn.training import distributed

    if name is None and distributed.may_restart():
        raise UsageError("after a restart nobody could tell which run is meant", "give it a --name, or --resume one")
    return distributed.restart_count() > 0 and name in run_names(runs_folder())


def _offered_corpus() -> str:
    """With no corpus named: in a terminal the one that every machine has, if the person likes; else a mistake."""
    from charrnn.display.terminal import is_terminal

    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        typer.echo(f"No corpus named. {DEFAULT_CORPUS}: the source of this Python's standard library.", err=True)
        if typer.confirm("Train on that?", default=True, err=True):
            return DEFAULT_CORPUS
    raise UsageError("no corpus named", f"name one, such as: charrnn train {DEFAULT_CORPUS}")


def _load(specs: list[str], as_bytes: bool) -> Corpus:
    from charrnn.cli.progress import transfer_bar
    from charrnn.text.corpus import load_corpus

    with transfer_bar() as progress:
        return load_corpus(specs, as_bytes=as_bytes, progress=progress)
