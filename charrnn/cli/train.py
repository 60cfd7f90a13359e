"""`charrnn train`: from a text to a trained run."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import shlex
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import only_one_of, settings_from, with_settings
from charrnn.errors import CharrnnError, ExitCode, UsageError
from charrnn.settings import DEVICES, ModelSettings, TrainingSettings, flag_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from charrnn.cli.watch import Watch
    from charrnn.model.network import CharRNN
    from charrnn.model.run import Run, RunWriter, Save
    from charrnn.text.corpus import Corpus
    from charrnn.text.documents import Documents
    from charrnn.training.distributed import Ranks

LENGTH = "Length (one of these)"
RUN = "Run"
DATA = "Data"
DEFAULT_CORPUS = "python"
STDIN = "-"
NAME_OF_A_CORPUS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def register(app: typer.Typer) -> None:
    app.command("train")(train)


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
            help="Length of the run in time. Fixed as a number of steps by timing the first few.",
            rich_help_panel=LENGTH,
            show_default="5, on a GPU 3",
        ),
    ] = None,
    as_bytes: Annotated[
        bool, typer.Option("--bytes", help="Learn bytes, of any file, rather than characters.", rich_help_panel=DATA)
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where to compute.", metavar="|".join(DEVICES), rich_help_panel="Machine")
    ] = "auto",
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
            raise UsageError(f"{flag} must be above 0, not {length:g}")
    settings_from(ModelSettings, given), settings_from(TrainingSettings, given)  # out of bounds? then say so at once
    if "documents" in given:
        from charrnn.text.documents import Rule

        Rule(given["documents"])

    from charrnn.cli.watch import Watch
    from charrnn.training import distributed

    out = sys.stderr if as_json else sys.stdout
    with distributed.joined(device) as ranks:
        watch = Watch(out if ranks.is_first else io.StringIO())
        if not ranks.is_first:
            _follow(ranks, device, watch)
            return
        with _told_if_it_fails(ranks):
            if ranks.size > 1 and (STDIN in corpus if corpus else not resume):
                raise UsageError("several ranks need a corpus that each of them can read", "name a file")
            if resume or _is_restart(name):
                length = {} if distributed.restarts() else {"epochs": epochs, "minutes": minutes}
                writer, network, parts, save, specs = _resumed(corpus, name, given | length, as_bytes, device)
                watch.resumed(writer.run, save)
            else:
                specs, save = corpus or [_offered_corpus()], None
                text = _load(specs, as_bytes)
                since = time.perf_counter()
                writer, network, parts = _begun(text, name, init_from, given, epochs, minutes, since, device, watch)
        with writer:
            run = writer.run
            ranks.from_first(
                {"settings": run.settings.to_json(), "vocabulary": run.vocabulary.to_json(), "specs": specs}
            )
            finished = watch.run(writer, network, *parts, resume=save, ranks=ranks)
    watch.summary(writer.run, finished)
    if as_json:
        print(json.dumps(watch.as_json(writer.run, finished)))
    if watch.exit_code != ExitCode.SUCCESS:
        raise typer.Exit(watch.exit_code)


@contextlib.contextmanager
def _told_if_it_fails(ranks: Ranks) -> Iterator[None]:
    """Other ranks, which wait for what the first has planned, are told where there is nothing to do."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(CharrnnError):
            ranks.from_first(None)
        raise


def _follow(ranks: Ranks, device_name: str, watch: Watch) -> None:
    """A rank that is not the first: trains its share of what that one says."""
    from charrnn.model.device import choose_device
    from charrnn.model.network import CharRNN
    from charrnn.model.run import RunSettings
    from charrnn.text.corpus import load_corpus
    from charrnn.text.vocabulary import Vocabulary

    device = choose_device(device_name)
    plan = ranks.obey(device)
    if plan is None:
        return
    settings = RunSettings.from_json(plan["settings"], "the first rank")
    corpus = load_corpus(plan["specs"], vocabulary=Vocabulary.from_json(plan["vocabulary"], "the first rank"))
    if corpus.sha256 != settings.corpus.sha256:
        raise CharrnnError(f"rank {ranks.rank} reads another text as {corpus.name} than the first rank does")
    train_text, _ = _parts(corpus, settings.training)
    watch.follow(settings, CharRNN(settings.model, len(corpus.vocabulary)).to(device), train_text, ranks)


