"""Before the first step: a new run is planned and made, or one that exists is opened where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
from dataclasses import dataclass
from typing import Any

import torch

from charrnn.errors import CharrnnError, UsageError
from charrnn.model import device as devices
from charrnn.model.checkpoint import Checkpoint
from charrnn.model.lookup import check_name, free_name, open_run, runs_folder
from charrnn.model.network import CharRNN
from charrnn.model.run import HELD_OUT_CHARACTERS, Run
from charrnn.model.run_settings import CorpusIdentity, Origin, RunSettings
from charrnn.model.writer import RunWriter
from charrnn.settings import ModelSettings, TrainingSettings, settings_from
from charrnn.text import catalog
from charrnn.text.corpus import Corpus
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText
from charrnn.text.sources import corpora_folder
from charrnn.training import presets
from charrnn.training.distributed import current_group
from charrnn.training.forecast import TextDifficulty
from charrnn.units import amount

NAME_OF_A_CORPUS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Ready:
    """All that `loop.train` needs.

    save: where to go on from, None for a new run. length: the forecast for a new run; nats: of its validation
    loss, where the text is long enough to tell. corpus: in the run's vocabulary.
    """

    writer: RunWriter
    network: CharRNN
    corpus: Corpus
    train_text: EncodedText
    validation_text: EncodedText
    checkpoint: Checkpoint | None = None
    length: presets.Length | None = None
    nats: float | None = None


def parts_of(corpus: Corpus, training: TrainingSettings) -> tuple[EncodedText, EncodedText]:
    """What to train on, and as much of what is held out as a run keeps, so that `evaluate` measures the same."""
    if training.documents is None:
        train_text, validation_text = EncodedText(corpus.ids).split(training.val_fraction)
        return train_text, validation_text[:HELD_OUT_CHARACTERS]
    rule = DocumentSeparator(training.documents)
    train_documents, validation = rule.separate(corpus.ids, corpus.vocabulary, corpus.lengths).split(training.val_fraction)
    validation = validation[:HELD_OUT_CHARACTERS]
    return train_documents, rule.separate(validation.ids, corpus.vocabulary, validation.document_lengths())


def begin(
    corpus: Corpus,
    given: dict[str, Any],
    *,
    epochs: float | None = None,
    minutes: float | None = None,
    since: float,
    name: str | None = None,
    init_from: str | None = None,
    device_name: str = "auto",
) -> Ready:
    """Makes a new run: chooses the settings that are not `given`, makes the network, writes the folder.

    epochs, minutes: its length, unless `given` has steps; with none of the three the device's usual minutes.
    since: when the minutes began, by `time.perf_counter`. name: the run's, after the corpus if None. init_from: the run
    whose weights to begin from.
    Raises CharrnnError where the text is too short, a name is taken or a setting contradicts the parent's.
    """
    device = devices.choose_device(device_name)
    folder = runs_folder()
    name = check_name(name) if name is not None else free_name(corpus.name, folder)
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
    recurrence = settings_from(ModelSettings, given).recurrence
    given = {**given, "precision": devices.choose_precision(given.get("precision", "auto"), device, recurrence)}
    train_text, validation_text = parts_of(corpus, settings_from(TrainingSettings, given))
    if len(validation_text) < 2:
        raise CharrnnError(
            f"{corpus.name} is too short: of {amount(len(corpus), 'character')} none is left to validate on",
            "give more text, or a larger --val-fraction",
        )
    steps = given.get("steps")
    if steps is None and epochs is None and minutes is None:
        minutes = presets.DEFAULT_MINUTES[device.type]
    asked = presets.RequestedLength(steps, epochs, minutes, since)
    vocabulary_size = len(corpus.vocabulary)
    choice = presets.choose(len(train_text), vocabulary_size, device, asked, given)
    current_group().rows(
        choice.training.batch_size
    )  # refused before there is a run, where there are too few for all ranks
    was_chosen = weights is None and not {"hidden_size", "recurrence"} & given.keys()
    hardness = TextDifficulty.of(train_text, validation_text) if was_chosen else None
    length = presets.length_of(
        choice, vocabulary_size, train_text, validation_text, device, asked, given.get("evaluations")
    )
    training = choice.training.changed(steps=length.steps, evaluations=length.evaluations)
    network = CharRNN(choice.model, vocabulary_size)
    network.initialize(torch.Generator().manual_seed(training.seed))
    if weights is not None:
        network.load_matching_weights(weights)
    ranks = f", {current_group().size} ranks" if current_group().size > 1 else ""
    settings = RunSettings(
        choice.model,
        training,
        CorpusIdentity(
            name=corpus.name,
            specs=shlex.join(corpus.specs),
            sha256=corpus.sha256,
            characters=len(corpus),
            held_out=len(corpus) - len(train_text),
            held_out_files=" ".join(map(str, validation_text.document_lengths()))
            if training.documents == "files"
            else "",
        ),
        Origin.here(devices.device_name(device) + ranks, choice.because),
    )
    kept = corpus.vocabulary.decode(validation_text.ids)
    held_out = kept.encode() if isinstance(kept, str) else kept
    writer = RunWriter.create(name, settings, corpus.vocabulary, held_out, folder, first=network.state_dict())
    characters = training.steps * training.batch_size * training.seq_length
    nats = None if hardness is None else hardness.nats_to_expect(characters)
    return Ready(writer, network.to(device), corpus, train_text, validation_text, length=length, nats=nats)


def refuse_changes(run: Run, given: dict[str, Any], as_bytes: bool) -> None:
    """Raises UsageError where options (name → value) would make another run of this one than it is."""
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


def names_of_corpus(run: Run) -> list[str]:
    """What the run was begun on, where those are names in the corpora folder or the catalog.

    No other path that a run holds is opened: it may come from a stranger. Raises UsageError where there is one.
    """
    found = []
    specs = run.settings.corpus.named()
    for spec in specs:
        files = [corpora_folder() / name for name in (spec, f"{spec}.txt")] if NAME_OF_A_CORPUS.fullmatch(spec) else []
        file = next((str(file) for file in files if file.is_file()), None)
        if file is None and not (files and catalog.find(spec)):
            again = shlex.join(specs)  # quoted anew, so that what a stranger wrote there is safe to paste
            raise UsageError(
                f"{run.name} was trained on {again}", f"name it again: charrnn train {again} --resume --name {run.name}"
            )
        found.append(file or spec)
    return found


def go_on(run: Run, corpus: Corpus, *, precision: str | None = None, device_name: str = "auto") -> Ready:
    """Opens a run at its last save. precision: another one than it had, if given.

    Raises UsageError where the corpus is another than the run's or the run is finished.
    """
    if corpus.sha256 != run.settings.corpus.sha256:
        raise UsageError(
            f"{run.name} was trained on another text ({run.settings.corpus.name}, SHA-256 "
            f"{run.settings.corpus.sha256[:12]}…) than {corpus.name} ({corpus.sha256[:12]}…)",
            "name the text it was begun on",
        )
    corpus = corpus.with_vocabulary(run.vocabulary)
    device = devices.choose_device(device_name)
    training = run.settings.training
    chosen = devices.choose_precision(precision or training.precision, device, run.settings.model.recurrence)
    training = training.changed(precision=chosen)
    run.settings = dataclasses.replace(run.settings, training=training)
    with contextlib.ExitStack() as unless_all_is_well:
        writer = unless_all_is_well.enter_context(RunWriter.open(run))
        save = run.resumable_checkpoint()  # under the lock, so that nobody adds one meanwhile
        if save.progress.finished:
            raise UsageError(
                f"{run.name} is finished, at step {save.step:,}", f"train it further with --init-from {run.name}"
            )
        network = CharRNN(run.settings.model, len(run.vocabulary)).to(device)
        unless_all_is_well.pop_all()
    return Ready(writer, network, corpus, *parts_of(corpus, training), checkpoint=save)


def _refuse_contradictions(settings: ModelSettings | TrainingSettings, given: dict[str, Any], whose: str) -> None:
    for name, option in settings.options().items():
        if given.get(name) not in (None, getattr(settings, name)):
            raise UsageError(
                f"{whose} has {option.flag} {getattr(settings, name)}, not {given[name]}", f"leave {option.flag} out"
            )
