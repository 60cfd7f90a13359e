"""Runs: what a training leaves on disk, and how it is read. FORMAT.md describes the files, `writer` writes them.

A run may come from a stranger. Nothing in it is executed or unpickled, no link is followed and no path in it opened.
Sizes are checked before memory is allocated; names, shapes and types must be those that the settings require.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.checkpoint import (
    MODEL_FILE,
    TRAINING_FILE,
    Checkpoint,
    folder_name,
    saved_steps,
    skip_damaged,
    training_shapes,
)
from charrnn.model.lock import is_locked
from charrnn.model.manifest import Manifest
from charrnn.model.metrics import METRICS_FILE, read_metrics
from charrnn.model.network import CharRNN, parameter_shapes
from charrnn.model.run_format import CHECKPOINTS_FOLDER, RUN_FILE
from charrnn.model.run_settings import RunSettings
from charrnn.model.steps import read_steps
from charrnn.model.tensors import read_tensors
from charrnn.options import check_names
from charrnn.settings import ReadSettings
from charrnn.text.corpus import load_corpus, read_text
from charrnn.text.documents import DocumentSeparator
from charrnn.text.download import FetchError
from charrnn.text.encoded_text import EncodedText
from charrnn.text.normalization import StreamNormalizer, normalized
from charrnn.text.standard_library import text_from
from charrnn.text.vocabulary import OR_BYTES, NotTextError, StreamDecoder, Vocabulary

VOCABULARY_FILE = "vocabulary.json"
HELD_OUT_FILE = "held_out.bin"
HELD_OUT_CHARACTERS = 2_000_000
WEIGHT_TYPES = ("F32", "F16")  # in a checkpoint
LARGEST_VOCABULARY = 5_000_000  # bytes; all of Unicode takes 4.4 million
NAME_A_TEXT = "name a text, as in `text=Path('FILE')`"
T = TypeVar("T")


class NoHeldOutTextError(CharrnnError):
    """A run was imported without its held-out text."""

    def __init__(self, name: str, hint: str = NAME_A_TEXT):
        super().__init__(f"{name} was imported without held-out text", hint)


class Run:
    """A run on disk. Opening it reads and checks everything but the checkpoints and the held-out text."""

    def __init__(self, path: Path):
        """Raises CharrnnError where there is no run, or it is damaged."""
        if not (path / RUN_FILE).is_file():
            raise CharrnnError(f"{path} is not a run: it has no {RUN_FILE}")
        self.path = path
        self.name = path.name
        self._manifest = Manifest.read(path, {RUN_FILE, VOCABULARY_FILE, HELD_OUT_FILE})
        settings = RunSettings.from_json(self._manifest.read_json(RUN_FILE), str(path / RUN_FILE))
        self.settings, self.corrections = read_steps(path, settings)
        vocabulary = self._manifest.read_json(VOCABULARY_FILE, LARGEST_VOCABULARY)
        self.vocabulary = Vocabulary.from_json(vocabulary, str(path / VOCABULARY_FILE))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def checkpoints_folder(self) -> Path:
        return self.path / CHECKPOINTS_FOLDER[self.settings.format]

    # Text

    @property
    def composes(self) -> bool:
        """Whether generated text is composed for output: the letters of a `jamo` run, to Hangul syllables."""
        return self.settings.corpus.normalize == "jamo"

    def encode(
        self, text: str | bytes, *, source: str = "the text", skip_unknown: bool = False, hint: str | None = None
    ) -> np.ndarray:
        """Return the ids of a text in the normalization of the run. Arguments and errors as for `Vocabulary.encode`."""
        if isinstance(text, str):
            text = normalized(text, self.settings.corpus.normalize)
        return self.vocabulary.encode(text, source=source, skip_unknown=skip_unknown, hint=hint)

    def text(self, ids: Sequence[int] | np.ndarray) -> str:
        """Return the text of ids (N,) for display: as `Vocabulary.text` does, with syllables composed."""
        text = self.vocabulary.text(ids)
        return normalized(text, "nfc") if self.composes else text

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder that gives the same text as `text`."""
        return StreamDecoder(self.vocabulary, StreamNormalizer("nfc") if self.composes else None)

    @cached_property
    def document_separator(self) -> DocumentSeparator | None:
        """What separates documents, if the run was trained on documents."""
        rule = self.settings.training.documents
        return None if rule is None else DocumentSeparator(rule)

    def encoded_text(self, ids: np.ndarray, file_lengths: list[int] | None = None) -> EncodedText:
        """Return ids as the text they are in this run: with document starts if the run was trained on documents.

        file_lengths: of the files that the text consists of; one file if None.
        """
        return _encoded_text(ids, self.document_separator, self.vocabulary, file_lengths)

    @property
    def has_held_out_text(self) -> bool:
        """Whether the run keeps its held-out text or can build it. A run that was imported without it cannot."""
        return self.held_out_size > 0 or self.settings.corpus.held_out_from != ""

    @property
    def held_out_size(self) -> int:
        """Bytes of the held-out text in the run's folder."""
        return self._manifest.entries[HELD_OUT_FILE].size

    def held_out_text(self) -> EncodedText:
        """Return the text of the validation loss: the first `HELD_OUT_CHARACTERS` of the held-out text.

        Raises NoHeldOutTextError in a run that was imported without it.
        """
        if not self.has_held_out_text:
            raise NoHeldOutTextError(self.name)
        if not self.held_out_size:
            return self.encoded_text(self._built_held_out_ids)
        source = str(self.path / HELD_OUT_FILE)
        return encode_held_out(self.settings, self.vocabulary, self.held_out_bytes(), source)

    @cached_property
    def _built_held_out_ids(self) -> np.ndarray:
        """The standard library of this Python from the first held-out file on, without unknown characters."""
        try:
            text = text_from(self.settings.corpus.held_out_from, HELD_OUT_CHARACTERS)
        except FetchError as error:
            raise NoHeldOutTextError(self.name, f"{error}; {NAME_A_TEXT}") from None
        return self.encode(text, skip_unknown=True)

    def held_out_bytes(self) -> bytes:
        """Return the held-out text as it is stored; empty in a run that was imported without it."""
        return self._manifest.read_bytes(HELD_OUT_FILE, 4 * HELD_OUT_CHARACTERS)

    def read_settings(self, **changed: Any) -> ReadSettings:
        """Return how this run reads a text: with the encoding, newlines and normalization of its corpus, or changed."""
        corpus = self.settings.corpus
        own = {name: getattr(corpus, name) for name in ("encoding", "newlines", "normalize")}
        return ReadSettings(**{**own, **changed})

    def read(self, spec: str, *, skip_unknown: bool = False, **changed: Any) -> EncodedText:
        """Return a file, a folder, a corpus by name, or standard input (`-`) as `encoded_text` does.

        skip_unknown: leave out characters that the run does not know. changed: as for `read_settings`.
        Raises CharrnnError where there is no such text, or it holds unknown characters.
        """
        check_names(changed, ReadSettings)
        try:
            return self._read(spec, self.read_settings(**changed), skip_unknown=skip_unknown)
        except NotTextError as error:
            error.hint = error.hint and error.hint.removesuffix(OR_BYTES)  # the run reads either bytes or characters
            raise

    def _read(self, spec: str, reading: ReadSettings, *, skip_unknown: bool) -> EncodedText:
        def encode(text: str | bytes, source: str) -> np.ndarray:
            hint = "use `skip_unknown=True` to skip them"
            return self.vocabulary.encode(text, source=source, skip_unknown=skip_unknown, hint=hint)

        as_bytes = self.vocabulary.kind == "bytes"
        if self.settings.training.documents != "files" or spec == "-":
            text = read_text(spec, as_bytes=as_bytes, reading=reading)
            return self.encoded_text(encode(text, "standard input" if spec == "-" else spec))
        corpus = load_corpus([spec], as_bytes=as_bytes, **reading.to_json())
        pieces = np.split(corpus.ids, np.cumsum(corpus.lengths)[:-1])
        ids = [encode(corpus.vocabulary.decode(piece), file) for piece, file in zip(pieces, corpus.files, strict=True)]
        return self.encoded_text(np.concatenate(ids), [len(each) for each in ids])

    def is_corpus(self, ids: np.ndarray) -> bool:
        """Return whether these are the ids of the text that the run was trained on, by its SHA-256.

        A text whose line ends were converted is recognized where all of them were CRLF, a normalized one where it was
        in NFC or NFD.
        """
        corpus = self.settings.corpus
        if len(ids) != corpus.characters:
            return False
        text = self.vocabulary.decode(ids)
        if isinstance(text, bytes):
            return hashlib.sha256(text).hexdigest() == corpus.sha256
        line_ends = ["\n", "\r\n"] if corpus.newlines == "lf" else ["\n"]
        forms = ["none"] if corpus.normalize == "none" else ["nfc", "nfd"]
        texts = (normalized(text, form).replace("\n", end) for form in forms for end in line_ends)
        stored = (each.encode(corpus.encoding, "replace") for each in texts)
        return any(hashlib.sha256(data).hexdigest() == corpus.sha256 for data in stored)

    # Checkpoints

    def checkpoint_steps(self) -> list[int]:
        """Return the steps of all checkpoints, in ascending order."""
        return saved_steps(self.checkpoints_folder)

    def checkpoint(self, which: str = "best") -> Checkpoint:
        """Return the checkpoint called `best` (lowest validation loss), `last`, or by its step.

        For `best` and `last`, damaged ones are skipped with a CharrnnWarning.
        Raises CharrnnError where there is none, or that of the step is damaged.
        """
        return self._first_intact(which, lambda checkpoint: None)[0]

    def checkpoints(self) -> list[Checkpoint]:
        """Return all checkpoints, the oldest first. Skip damaged ones with a CharrnnWarning."""
        return list(skip_damaged(self.checkpoint_steps(), self._read_checkpoint))

    def resumable_checkpoint(self) -> Checkpoint:
        """Return the newest checkpoint whose files are all intact. Skip damaged ones with a CharrnnWarning.

        Raises CharrnnError where there is none.
        """

        return self._first_intact("last", lambda each: (self.read_model(each), self.read_training(each)))[0]

    def _first_intact(self, which: str, read: Callable[[Checkpoint], T]) -> tuple[Checkpoint, T]:
        """Return the first candidate that can be read, and what `read` returned for it.

        A running training removes checkpoints. Where one is gone by the time it is read, they are listed again.
        """

        def read_unless_removed(checkpoint: Checkpoint) -> tuple[Checkpoint, T]:
            with _check_removal(checkpoint.path):
                return checkpoint, read(checkpoint)

        while True:
            with contextlib.suppress(_RemovedError):
                return next(skip_damaged(self._candidates(which), read_unless_removed))

    def _candidates(self, which: str) -> Iterable[Checkpoint]:
        """Return the checkpoint of that name and then those to fall back to, at least one."""
        steps = self.checkpoint_steps()
        if which in ("best", "last"):
            if not steps:
                raise CharrnnError(f"{self.name} has no checkpoint yet", "train it, or wait for its first evaluation")
            newest_first = skip_damaged(reversed(steps), self._read_checkpoint)
            return newest_first if which == "last" else sorted(newest_first, key=_validation_nats)
        if not which.isascii() or not which.isdigit() or len(which) > 12 or int(which) not in steps:
            existing = ", ".join(map(str, steps))
            raise UsageError(f"{self.name} has no checkpoint {which!r}", f"choose from: best, last, {existing}")
        return [self._read_checkpoint(int(which))]

    def _read_checkpoint(self, step: int) -> Checkpoint:
        with _check_removal(self.checkpoints_folder / folder_name(step)):
            return Checkpoint.read(self.checkpoints_folder, step)

    def load_network(self, which: str = "best", device: torch.device | str = "cpu") -> tuple[CharRNN, Checkpoint]:
        """Return the network with the weights of a checkpoint, in evaluation mode, and the checkpoint.

        which: as for `checkpoint`. Checkpoints with damaged weights are skipped too.
        """
        checkpoint, weights = self._first_intact(which, self.read_model)
        network = CharRNN(self.settings.model, len(self.vocabulary))
        network.load_state_dict(weights)
        return network.to(device).eval(), checkpoint

    def read_model(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """Return the network's parameters as float32, on the CPU."""
        shapes = parameter_shapes(self.settings.model, len(self.vocabulary))
        return read_tensors(checkpoint.path / MODEL_FILE, shapes, checkpoint.manifest.entries[MODEL_FILE], WEIGHT_TYPES)

    def read_training(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """Return the optimizer's moments and the recurrent state of every stream, on the CPU.

        Raises CharrnnError where the checkpoint has neither, as in an imported run.
        """
        if not checkpoint.has_training_state:
            raise CharrnnError(
                f"{self.name} has no optimizer state, so it cannot be resumed",
                f"start a new run from its weights with `init_from={self.name!r}`",
            )
        shapes = training_shapes(self.settings.model, len(self.vocabulary), self.settings.training.batch_size)
        return read_tensors(checkpoint.path / TRAINING_FILE, shapes, checkpoint.manifest.entries[TRAINING_FILE])

    # Training

    def is_finished(self, checkpoint: Checkpoint) -> bool:
        """Return whether training ended at a checkpoint, and the run was not extended there."""
        extended = any(one.restart and one.step >= checkpoint.step for one in self.corrections)
        return checkpoint.progress.finished and not extended

    def is_being_trained(self) -> bool:
        """Return whether a process holds the run's lock."""
        return is_locked(self.path)

    def metrics(self) -> list[dict[str, Any]]:
        """Return what training logged, oldest first."""
        return read_metrics(self.path / METRICS_FILE)


def encode_held_out(settings: RunSettings, vocabulary: Vocabulary, data: bytes, source: str) -> EncodedText:
    """Return the held-out text of a run from the bytes that are stored. source: names them in errors.

    Raises CharrnnError where they contradict the settings or the vocabulary.
    """
    lengths = settings.corpus.held_out_files.split()
    if not all(length.isascii() and length.isdigit() and len(length) < 20 for length in lengths):
        raise CharrnnError(f"{source}: the lengths of the held-out files are not whole numbers")
    try:
        text = data if vocabulary.kind == "bytes" else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CharrnnError(f"{source} is damaged: {error.reason} at byte {error.start}") from None
    rule, ids = settings.training.documents, vocabulary.encode(text, source=source)
    separator = None if rule is None else DocumentSeparator(rule)
    return _encoded_text(ids, separator, vocabulary, [int(length) for length in lengths])


def _encoded_text(
    ids: np.ndarray, separator: DocumentSeparator | None, vocabulary: Vocabulary, file_lengths: list[int] | None
) -> EncodedText:
    return EncodedText(ids) if separator is None else separator.separate(ids, vocabulary, file_lengths)


class _RemovedError(Exception):
    """A checkpoint was removed between listing and reading it."""


@contextlib.contextmanager
def _check_removal(path: Path) -> Iterator[None]:
    """Raise `_RemovedError` instead of a CharrnnError if the checkpoint no longer exists."""
    try:
        yield
    except CharrnnError:
        if not path.exists():
            raise _RemovedError from None
        raise


def _validation_nats(checkpoint: Checkpoint) -> tuple[float, int]:
    nats = checkpoint.progress.validation_nats
    return (math.inf if nats is None else nats, -checkpoint.step)