def _is_restart(name: str | None) -> bool:
    """Whether torchrun has begun the program again and the run is there: then it goes on."""
    from charrnn.model.run import run_names, runs_folder
    from charrnn.training import distributed

    if name is None and distributed.may_restart():
        raise UsageError("after a restart nobody could tell which run is meant", "give it a --name, or --resume one")
    return distributed.restarts() > 0 and name in run_names(runs_folder())


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


def _parts(corpus: Corpus, training: TrainingSettings) -> tuple[np.ndarray | Documents, np.ndarray | Documents]:
    """What to train on, and as much of what is held out as a run keeps, so that `evaluate` measures the same."""
    from charrnn.model.run import HELD_OUT_CHARACTERS
    from charrnn.text.documents import Rule

    if training.documents is None:
        train_ids, validation_ids = corpus.split(training.val_fraction)
        return train_ids, validation_ids[:HELD_OUT_CHARACTERS]
    rule = Rule(training.documents)
    train_documents, validation = rule.of(corpus).split(training.val_fraction)
    validation = validation.beginning(HELD_OUT_CHARACTERS)
    return train_documents, rule.within(validation.ids, corpus.vocabulary, validation.lengths())


def _begun(
    corpus: Corpus,
    name: str | None,
    init_from: str | None,
    given: dict[str, Any],
    epochs: float | None,
    minutes: float | None,
    since: float,
    device_name: str,
    watch: Any,
) -> tuple[RunWriter, CharRNN, tuple[Any, Any]]:
    """A new run: settings chosen, the network made, the folder written."""
    import torch

    from charrnn.model import device as devices
    from charrnn.model.network import CharRNN
    from charrnn.model.run import (
        CorpusIdentity,
        Origin,
        RunSettings,
        RunWriter,
        checked_name,
        free_name,
        open_run,
        runs_folder,
    )
    from charrnn.training import presets
    from charrnn.training.distributed import here

    device = devices.choose_device(device_name)
    given = {**given, "precision": devices.choose_precision(given.get("precision", "auto"), device)}
    folder = runs_folder()
    name = checked_name(name) if name is not None else free_name(corpus.name, folder)
    if (folder / name).exists():
        raise UsageError(
            f"there is a run {name} already", f"choose another --name, or go on with --resume --name {name}"
        )
    weights = None
    if init_from is not None:
        parent = open_run(init_from)
        _refuse_contradictions(parent.settings.model, given, f"{parent.name}, from which this begins,")
        given = {**parent.settings.model.to_json(), **given}
        weights = parent.load_network("best")[0].state_dict()
        corpus = corpus.with_vocabulary(parent.vocabulary.extended_with(corpus.vocabulary.characters))
    train_text, validation_text = _parts(corpus, settings_from(TrainingSettings, given))
    if len(validation_text) < 2:
        raise CharrnnError(
            f"{corpus.name} is too short: {len(corpus.ids)} characters leave none to validate on", "give more text"
        )
    steps = given.get("steps")
    if steps is None and epochs is None and minutes is None:
        minutes = presets.DEFAULT_MINUTES[device.type]
    asked = presets.Asked(steps, epochs, minutes, since)
    vocabulary_size = len(corpus.vocabulary)
    choice = presets.choose(len(train_text), vocabulary_size, device, asked, given)
    length = presets.length_of(
        choice, vocabulary_size, train_text, validation_text, device, asked, given.get("evaluations")
    )
    training = choice.training.changed(steps=length.steps, evaluations=length.evaluations)
    network = CharRNN(choice.model, vocabulary_size)
    network.initialise(torch.Generator().manual_seed(training.seed))
    if weights is not None:
        network.begin_from(weights)
    settings = RunSettings(
        choice.model,
        training,
        CorpusIdentity(
            name=corpus.name,
            specs=shlex.join(corpus.specs),
            sha256=corpus.sha256,
            characters=len(corpus.ids),
            held_out=len(corpus) - len(train_text),
            held_out_files=" ".join(map(str, validation_text.lengths())) if training.documents == "files" else "",
        ),
        Origin.here(
            devices.device_name(device) + (f", {here().size} ranks" if here().size > 1 else ""), choice.because
        ),
    )
    kept = corpus.vocabulary.decode(validation_text if training.documents is None else validation_text.ids)
    held_out = kept.encode() if isinstance(kept, str) else kept
    writer = RunWriter.create(name, settings, corpus.vocabulary, held_out, folder, first=network.state_dict())
    watch.begun(writer.run, corpus, length)
    return writer, network.to(device), (train_text, validation_text)


