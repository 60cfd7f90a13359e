"""A run: the folder a training leaves behind, and the only code that writes or reads it.

    checkpoints/NAME/
        run.json             format version; settings of model and training; corpus (name, size, SHA-256); what made it
        vocabulary.json      the characters, in the order of their ids
        held_out.bin         the first characters of the validation text, UTF-8 (raw bytes with --bytes), so that a run
                             can be looked into on a machine that has no copy of its corpus
        manifest.json        name → size and SHA-256 of the three files above
        metrics.jsonl        one JSON object a line: {"event": "evaluation" | "explosion", "step": …, …}
        lock                 held by the process that trains
        saves/00001200/      the state after 1,200 steps; the name is the step
            model.safetensors      the network's parameters, by PyTorch's names, float32
            training.safetensors   `adam.m.NAME`, `adam.v.NAME` (first and second moments), `state.LAYER.h|c` (B, H)
            progress.json          step, validation nats at this step, the rest that training needs to go on
            manifest.json          name → size and SHA-256 of the three files above

run.json, vocabulary.json and held_out.bin never change once the run exists. A save is written aside, forced to the disk
and renamed, so a folder below saves/ is whole; nothing points at it from elsewhere: `last` is the highest step, `best`
the lowest validation loss. A run is made with its save of step 0, so it can be gone on with from its first moment. A
save that does not verify is passed over for the one before it, with a warning; where training goes on from that one,
the newer ones are put out of the way as saves/damaged-STEP.

A run may come from a stranger. Its files are data: nothing in them is run or unpickled, no path in them is opened and
no link in it followed, sizes are bounded and checked before anything is allocated for them, names, shapes and types
must be exactly those that the settings call for, and no weight may be infinite or not a number.

FORMAT counts up when an older charrnn could not read what a newer one writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import fcntl
import hashlib
import json
import math
import os
import platform
import re
import shlex
import shutil
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from charrnn import __version__
from charrnn.errors import CharrnnError, CharrnnWarning, UsageError
from charrnn.files import (
    BLOCK,
    folder_to_be,
    from_json_bytes,
    make_folder,
    open_regular,
    read_bounded,
    remove_folder,
    remove_leftovers,
    to_json_bytes,
    write_and_sync,
)
from charrnn.model.network import RECURRENCES, CharRNN, parameter_shapes
from charrnn.settings import ModelSettings, Settings, TrainingSettings, option
from charrnn.text.documents import Documents, Rule
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import file_size

FORMAT = 1
HELD_OUT_CHARACTERS = 2_000_000
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LARGEST_JSON = 1_000_000
LARGEST_VOCABULARY = 5_000_000  # every code point there is takes 4.4 million bytes
LARGEST_METRICS = 64_000_000
LARGEST_HEADER = 1_000_000
LARGEST_TENSORS = 40_000_000_000
MOST = 10**15  # steps, characters: beyond anything that is counted
SAVES_KEPT = 2
FIRST_LOSS_SCALE = 2.0**16
LINES_KEPT = 1_000_000  # bytes of metrics that wait for a disk to take them


def runs_folder() -> Path:
    """Where runs are kept: checkpoints/ in the current directory, or below $CHARRNN_HOME."""
    return Path(os.environ.get("CHARRNN_HOME", ".")) / "checkpoints"


@dataclass(frozen=True)
class CorpusIdentity(Settings):
    """What a run was trained on. The hash is over the text as trained on, all of its files one after the other."""

    name: str = option("", "How the corpus is called.")
    specs: str = option("", "What was named on the command line, as one shell-quoted string. Shown, never opened.")
    sha256: str = option("", "Hash of the text's bytes.")
    characters: int = option(0, "Length of the text.", at_least=0, at_most=MOST)
    held_out: int = option(0, "Characters at its end that are held out for validation.", at_least=0, at_most=MOST)
    held_out_files: str = option("", "Lengths of the held-out files, where those are documents; spaces between.")

    def named(self) -> list[str]:
        """The specs one by one. Raises CharrnnError where they were never quoted by `shlex.join`."""
        try:
            return shlex.split(self.specs)
        except ValueError:
            raise CharrnnError(f"the corpus is named {self.specs[:100]!r}, which no shell could read") from None


@dataclass(frozen=True)
class Origin(Settings):
    """What made a run, and when."""

    created: str = option("", "UTC, ISO 8601.")
    device: str = option("", "The device it was begun on, in words.")
    charrnn: str = option("", "Version.")
    torch: str = option("", "Version.")
    python: str = option("", "Version.")
    chosen_because: str = option("", "Why these settings, in words.")

    @classmethod
    def here(cls, device: str, chosen_because: str) -> Origin:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(now, device, __version__, str(torch.__version__), platform.python_version(), chosen_because)


@dataclass(frozen=True)
class RunSettings:
    """All that run.json holds."""

    model: ModelSettings
    training: TrainingSettings
    corpus: CorpusIdentity
    origin: Origin

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **{f.name: getattr(self, f.name).to_json() for f in dataclasses.fields(self)}}

    @classmethod
    def from_json(cls, data: Any, source: str) -> RunSettings:
        parts = {"model": ModelSettings, "training": TrainingSettings, "corpus": CorpusIdentity, "origin": Origin}
        if not isinstance(data, dict) or "format" not in data:
            raise CharrnnError(f"{source} does not describe a run")
        if data["format"] != FORMAT:
            raise CharrnnError(
                f"{source} has format {data['format']!r}; this charrnn reads format {FORMAT}",
                "use the version of charrnn that made it, or a newer one",
            )
        strange = sorted(set(data) ^ {"format", *parts})
        if strange:
            raise CharrnnError(f"{source}: {strange[0]!r} is {'unknown' if strange[0] in data else 'missing'}")
        return cls(**{name: part.from_json(data[name], source) for name, part in parts.items()})


@dataclass(frozen=True)
class Progress(Settings):
    """How far a save is: what training needs, beside tensors, to go on as if it had not stopped."""

    step: int = option(0, "Updates made.", at_least=0, at_most=MOST)
    seconds: float = option(0.0, "Time trained, over all sessions.", at_least=0)
    evaluated_step: int = option(0, "The step of the last evaluation; 0: there was none.", at_least=0, at_most=MOST)
    loss_sum: float = option(0.0, "Training nats, one mean for each step since then, summed.")
    weight_sum: float = option(0.0, "The weights of these means, 1 for a window that is full.", at_least=0)
    validation_nats: float | None = option(None, "Validation loss at this step, if it was measured here.")
    best_nats: float | None = option(None, "Lowest validation loss so far.")
    best_step: int | None = option(None, "The step of that.", at_least=0, at_most=MOST)
    evaluations_without_better: int = option(0, "Evaluations since then.", at_least=0, at_most=MOST)
    rate_scale: float = option(1.0, "Learning rates are multiplied by this; halved after each explosion.", above=0)
    loss_scale: float = option(FIRST_LOSS_SCALE, "In fp16, losses are multiplied by this before the way back.", above=0)
    skipped_steps: int = option(0, "Steps left out because a gradient was not finite.", at_least=0, at_most=MOST)
    skipped_in_a_row: int = option(0, "How many of those were the last ones made.", at_least=0, at_most=MOST)
    finished: bool = option(False, "Whether training had come to its end.")


@dataclass(frozen=True)
class Save:
    """One folder below saves/, verified."""

    path: Path
    progress: Progress
    sizes: Mapping[str, tuple[int, str]]

    @property
    def step(self) -> int:
        return self.progress.step


class Run:
    """A run that exists. Opening one reads and checks all but the tensors, which are read when they are asked for."""

    def __init__(self, path: Path):
        """Raises CharrnnError where there is no run, or it is damaged."""
        self.path = path
        self.name = path.name
        if not (path / "run.json").is_file():
            raise CharrnnError(f"{path} is not a run: it has no run.json")
        sizes = _read_manifest(path, {"run.json", "vocabulary.json", "held_out.bin"})
        self.settings = RunSettings.from_json(
            from_json_bytes(_verified(path / "run.json", sizes, LARGEST_JSON), str(path / "run.json")),
            str(path / "run.json"),
        )
        self.vocabulary = Vocabulary.from_json(
            from_json_bytes(
                _verified(path / "vocabulary.json", sizes, LARGEST_VOCABULARY), str(path / "vocabulary.json")
            ),
            str(path / "vocabulary.json"),
        )
        self._sizes = sizes

    def held_out(self) -> np.ndarray:
        """The ids of the first characters of the validation text, as far as the run keeps them."""
        file = self.path / "held_out.bin"
        data = _verified(file, self._sizes, 4 * HELD_OUT_CHARACTERS)
        if self.vocabulary.kind == "bytes":
            return self.vocabulary.encode(data)
        try:
            return self.vocabulary.encode(data.decode("utf-8"), source=str(file))
        except UnicodeDecodeError as error:
            raise CharrnnError(f"{file} is damaged: {error.reason} at byte {error.start}") from None

    def held_out_text(self) -> np.ndarray | Documents:
        """`held_out`, as documents if the run was trained on such: what its validation loss was measured on."""
        lengths = self.settings.corpus.held_out_files.split()
        if not all(length.isascii() and length.isdigit() and len(length) < 20 for length in lengths):
            raise CharrnnError(f"{self.path / 'run.json'}: the lengths of the held-out files are no whole numbers")
        return self.as_trained(self.held_out(), [int(length) for length in lengths])

    def as_trained(self, ids: np.ndarray, lengths: list[int] | None = None) -> np.ndarray | Documents:
        """A text's ids, as documents if the run was trained on such. lengths: of its files; one file if None."""
        rule = self.documents()
        return ids if rule is None else rule.within(ids, self.vocabulary, lengths)

    def documents(self) -> Rule | None:
        """What separates the documents it was trained on, if it was trained on such."""
        rule = self.settings.training.documents
        return None if rule is None else Rule(rule)

    def saves(self) -> list[int]:
        """The steps of all saves, ascending."""
        folder = self.path / "saves"
        if not folder.is_dir() or folder.is_symlink():
            return []
        try:
            names = {p.name for p in folder.iterdir() if re.fullmatch(r"[0-9]{8,12}", p.name) and _is_own_folder(p)}
        except OSError as error:
            raise CharrnnError(f"{folder} cannot be read: {error.strerror}") from None
        return sorted(step for step in map(int, names) if f"{step:08d}" in names)

    def save(self, which: str = "best") -> Save:
        """The save called `best`, `last`, or by its step.

        One that is damaged is passed over with a CharrnnWarning for the next in that order. Raises CharrnnError where
        there is none, or the one asked for by its step does not verify.
        """
        return next(iter(self._in_order(which)))

    def save_to_resume(self) -> Save:
        """The newest save of which every byte is as it was written; newer ones are passed over with a CharrnnWarning.

        Raises CharrnnError where there is none.
        """
        save, _ = _first_sound(self._in_order("last"), lambda save: (self.read_model(save), self.read_training(save)))
        return save

    def _in_order(self, which: str) -> Iterable[Save]:
        """The saves that stand for `best`, `last` or a step: the one that is meant, then those to fall back to."""
        if which == "last":
            return self._newest_first()
        if which == "best":
            return sorted(
                self._newest_first(), key=lambda save: (_or_infinity(save.progress.validation_nats), -save.step)
            )
        steps = self.saves()
        if not which.isascii() or not which.isdigit() or len(which) > 12 or int(which) not in steps:
            there = ", ".join(map(str, steps))
            raise UsageError(f"{self.name} has no checkpoint {which!r}", f"choose from: best, last, {there}")
        return [self._save_at(int(which))]

    def _newest_first(self) -> Iterator[Save]:
        """The saves whose description verifies."""
        broken: list[CharrnnError] = []
        steps = self.saves()
        for step in reversed(steps):
            try:
                save = self._save_at(step)
            except CharrnnError as error:
                broken.append(error)
            else:
                _warn_of(broken)
                yield save
                broken = []
        if len(broken) == len(steps):
            nothing = CharrnnError(
                f"{self.name} holds no weights yet", "train it first, or wait for its first evaluation"
            )
            raise broken[0] if broken else nothing
        _warn_of(broken)

    def _save_at(self, step: int) -> Save:
        path = self.path / "saves" / f"{step:08d}"
        sizes = _read_manifest(path, {"model.safetensors", "training.safetensors", "progress.json"})
        source = str(path / "progress.json")
        progress = Progress.from_json(
            from_json_bytes(_verified(path / "progress.json", sizes, LARGEST_JSON), source), source
        )
        if progress.step != step:
            raise CharrnnError(f"{source} speaks of step {progress.step}, its folder of {step}")
        for name, (size, _) in sizes.items():
            try:
                status = (path / name).lstat()
            except OSError as error:
                raise CharrnnError(f"{path / name} cannot be read: {error.strerror}") from None
            if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                raise CharrnnError(f"{path / name} is damaged: it is not as long as its manifest says")
        return Save(path, progress, sizes)

    def load_network(self, which: str = "best", device: torch.device | str = "cpu") -> tuple[CharRNN, Save]:
        """The network with the weights of a save, in evaluation mode, and that save.

        A save whose weights do not verify is passed over with a CharrnnWarning, unless it was named by its step.
        """
        save, weights = _first_sound(self._in_order(which), self.read_model)
        network = CharRNN(self.settings.model, len(self.vocabulary))
        network.load_state_dict(weights)
        return network.to(device).eval(), save

    def read_model(self, save: Save) -> dict[str, Tensor]:
        """The network's parameters, on the CPU."""
        shapes = parameter_shapes(self.settings.model, len(self.vocabulary))
        return _read_tensors(save.path / "model.safetensors", shapes, save.sizes)

    def read_training(self, save: Save) -> dict[str, Tensor]:
        """The optimiser's moments and the streams' state, on the CPU."""
        shapes = training_shapes(self.settings.model, len(self.vocabulary), self.settings.training.batch_size)
        return _read_tensors(save.path / "training.safetensors", shapes, save.sizes)

    def is_being_trained(self) -> bool:
        """Whether a process holds the run's lock."""
        try:
            with open_regular(self.path / "lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except (OSError, CharrnnError):
            return False
        return False

    def metrics(self) -> list[dict[str, Any]]:
        """What training wrote down, oldest first. Lines that a crash or a loss of power cut short are left out."""
        file = self.path / "metrics.jsonl"
        if not file.exists():
            return []
        entries = []
        for line in read_bounded(file, LARGEST_METRICS).split(b"\n")[:-1]:
            with contextlib.suppress(CharrnnError):
                entries.append(from_json_bytes(line, str(file)))
        return [entry for entry in entries if isinstance(entry, dict)]


def training_shapes(settings: ModelSettings, vocabulary_size: int, batch_size: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor in training.safetensors."""
    moments = {
        f"adam.{moment}.{name}": shape
        for moment in ("m", "v")
        for name, shape in parameter_shapes(settings, vocabulary_size).items()
    }
    parts = ("h", "c") if RECURRENCES[settings.recurrence].has_cell_state else ("h",)
    states = {
        f"state.{layer}.{part}": (batch_size, settings.hidden_size)
        for layer in range(1, settings.layers + 1)
        for part in parts
    }
    return moments | states


class RunWriter:
    """The side of a run that trains: makes the folder, adds saves and metrics, and holds the lock."""

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
        name is taken or the folder cannot be written.
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
        training = training_shapes(settings.model, len(vocabulary), settings.training.batch_size)
        with _told_as_error(path):
            make_folder(folder)
            remove_leftovers(folder)
            _check_room(folder, sum(map(len, files.values())) + 3 * 4 * sum(map(math.prod, training.values())))
            with folder_to_be(path) as aside:
                _write_files(aside, files)
                (aside / "saves").mkdir()
                if first is not None:
                    nothing = {name: torch.zeros(shape) for name, shape in training.items()}
                    with folder_to_be(aside / "saves" / f"{0:08d}") as save:
                        _write_files(save, _files_of_save(Progress(), first, nothing))
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
                if not _is_own_folder(saves):
                    raise CharrnnError(f"{saves} is not a folder of the run's own")
                remove_leftovers(saves, alone=True)
                _end_last_line(run.path / "metrics.jsonl")
                return cls(run, lock)
            except BlockingIOError:
                lock.close()
                raise CharrnnError(f"another process is training {run.name}", "wait for it, or stop it") from None
            except BaseException:
                lock.close()
                raise

    def go_on_from(self, save: Save) -> None:
        """Puts out of the way what is newer than the save that training goes on from: saves, which did not verify, and
        lines of metrics, which will be written again."""
        saves = self.run.path / "saves"
        with _told_as_error(saves):
            for step in self.run.saves():
                if step > save.step:
                    damaged = saves / f"damaged-{step:08d}"
                    remove_folder(damaged)
                    (saves / f"{step:08d}").rename(damaged)
            _cut_off_after(self.run.path / "metrics.jsonl", save.step)

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
            _write_files(aside, files)
        self._remove_old(progress)

    def _remove_old(self, progress: Progress) -> None:
        steps = self.run.saves()
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


def checked_name(name: str) -> str:
    """A run's name, if it is one: letters, digits, `.`, `_`, `-`, so that it stays inside checkpoints/."""
    if not SAFE_NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a run's name", "use letters, digits, '.', '_' and '-'")
    return name


def free_name(wanted: str, folder: Path) -> str:
    """A name close to `wanted` that no run has: unsafe characters replaced, then -2, -3, … added."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:80] or "run"
    number = 1
    while (folder / (name := stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return name


def run_names(folder: Path) -> list[str]:
    """The runs in a folder, the one trained last first."""
    try:
        # os.path says no, rather than fail, where a folder cannot be looked into.
        paths = [p for p in folder.iterdir() if SAFE_NAME.fullmatch(p.name) and os.path.isfile(p / "run.json")]  # noqa: PTH113
    except OSError:
        return []
    return [p.name for p in sorted(paths, key=lambda p: (_time_trained(p), p.name), reverse=True)]


def _time_trained(path: Path) -> int:
    for place in (path / "saves", path):
        with contextlib.suppress(OSError):
            return place.stat().st_mtime_ns
    return 0


def open_run(name: str | None = None, folder: Path | None = None) -> Run:
    """The run of that name in checkpoints/, or at that path; None: the one trained last.

    Raises CharrnnError where there is none.
    """
    folder = folder if folder is not None else runs_folder()
    names = run_names(folder)
    if name is None:
        if not names:
            raise CharrnnError(f"no run in {folder}", "train one first: charrnn train")
        return Run(folder / names[0])
    candidates = [folder / name, Path(name)] if SAFE_NAME.fullmatch(name) else [Path(name)]
    for path in candidates:
        if os.path.exists(path / "run.json"):  # noqa: PTH110 - says no, rather than fail, where a name is no path
            return Run(path)
    near = difflib.get_close_matches(name[:100], names, n=3, cutoff=0.3) or names[:3]
    more = ", …" if len(near) < len(names) else ""
    there = f"there are: {', '.join(near)}{more}" if near else "train one first: charrnn train"
    raise UsageError(f"no run called {name!r} in {folder}", there)


def _or_infinity(nats: float | None) -> float:
    return math.inf if nats is None else nats


def _is_own_folder(path: Path) -> bool:
    """Whether there is a folder, rather than a link to one, which may lie anywhere."""
    return path.is_dir() and not path.is_symlink()


def _first_sound(saves: Iterable[Save], read: Callable[[Save], Any]) -> tuple[Save, Any]:
    """The first of these saves that can be read, and what was read. Raises what is wrong with the first if none can."""
    broken = []
    for save in saves:
        try:
            content = read(save)
        except CharrnnError as error:
            broken.append(error)
        else:
            _warn_of(broken)
            return save, content
    raise broken[0]


def _warn_of(broken: list[CharrnnError]) -> None:
    for error in broken:
        warnings.warn(f"{error.message}; another save is used instead", CharrnnWarning, stacklevel=2)


@contextlib.contextmanager
def _told_as_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        raise CharrnnError(f"{error.filename or path} cannot be written: {error.strerror or error}") from None


def _files_of_save(progress: Progress, model: Mapping[str, Tensor], training: Mapping[str, Tensor]) -> dict[str, bytes]:
    return {
        "model.safetensors": safetensors.torch.save({k: v.cpu().contiguous() for k, v in model.items()}),
        "training.safetensors": safetensors.torch.save({k: v.cpu().contiguous() for k, v in training.items()}),
        "progress.json": to_json_bytes(progress.to_json()),
    }


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files and a manifest of them into a folder that is aside."""
    for name, data in files.items():
        write_and_sync(folder / name, data)
    write_and_sync(folder / "manifest.json", _manifest(files))


def _manifest(files: Mapping[str, bytes]) -> bytes:
    return to_json_bytes(
        {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    )


def _read_manifest(folder: Path, names: set[str]) -> dict[str, tuple[int, str]]:
    """Name → (size, SHA-256) of exactly these files."""
    source = folder / "manifest.json"
    data = from_json_bytes(read_bounded(source, LARGEST_JSON), str(source))
    try:
        sizes = {name: (entry["bytes"], entry["sha256"]) for name, entry in data.items()}
        sound = set(sizes) == names and all(
            type(size) is int and size >= 0 and type(digest) is str and set(data[name]) == {"bytes", "sha256"}
            for name, (size, digest) in sizes.items()
        )
    except (AttributeError, KeyError, TypeError):
        sound = False
    if not sound:
        raise CharrnnError(f"{source} is damaged: it does not list the files that belong there")
    return sizes


def _verified(path: Path, sizes: Mapping[str, tuple[int, str]], limit: int) -> bytes:
    """The bytes of a file that a manifest vouches for."""
    size, digest = sizes[path.name]
    data = read_bounded(path, min(limit, size))
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        raise CharrnnError(f"{path} is damaged: it is not what its manifest says")
    return data


def _read_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, tuple[int, str]]
) -> dict[str, Tensor]:
    """The float32 tensors of a safetensors file, which must be exactly these. Raises CharrnnError if they are not.

    The length is checked before the file is opened, the header before the rest is read, the hash before anything is
    allocated for it.
    """
    wanted = 4 * sum(math.prod(shape) for shape in shapes.values())
    size, digest = sizes[path.name]
    if not wanted + 8 <= size <= min(wanted + 8 + LARGEST_HEADER, LARGEST_TENSORS):
        raise CharrnnError(f"{path} is damaged: {size:,} bytes where its settings call for {wanted:,} and a header")
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != size:
                raise CharrnnError(f"{path} is damaged: it is not as long as its manifest says")
            if int.from_bytes(file.read(8), "little") != size - 8 - wanted:
                raise CharrnnError(f"{path} is damaged: its header does not end where its tensors begin")
            header = from_json_bytes(file.read(size - 8 - wanted), str(path))
            order = _in_file_order(header, shapes, path)
            file.seek(0)
            if _sha256_of(file) != digest:
                raise CharrnnError(f"{path} is damaged: it is not what its manifest says")
            file.seek(size - wanted)
            tensors = {name: _read_tensor(file, shapes[name], path) for name in order}
    except OSError as error:
        raise CharrnnError(f"{path} cannot be read: {error.strerror or error}") from None
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CharrnnError(f"{path} is damaged: {name} holds numbers that are not finite")
    return tensors


def _in_file_order(header: Any, shapes: Mapping[str, tuple[int, ...]], path: Path) -> list[str]:
    """The tensors' names in the order in which they lie, one directly after the other. Raises CharrnnError unless the
    header lists exactly these shapes, as float32, without gap or overlap."""
    if not isinstance(header, dict) or set(header) != set(shapes):
        raise CharrnnError(f"{path} is damaged: its tensors are not those that its settings call for")
    starts = {}
    for name, shape in shapes.items():
        entry = header[name]
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise CharrnnError(f"{path} is damaged: {name} is not described as a tensor")
        numbers, offsets = entry["shape"], entry["data_offsets"]
        if entry["dtype"] != "F32" or not _are_whole(numbers) or tuple(numbers) != shape:
            raise CharrnnError(f"{path} is damaged: {name} is not a float32 tensor of shape {shape}")
        if not _are_whole(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != 4 * math.prod(shape):
            raise CharrnnError(f"{path} is damaged: {name} does not lie where a tensor of shape {shape} could")
        starts[name] = offsets[0]
    order = sorted(starts, key=starts.__getitem__)
    end = 0
    for name in order:
        if starts[name] != end:
            raise CharrnnError(f"{path} is damaged: {name} does not begin where the tensor before it ends")
        end += 4 * math.prod(shapes[name])
    return order


def _are_whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int for number in numbers)


def _sha256_of(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _read_tensor(file: BinaryIO, shape: tuple[int, ...], path: Path) -> Tensor:
    """The next tensor of a file; little-endian, as safetensors says."""
    try:
        tensor = torch.empty(shape)
    except RuntimeError:  # what PyTorch says where there is no memory
        raise CharrnnError(f"{path} does not fit into memory") from None
    rest = memoryview(tensor.numpy().reshape(-1).view(np.uint8))
    while rest:
        count = file.readinto(rest)
        if not count:
            raise CharrnnError(f"{path} became shorter while it was read")
        rest = rest[count:]
    return tensor


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
