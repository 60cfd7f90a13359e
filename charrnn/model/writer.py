"""Create runs, save checkpoints and log metrics."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from charrnn.errors import CharrnnError
from charrnn.files import (
    atomic_file,
    atomic_folder,
    is_real_folder,
    make_folder,
    remove_folder,
    remove_leftovers,
    to_json_bytes,
    write_and_sync,
)
from charrnn.model.checkpoint import MODEL_FILE, TRAINING_FILE, Checkpoint, Progress, folder_name, training_shapes
from charrnn.model.device import device_name
from charrnn.model.lock import lock_run
from charrnn.model.lookup import NameTakenError, check_new_name, runs_folder
from charrnn.model.manifest import LARGEST_JSON, write_with_manifest
from charrnn.model.metrics import METRICS_FILE, MetricsWriter
from charrnn.model.network import CharRNN
from charrnn.model.run import HELD_OUT_FILE, VOCABULARY_FILE, Run
from charrnn.model.run_format import CHECKPOINTS_FOLDER, FORMAT, PROGRESS_FILE, RUN_FILE, with_version
from charrnn.model.run_settings import CorpusIdentity, Correction, Origin, RunSettings
from charrnn.model.steps import STEPS_FILE, steps_json
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import file_size

NEWEST_KEPT = 2  # checkpoints


class RunWriter:
    """Saves checkpoints and metrics to a run, and holds its lock."""

    def __init__(self, run: Run, lock: FileIO):
        self.run = run
        self._lock = lock
        self._metrics = MetricsWriter(run.path / METRICS_FILE)

    @classmethod
    def create(
        cls,
        name: str,
        settings: RunSettings,
        vocabulary: Vocabulary,
        held_out: bytes,
        folder: Path,
        first: Mapping[str, Tensor] | None = None,
        progress: Progress | None = None,
    ) -> RunWriter:
        """Create a run and lock it.

        held_out: the encoded start of the held-out text; empty to keep none. first: the weights of its first
        checkpoint. progress: of that checkpoint, which then has no optimizer state; None: the weights are the initial
        ones, of step 0.
        Raises NameTakenError, or CharrnnError where the corpus has too many files, or the disk fails.
        """
        path = folder / check_new_name(name, folder)
        files = {
            RUN_FILE: to_json_bytes(settings.to_json()),
            VOCABULARY_FILE: to_json_bytes(vocabulary.to_json()),
            HELD_OUT_FILE: held_out,
        }
        if len(files[RUN_FILE]) > LARGEST_JSON:
            raise _too_many_files(settings.corpus)
        shapes = training_shapes(settings.model, len(vocabulary), settings.training.batch_size)
        with _disk_errors(path):
            make_folder(folder)
            remove_leftovers(folder)
            _check_free_space(folder, sum(map(len, files.values())) + 3 * 4 * sum(map(math.prod, shapes.values())))
            try:
                with atomic_folder(path) as new:
                    write_with_manifest(new, files)
                    checkpoints = new / CHECKPOINTS_FOLDER[FORMAT]
                    checkpoints.mkdir()
                    if first is not None:
                        saved, training = progress or Progress(), None
                        if progress is None:
                            training = {name: torch.zeros(shape) for name, shape in shapes.items()}
                        with atomic_folder(checkpoints / folder_name(saved.step)) as checkpoint:
                            write_with_manifest(checkpoint, _checkpoint_files(saved, first, training))
            except FileExistsError:
                raise NameTakenError(name) from None
        return cls.open(Run(path))

    @classmethod
    def open(cls, run: Run) -> RunWriter:
        """Lock an existing run. Raises CharrnnError where another process holds the lock, or the disk fails."""
        folder = run.checkpoints_folder
        with _disk_errors(run.path):
            lock = lock_run(run.path)
            try:
                if not folder.exists():
                    make_folder(folder)
                if not is_real_folder(folder):
                    raise CharrnnError(f"{folder} is a link or a file, not a folder")
                for each in (run.path, folder):
                    remove_leftovers(each, exclusive=True)
                return cls(run, lock)
            except BaseException:
                lock.close()
                raise

    def save(self, progress: Progress, model: Mapping[str, Tensor], training: Mapping[str, Tensor]) -> None:
        """Save a checkpoint, then remove those that are no longer needed.

        Raises CharrnnError for non-finite values or a run that was moved, OSError where the disk fails. Older
        checkpoints are kept then.
        """
        for name, tensor in {**model, **training}.items():
            if not bool(torch.isfinite(tensor).all()):
                raise CharrnnError(f"{name} has non-finite values; no checkpoint is saved")
        if not (self.run.path / RUN_FILE).is_file():
            raise CharrnnError(f"the run is no longer in {self.run.path}: move it back to save checkpoints again")
        path = self.run.checkpoints_folder / folder_name(progress.step)
        make_folder(path.parent)  # it may have been deleted
        files = _checkpoint_files(progress, model, training)
        _check_free_space(path.parent, sum(map(len, files.values())))
        if path.exists():  # its last sync failed
            remove_folder(path)
        with atomic_folder(path) as new:
            write_with_manifest(new, files)
        self._remove_old(progress)

    def _remove_old(self, progress: Progress) -> None:
        steps = self.run.checkpoint_steps()
        kept = {*steps[-NEWEST_KEPT:], progress.best_step}
        for step in steps:
            if step not in kept and not self.run.settings.training.keeps(step):
                remove_folder(self.run.checkpoints_folder / folder_name(step))

    def discard_after(self, checkpoint: Checkpoint) -> None:
        """Discard what is newer than the checkpoint that training resumes from.

        Newer checkpoints are damaged and are renamed; later lines of the metrics are removed.
        """
        folder = self.run.checkpoints_folder
        with _disk_errors(folder):
            for step in self.run.checkpoint_steps():
                if step > checkpoint.step:
                    damaged = folder / f"damaged-{folder_name(step)}"
                    remove_folder(damaged)
                    (folder / folder_name(step)).rename(damaged)
            self._metrics.discard_after(checkpoint.step)

    def correct_steps(self, corrections: Sequence[Correction], origin: Origin | None = None) -> None:
        """Change the run's number of steps to that of the last correction; the first one is the plan.

        origin: with the minutes of a run that is extended; None: as before.
        Raises OSError where the disk fails. The number stays the same then.
        """
        origin = origin or self.run.settings.origin
        content = steps_json(corrections, origin.minutes)
        path = self.run.path / STEPS_FILE
        try:
            with atomic_file(path) as new:
                write_and_sync(new, content)
        except OSError:  # the file may have been renamed already, but not synced
            if not self.run.corrections:
                path.unlink(missing_ok=True)
                raise
            if path.read_bytes() != content:
                raise
        training = self.run.settings.training.changed(steps=corrections[-1].steps)
        self.run.settings = dataclasses.replace(self.run.settings, training=training, origin=origin)
        self.run.corrections = tuple(corrections)

    def log(self, event: str, **values: Any) -> None:
        """Log an entry to the run's metrics."""
        self._metrics.log(event, **values)

    def close(self) -> None:
        """Release the lock."""
        self._metrics.close()
        self._lock.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def save_copy(
    run: Run, checkpoint: Checkpoint, network: CharRNN, name: str, because: str, validation_nats: float | None
) -> Run:
    """Save a network as a new, finished run, with the settings and the held-out text of the run it comes from.

    because: where the weights come from. validation_nats: None where the run has no held-out text.
    Raises NameTakenError where the name is taken.
    """
    origin = Origin.here(device_name(network.device), because)
    settings = dataclasses.replace(run.settings, origin=origin, format=FORMAT)
    progress = Progress.of_copy(checkpoint.step, validation_nats)
    held_out, weights = run.held_out_bytes(), network.state_dict()
    with RunWriter.create(name, settings, run.vocabulary, held_out, runs_folder(), weights, progress) as writer:
        return writer.run


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Raise OSErrors as CharrnnErrors."""
    try:
        yield
    except OSError as error:
        raise CharrnnError(f"{error.filename or path} cannot be written: {error.strerror or error}") from None


def _too_many_files(corpus: CorpusIdentity) -> CharrnnError:
    if len(corpus.specs) > len(corpus.held_out_files):
        what, hint = f"the file names of {corpus.name}", "name a folder, or a pattern in quotes, instead of files"
    else:
        what, hint = f"the lengths of the held-out files of {corpus.name}", "choose a smaller `val_fraction`"
    return CharrnnError(f"{what} are too many for {RUN_FILE}", hint)


def _checkpoint_files(
    progress: Progress, model: Mapping[str, Tensor], training: Mapping[str, Tensor] | None
) -> dict[str, bytes]:
    """training: None to save no state to resume from."""
    tensors = {MODEL_FILE: model} | ({} if training is None else {TRAINING_FILE: training})
    files = {
        file: safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in each.items()})
        for file, each in tensors.items()
    }
    return {**files, PROGRESS_FILE: to_json_bytes(with_version(progress.to_json()))}


def _check_free_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{file_size(needed)} needed, {file_size(free)} free", str(folder))