def _resumed(
    specs: list[str] | None, name: str | None, given: dict[str, Any], as_bytes: bool, device_name: str
) -> tuple[RunWriter, CharRNN, tuple[Any, Any], Save, list[str]]:
    """A run that exists, with the same text, at its last save; and what the text was named."""
    from charrnn.model.device import choose_device, choose_precision
    from charrnn.model.network import CharRNN
    from charrnn.model.run import RunWriter, open_run

    run = open_run(name)
    _refuse_contradictions(run.settings.model, given, run.name)
    _refuse_contradictions(run.settings.training, {**given, "precision": None}, run.name)
    for flag in ("epochs", "minutes"):
        if given.get(flag) is not None:
            raise UsageError(
                f"{run.name} has its length, {run.settings.training.steps:,} steps; --{flag} would change it",
                f"leave --{flag} out, or begin a new run with --init-from {run.name}",
            )
    if as_bytes and run.vocabulary.kind != "bytes":
        raise UsageError(f"{run.name} learns {run.vocabulary.kind}, not bytes", "leave --bytes out")
    specs = specs or _specs_that_are_names(run)
    corpus = _load(specs, run.vocabulary.kind == "bytes")
    if corpus.sha256 != run.settings.corpus.sha256:
        raise UsageError(
            f"{run.name} was trained on another text ({run.settings.corpus.name}, SHA-256 "
            f"{run.settings.corpus.sha256[:12]}…) than {corpus.name} ({corpus.sha256[:12]}…)",
            "name the text it was begun on",
        )
    corpus = corpus.with_vocabulary(run.vocabulary)
    device = choose_device(device_name)
    precision = choose_precision(given.get("precision", run.settings.training.precision), device)
    run.settings = dataclasses.replace(run.settings, training=run.settings.training.changed(precision=precision))
    with contextlib.ExitStack() as unless_all_is_well:
        writer = unless_all_is_well.enter_context(RunWriter.open(run))
        save = run.save_to_resume()  # under the lock, so that nobody adds one meanwhile
        if save.progress.finished:
            raise UsageError(
                f"{run.name} is finished, at step {save.step:,}", f"train it further with --init-from {run.name}"
            )
        network = CharRNN(run.settings.model, len(run.vocabulary)).to(device)
        unless_all_is_well.pop_all()
    return writer, network, _parts(corpus, run.settings.training), save, specs


def _specs_that_are_names(run: Run) -> list[str]:
    """What the run was begun on, where those are names in the corpora folder or the catalogue. No other path that a run
    holds is opened: it may come from a stranger."""
    from charrnn.text import catalogue
    from charrnn.text.corpus import corpora_folder

    found = []
    specs = run.settings.corpus.named()
    for spec in specs:
        files = [corpora_folder() / name for name in (spec, f"{spec}.txt")] if NAME_OF_A_CORPUS.fullmatch(spec) else []
        file = next((str(file) for file in files if file.is_file()), None)
        if file is None and not (files and catalogue.find(spec)):
            again = shlex.join(specs)  # quoted anew, so that what a stranger wrote there is safe to paste
            raise UsageError(
                f"{run.name} was trained on {again}", f"name it again: charrnn train {again} --resume --name {run.name}"
            )
        found.append(file or spec)
    return found


def _refuse_contradictions(settings: ModelSettings | TrainingSettings, given: dict[str, Any], whose: str) -> None:
    for name, (_, _, details) in settings.options().items():
        if given.get(name) not in (None, getattr(settings, name)):
            flag = flag_of(name, details)
            raise UsageError(f"{whose} has {flag} {getattr(settings, name)}, not {given[name]}", f"leave {flag} out")
