"""The side of a run that trains: how its folder is made, how a save is written and committed, how metrics are kept."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor

from charrnn.errors import CharrnnError, UsageError
from charrnn.files import (
    BLOCK,
    file_to_be,
    folder_to_be,
    is_own_folder,
    make_folder,
    open_regular,
    remove_folder,
    remove_leftovers,
    to_json_bytes,
    write_and_sync,
)
from charrnn.model.manifest import LARGEST_JSON, write_files
from charrnn.model.run import (
    STEPS_FILE,
    Checkpoint,
    CorpusIdentity,
    Progress,
    Run,
    RunSettings,
    checked_name,
    training_shapes,
)
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import file_size

SAVES_KEPT = 2
LINES_KEPT = 1_000_000  # bytes of metrics that wait for a disk to take them


class RunWriter:
    """Makes a run's folder, adds saves and metrics, and holds the lock."""

    def __init__(self, run: Run, lock: BinaryIO):
        self.run = run
        self._lock = lock
        self._metrics = open_regular(run.path / "metrics.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._unwritten = b""

    @classmethod
    def create(
        cls,
        name: str,
        settings: RunSettings,
        vocabulary: Vocabulary,
        held_out: bytes,
        folder: Path,
        first: Mapping[str, Tensor] | None = None,
    ) -> RunWriter:
        """Makes checkpoints/NAME and takes its lock.

        held_out: the encoded beginning of the validation text. first: the weights that training begins with, kept as
        the save of step 0, so that a run which is killed at once can be gone on with. Raises CharrnnError where the
        name is taken, the corpus is of more files than can be described, or the folder cannot be written.
        """
        path = folder / checked_name(name)
        files = {
            "run.json": to_json_bytes(settings.to_json()),
            "vocabulary.json": to_json_bytes(vocabulary.to_json()),
            "held_out.bin": held_out,
        }
        if path.exists():
            raise UsageError(
                f"there is a run {name} already", f"choose another --name, or go on with --resume --name {name}"
            )
        if len(files["run.json"]) > LARGEST_JSON:
            raise _too_many_files(settings.corpus)
        training = training_shapes(settings.model, len(vocabulary), settings.training.batch_size)
        with _told_as_error(path):
            make_folder(folder)
            remove_leftovers(folder)
            _check_room(folder, sum(map(len, files.values())) + 3 * 4 * sum(map(math.prod, training.values())))
            with folder_to_be(path) as aside:
                write_files(aside, files)
                (aside / "saves").mkdir()
                if first is not None:
                    nothing = {name: torch.zeros(shape) for name, shape in training.items()}
                    with folder_to_be(aside / "saves" / f"{0:08d}") as save:
                        write_files(save, _files_of_save(Progress(), first, nothing))
        return cls.open(Run(path))

    @classmethod
    def open(cls, run: Run) -> RunWriter:
        """Takes the lock of a run that exists. Raises CharrnnError where another process holds it, or the folder
        cannot be written."""
        with _told_as_error(run.path):
            lock = open_regular(run.path / "lock", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                saves = run.path / "saves"
                if not saves.exists():
                    make_folder(saves)
                if not is_own_folder(saves):
                    raise CharrnnError(f"{saves} is not a folder of the run's own")
                for folder in (run.path, saves):
                    remove_leftovers(folder, alone=True)
                _end_last_line(run.path / "metrics.jsonl")
                return cls(run, lock)
            except BlockingIOError:
                lock.close()
                raise CharrnnError(f"another process is training {run.name}", "wait for it, or stop it") from None
            except BaseException:
                lock.close()
                raise

    def discard_after(self, save: Checkpoint) -> None:
        """Puts out of the way what is newer than the save that training goes on from: saves, which did not verify, and
        lines of metrics, which will be written again."""
        saves = self.run.path / "saves"
        with _told_as_error(saves):
            for step in self.run.checkpoint_steps():
                if step > save.step:
                    damaged = saves / f"damaged-{step:08d}"
                    remove_folder(damaged)
                    (saves / f"{step:08d}").rename(damaged)
            _cut_off_after(self.run.path / "metrics.jsonl", save.step)

    def correct_steps(self, steps: int) -> None:
        """Gives the run another number of steps than it was made with. Raises OSError where the disk fails; then all is
        as it was."""
        path = self.run.path / STEPS_FILE
        try:
            with file_to_be(path) as aside:
                write_and_sync(aside, to_json_bytes({"steps": steps}))
        except OSError:
            path.unlink(missing_ok=True)  # the file may have its name already, and be unsure to last
            raise
        self.run.settings = dataclasses.replace(
            self.run.settings, training=self.run.settings.training.changed(steps=steps)
        )

    def commit(self, progress: Progress, model: Mapping[str, Tensor], training: Mapping[str, Tensor]) -> None:
        """Adds a save, then removes those that are no longer needed.

        Raises CharrnnError where a number is not finite, OSError where the disk fails; saves that exist stay.
        """
        for name, tensor in {**model, **training}.items():
            if not bool(torch.isfinite(tensor).all()):
                raise CharrnnError(f"{name} holds numbers that are not finite; this state is not saved")
        path = self.run.path / "saves" / f"{progress.step:08d}"
        files = _files_of_save(progress, model, training)
        _check_room(path.parent, sum(map(len, files.values())))
        if path.exists():  # its last sync failed
            remove_folder(path)
        with folder_to_be(path) as aside:
            write_files(aside, files)
        self._remove_old(progress)

    def _remove_old(self, progress: Progress) -> None:
        steps = self.run.checkpoint_steps()
        kept = {*steps[-SAVES_KEPT:], progress.best_step}
        for step in steps:
            if step not in kept and not self.run.settings.training.keeps(step):
                remove_folder(self.run.path / "saves" / f"{step:08d}")

    def log(self, event: str, **values: Any) -> None:
        """Adds a line to metrics.jsonl. Where the disk refuses, the line waits for the next one."""
        line = json.dumps({"event": event, **values}, allow_nan=False) + "\n"
        if len(self._unwritten) < LINES_KEPT:
            self._unwritten += line.encode()
        self._write_lines()

    def _write_lines(self) -> None:
        file, end = self._metrics.fileno(), os.fstat(self._metrics.fileno()).st_size
        try:
            while self._unwritten:
                count = os.write(file, self._unwritten)
                self._unwritten, end = self._unwritten[count:], end + count
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, end)  # what was written beyond what the system said it had

    def close(self) -> None:
        self._write_lines()
        self._metrics.close()
        self._lock.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _told_as_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise CharrnnError(f"{error.filename or path} cannot be written: {error.strerror or error}") from None


def _too_many_files(corpus: CorpusIdentity) -> CharrnnError:
    if len(corpus.specs) > len(corpus.held_out_files):
        what, hint = (
            f"the names that make up {corpus.name}",
            "name a folder, or a pattern in quotes, instead of its files",
        )
    else:
        what, hint = f"the lengths of the files held out of {corpus.name}", "choose a smaller --val-fraction"
    return CharrnnError(f"{what} are more than a run can keep", hint)


def _files_of_save(progress: Progress, model: Mapping[str, Tensor], training: Mapping[str, Tensor]) -> dict[str, bytes]:
    return {
        "model.safetensors": safetensors.torch.save({k: v.cpu().contiguous() for k, v in model.items()}),
        "training.safetensors": safetensors.torch.save({k: v.cpu().contiguous() for k, v in training.items()}),
        "progress.json": to_json_bytes(progress.to_json()),
    }


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{file_size(needed)} needed, {file_size(free)} free", str(folder))


def _end_last_line(path: Path) -> None:
    """Cuts off what a crash left of a line, so that the next one begins at a line's start."""
    if path.exists() or path.is_symlink():
        with open_regular(path, os.O_RDWR) as file:
            os.ftruncate(file.fileno(), _line_start(file, file.seek(0, os.SEEK_END)))


def _line_start(file: BinaryIO, end: int) -> int:
    """Where the line begins that the bytes before `end` belong to: after the last newline among them."""
    while end > 0:
        start = max(0, end - BLOCK)
        file.seek(start)
        place = (file.read(end - start) or b"").rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0


def _cut_off_after(path: Path, step: int) -> None:
    """Cuts off the lines at the end that tell of steps after this one."""
    with open_regular(path, os.O_RDWR) as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = _line_start(file, end - 1)
            file.seek(start)
            if end - start > LARGEST_JSON or _step_told(file.read(end - start)) <= step:
                break
            end = start
        os.ftruncate(file.fileno(), end)


def _step_told(line: bytes) -> int:
    try:
        told = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0
    return told if type(told) is int else 0
