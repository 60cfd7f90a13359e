"""Prepare a training: plan and create a new run, or open an existing one to resume it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.checkpoint import Checkpoint
from charrnn.model.device import choose_device, choose_precision, cpu_threads, device_name
from charrnn.model.lookup import NameTakenError, check_new_name, free_name, open_run, runs_folder
from charrnn.model.network import CharRNN
from charrnn.model.run import HELD_OUT_CHARACTERS, Run
from charrnn.model.run_settings import MAX_CORRECTIONS, CorpusIdentity, Correction, Origin, RunSettings
from charrnn.model.steps import STEPS_FILE
from charrnn.model.writer import RunWriter
from charrnn.options import Settings, settings_from
from charrnn.settings import ModelSettings, ReadSettings, TrainingSettings
from charrnn.text import catalog
from charrnn.text.corpus import Corpus
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText
from charrnn.text.sources import corpora_folder
from charrnn.training.distributed import SINGLE_PROCESS, ProcessGroup
from charrnn.training.forecast import LossForecast
from charrnn.training.options import TrainOptions
from charrnn.training.planning import Budget, Plan, Timing, Workload, make_plan, measure_timing, plan_rest
from charrnn.training.presets import DEFAULT_MINUTES, ChosenSettings, choose_settings
from charrnn.units import amount, count

CORPUS_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class UnnamedCorpusError(UsageError):
    """The corpus of a run to resume has to be named. corpus: as arguments. arguments: others, that resume the run."""

    def __init__(self, run: str, corpus: str, arguments: str):
        self.corpus, self.arguments = corpus, arguments
        super().__init__(f"{run} was trained on {corpus}", f"name it, with {arguments}")


@dataclass(frozen=True)
class PreparedRun:
    """All that `loop.train` needs.

    corpus: in the run's vocabulary. writer: None on all processes of a group but the first. checkpoint: to resume from.
    plan: of a new run, or of a resumed one that has a deadline. forecast_nats: the validation loss to expect of a new
    run; None where it cannot be foreseen.
    initialized_from: the checkpoint of another run whose weights a new run starts from.
    """

    settings: RunSettings
    network: CharRNN
    corpus: Corpus
    train_text: EncodedText
    validation_text: EncodedText
    writer: RunWriter | None = None
    checkpoint: Checkpoint | None = None
    plan: Plan | None = None
    forecast_nats: float | None = None
    initialized_from: Checkpoint | None = None


def split_corpus(corpus: Corpus, training: TrainingSettings) -> tuple[EncodedText, EncodedText]:
    """Return the training text, and as much of the validation text as a run keeps."""
    if training.documents is None:
        train_text, validation_text = EncodedText(corpus.ids).split(training.val_fraction)
        return train_text, validation_text[:HELD_OUT_CHARACTERS]
    separator = DocumentSeparator(training.documents)
    documents = separator.separate(corpus.ids, corpus.vocabulary, corpus.lengths)
    train_text, validation_text = documents.split(training.val_fraction)
    validation_text = validation_text[:HELD_OUT_CHARACTERS]
    lengths = validation_text.document_lengths()
    return train_text, separator.separate(validation_text.ids, corpus.vocabulary, lengths)


def prepare_new_run(
    corpus: Corpus, options: TrainOptions, *, started: float | None = None, group: ProcessGroup = SINGLE_PROCESS
) -> PreparedRun:
    """Choose what the options leave open, and create the run's folder.

    started: when the minutes began, by `time.perf_counter`; None is now.
    Raises CharrnnError where the text is too short, UsageError where the name is taken or a setting contradicts the run
    to initialize from.
    """
    device = choose_device(options.device)
    if options.name is not None:
        hint = f"choose another `name`, or resume it with `resume=True` `name={options.name!r}`"
        check_new_name(options.name, runs_folder(), hint)
    explicit, weights, parent = dict(options.settings), None, None
    if options.init_from is not None:
        explicit, weights, corpus, parent = _initialize_from(open_run(options.init_from), explicit, corpus)
    model = settings_from(ModelSettings, explicit)
    explicit["precision"] = choose_precision(explicit.get("precision", "auto"), device, model)
    texts = split_corpus(corpus, settings_from(TrainingSettings, explicit))
    if len(texts[1]) < 2:
        raise CharrnnError(
            f"{corpus.name} is too short to hold out a validation text: it has {amount(len(corpus), 'character')}",
            "give more text, or a larger `val_fraction`",
        )
    steps, minutes = explicit.get("steps"), options.minutes
    if steps is None and options.epochs is None and minutes is None:
        minutes = DEFAULT_MINUTES[device.type]
    budget = Budget(steps, options.epochs, minutes, time.perf_counter() if started is None else started)
    chosen, plan = _choose_and_plan(texts, len(corpus.vocabulary), device, budget, explicit, group)
    model, training = chosen.model, chosen.training
    forecast_nats = None
    if weights is None and not {"hidden_size", "recurrence"} & explicit.keys():
        forecast = LossForecast.fit(*texts)
        characters = training.steps * training.batch_size * training.seq_length
        if forecast is not None:
            forecast_nats = forecast.plausible_nats_after(characters, len(corpus.vocabulary))
    network = CharRNN(model, len(corpus.vocabulary))
    network.initialize(torch.Generator().manual_seed(training.seed))
    if weights is not None:
        network.load_matching_weights(weights)
    ranks = f", {group.size} ranks" if group.size > 1 else ""
    with cpu_threads(training.threads):  # the name of a CPU includes their number
        origin = Origin.here(device_name(device) + ranks, chosen.because, budget.minutes)
    settings = RunSettings(model, training, _identity(corpus, texts, training), origin)
    writer = _create_run(options.name, settings, corpus, texts[1], network)
    return PreparedRun(
        settings,
        network.to(device),
        corpus,
        *texts,
        writer,
        plan=plan,
        forecast_nats=forecast_nats,
        initialized_from=parent,
    )


def _create_run(
    given_name: str | None, settings: RunSettings, corpus: Corpus, validation_text: EncodedText, network: CharRNN
) -> RunWriter:
    """Create the folder of a run. given_name: None for a free name after the corpus."""
    folder, held_out = runs_folder(), corpus.vocabulary.decode(validation_text.ids)
    held_out = held_out.encode() if isinstance(held_out, str) else held_out
    while True:
        name = given_name or free_name(corpus.name, folder)
        try:
            return RunWriter.create(name, settings, corpus.vocabulary, held_out, folder, network.state_dict())
        except NameTakenError:  # by another process, since the name was chosen
            if given_name is not None:
                raise


def _initialize_from(
    parent: Run, explicit: dict[str, Any], corpus: Corpus
) -> tuple[dict[str, Any], dict[str, Tensor], Corpus, Checkpoint]:
    """Return the settings with the parent's model, its best weights, the corpus in an extended vocabulary, and the
    checkpoint of these weights.
    """
    owner = f"{parent.name}, whose weights this run starts from,"
    _refuse_contradictions(parent.settings.model, explicit, owner)
    _refuse_contradictions(parent.settings.corpus.reading, {"normalize": corpus.reading.normalize}, owner)
    network, checkpoint = parent.load_network("best")
    vocabulary = parent.vocabulary.extended_with(corpus.vocabulary.characters)
    settings = {**parent.settings.model.to_json(), **explicit}
    return settings, network.state_dict(), corpus.with_vocabulary(vocabulary), checkpoint


def _choose_and_plan(
    texts: tuple[EncodedText, EncodedText],
    vocabulary_size: int,
    device: torch.device,
    budget: Budget,
    explicit: dict[str, Any],
    group: ProcessGroup,
) -> tuple[ChosenSettings, Plan]:
    """Return settings with the planned number of steps and evaluations, and the plan."""
    chosen = choose_settings(len(texts[0]), vocabulary_size, device, budget, explicit, group=group)
    group.rows(chosen.training.batch_size)  # raises where there are too few rows, before a run is created
    work = Workload(chosen.model, chosen.training, vocabulary_size, texts[0], device, group)
    timing = measure_timing(work, texts[1], budget)
    fixed = {name: explicit.get(name) for name in ("evaluations", "val_characters")}
    plan = make_plan(budget, timing, texts, chosen.training, time.perf_counter(), **fixed)
    training = chosen.training.changed(
        steps=plan.steps, evaluations=plan.evaluations, val_characters=plan.val_characters, threads=timing.threads
    )
    read = training.steps * training.batch_size * training.seq_length
    epochs = read / len(texts[0])
    length = f"{count(read)} characters, {f'{epochs:,.0f}' if epochs >= 10 else f'{epochs:.2g}'} epochs"
    because = "; ".join(filter(None, [length, chosen.because]))
    return dataclasses.replace(chosen, training=training, because=because), plan


def _identity(corpus: Corpus, texts: tuple[EncodedText, EncodedText], training: TrainingSettings) -> CorpusIdentity:
    train_text, validation_text = texts
    lengths = " ".join(map(str, validation_text.document_lengths())) if training.documents == "files" else ""
    return CorpusIdentity(
        name=corpus.name,
        specs=shlex.join(corpus.specs),
        sha256=corpus.sha256,
        characters=len(corpus),
        held_out=len(corpus) - len(train_text),
        held_out_files=lengths,
        **corpus.reading.to_json(),
    )


def refuse_changes(run: Run, options: TrainOptions) -> None:
    """Raise UsageError where the options would change the run to resume."""
    _refuse_contradictions(run.settings.model, options.settings, run.name)
    of_this_machine = {"precision": None, "threads": None}
    _refuse_contradictions(run.settings.training, {**options.settings, **of_this_machine}, run.name)
    read = settings_from(ReadSettings, options.settings).to_json()
    given = {name: value for name, value in read.items() if name in options.settings}
    _refuse_contradictions(run.settings.corpus.reading, given, run.name)
    for name, length in (("epochs", options.epochs), ("minutes", options.minutes)):
        if length is not None:
            raise UsageError(
                f"{run.name} has {run.settings.training.steps:,} steps; `{name}` would change them",
                f"leave `{name}` out, or start a new run with `init_from={run.name!r}`",
            )
    if options.as_bytes and run.vocabulary.kind != "bytes":
        raise UsageError(f"{run.name} learns {run.vocabulary.kind}, not bytes", "leave `as_bytes` out")


def corpus_specs(run: Run, option: str) -> list[str]:
    """Return the corpus that a run was started with, if it consists of names in the corpora folder or the catalog.

    Other paths are not opened, because the run may come from a stranger. Raises UsageError where it has one.
    option: the argument that resumes or extends the run, for the error.
    """
    found = []
    for spec in run.settings.corpus.named():
        files = [corpora_folder() / name for name in (spec, f"{spec}.txt")] if CORPUS_NAME.fullmatch(spec) else []
        file = next((str(file) for file in files if file.is_file()), None)
        if file is None and not (files and catalog.find(spec)):
            raise UnnamedCorpusError(run.name, run.settings.corpus.quoted(), f"{option} `name={run.name!r}`")
        found.append(file or spec)
    return found


def prepare_resume(
    run: Run, corpus: Corpus, options: TrainOptions, *, group: ProcessGroup = SINGLE_PROCESS
) -> PreparedRun:
    """Open a run at its newest intact checkpoint. Only precision and threads may differ from the run's.

    A run that was started for some minutes has those left that it has not been trained for. A finished one is extended
    if the options say so.

    Raises UsageError where the corpus is not the run's, or the run is finished, or to be extended and not finished.
    """
    if corpus.sha256 != run.settings.corpus.sha256:
        raise UsageError(
            f"{run.name} was trained on another text ({run.settings.corpus.name}, SHA-256 "
            f"{run.settings.corpus.sha256[:12]}…) than {corpus.name} ({corpus.sha256[:12]}…)",
            "name the text it was started with",
        )
    if corpus.reading.decoding != (decoding := run.settings.corpus.decoding) and run.vocabulary.kind != "bytes":
        read_as = ", ".join(decoding)
        raise UsageError(f"{run.name} reads its text as {read_as}, not as {', '.join(corpus.reading.decoding)}")
    started = time.perf_counter()
    corpus = corpus.with_vocabulary(run.vocabulary)
    device, model, training = choose_device(options.device), run.settings.model, run.settings.training
    precision = options.settings.get("precision") or training.precision
    training = training.changed(
        precision=choose_precision(precision, device, model),
        threads=options.settings.get("threads") or (training.threads if group.is_single else None),
    )
    run.settings = dataclasses.replace(run.settings, training=training)
    with contextlib.ExitStack() as on_error:
        writer = on_error.enter_context(RunWriter.open(run))
        checkpoint = run.resumable_checkpoint()  # after the lock is taken, so that no other process adds one
        _check_finished(run, checkpoint, options)
        network = CharRNN(model, len(run.vocabulary)).to(device)
        texts, plan = split_corpus(corpus, training), None
        minutes, steps = run.settings.origin.minutes, None
        if options.extension is not None:
            minutes, steps = options.more_minutes, options.more_steps
        if minutes is not None or steps is not None:
            budget = Budget(steps, minutes=minutes, started=started)
            work = Workload(model, training, len(run.vocabulary), texts[0], device, group)
            timing = measure_timing(work, texts[1], budget)
            if options.extension is None:
                plan = plan_rest(run.settings, checkpoint.progress.seconds, timing, len(texts[1]), started)
            else:
                plan = _extend(writer, checkpoint, budget, timing, texts)
        on_error.pop_all()
    return PreparedRun(run.settings, network, corpus, *texts, writer, checkpoint, plan)


def _check_finished(run: Run, checkpoint: Checkpoint, options: TrainOptions) -> None:
    """Raise UsageError where a finished run is to be resumed, or one that is not finished to be extended."""
    finished, name = run.is_finished(checkpoint), run.name
    if options.extension is None and finished:
        hint = f"train it further with `more_minutes=10`, or with `init_from={name!r}`"
        raise UsageError(f"{name} is finished, at step {checkpoint.step:,}", hint)
    if options.extension is not None and not finished:
        raise UsageError(f"{name} is not finished", f"resume it first, with `resume=True` `name={name!r}`")
    if options.extension is not None and checkpoint.step < run.settings.training.steps:
        raise UsageError(
            f"{name} was stopped early because its validation loss rose, so more training makes it worse",
            f"start a new run with `init_from={name!r}` and more text or `dropout`",
        )


def _extend(
    writer: RunWriter, checkpoint: Checkpoint, budget: Budget, timing: Timing, texts: tuple[EncodedText, EncodedText]
) -> Plan:
    """Record that a finished run gets more steps. Return the plan for them."""
    run = writer.run
    training, origin = run.settings.training, run.settings.origin
    corrections = run.corrections or (Correction(0, training.steps, training.evaluations),)
    if len(corrections) > MAX_CORRECTIONS:
        raise CharrnnError(
            f"the number of steps of {run.name} was changed {len(corrections) - 1} times, which is the most",
            f"start a new run with `init_from={run.name!r}`",
        )
    now = time.perf_counter()
    plan = make_plan(budget, timing, texts, training, now, val_characters=training.val_characters)
    step = checkpoint.step
    minutes = None if budget.minutes is None else checkpoint.progress.seconds / 60 + budget.minutes
    correction = Correction(step, step + plan.steps, min(plan.evaluations, plan.steps), restart=True)
    try:
        writer.correct_steps([*corrections, correction], origin.changed(minutes=minutes))
    except OSError as error:
        raise CharrnnError(f"{run.path / STEPS_FILE} cannot be written: {error.strerror or error}") from None
    return plan


def _refuse_contradictions(settings: Settings, explicit: Mapping[str, Any], owner: str) -> None:
    def shown(value: Any) -> str:
        return (shlex.join(value) or "nothing") if isinstance(value, tuple) else str(value)

    for name in settings.options():
        if explicit.get(name) not in (None, value := getattr(settings, name)):
            raise UsageError(f"{owner} has `{name}` {shown(value)}, not {shown(explicit[name])}", f"leave `{name}` out")
