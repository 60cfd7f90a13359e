"""A run: the folder a training leaves behind, and the only code that writes or reads it.

    checkpoints/NAME/
        run.json             format version; settings of model and training; corpus (name, size, SHA-256); what made it
        vocabulary.json      the characters, in the order of their ids
        held_out.bin         the first characters of the validation text, UTF-8 (raw bytes with --bytes), so that a run
                             can be looked into on a machine that has no copy of its corpus
        manifest.json        name → size and SHA-256 of the three files above
        metrics.jsonl        one JSON object a line: {"event": "progress" | "evaluation" | …, "step": …, …}
        lock                 held by the process that trains
        saves/00001200/      the state after 1,200 steps; the name is the step
            model.safetensors      the network's parameters, by PyTorch's names, float32
            training.safetensors   `adam.m.NAME`, `adam.v.NAME` (first and second moments), `state.LAYER.h|c` (B, H)
            progress.json          step, validation nats at this step, the rest that training needs to go on
            manifest.json          name → size and SHA-256 of the three files above

run.json, vocabulary.json and held_out.bin never change once the run exists. A save is written aside, forced to the disk
and renamed, so a folder below saves/ is whole; nothing points at it from elsewhere: `last` is the highest step, `best`
the lowest validation loss. A save that does not verify is passed over for the one before it.

A run may come from a stranger. Its files are data: nothing in them is run or unpickled, no path in them is opened,
sizes are bounded and checked before anything is allocated for them, names, shapes and types must be exactly those that
the settings call for, and no weight may be infinite or not a number.

FORMAT counts up when an older charrnn could not read what a newer one writes.
"""

from __future__ import annotations

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
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from charrnn import __version__
from charrnn.errors import CharrnnError, UsageError
from charrnn.files import (
    folder_to_be,
    from_json_bytes,
    read_bounded,
    remove_leftovers,
    to_json_bytes,
    write_and_sync,
)
from charrnn.model.network import RECURRENCES, CharRNN, parameter_count
from charrnn.settings import ModelSettings, Settings, TrainingSettings, option
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import file_size

FORMAT = 1
HELD_OUT_CHARACTERS = 2_000_000
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LARGEST_JSON = 64_000_000
LARGEST_HEADER = 1_000_000
LARGEST_TENSORS = 40_000_000_000
SAVES_KEPT = 2


def runs_folder() -> Path:
    """Where runs are kept: checkpoints/ in the current directory, or below $CHARRNN_HOME."""
    return Path(os.environ.get("CHARRNN_HOME", ".")) / "checkpoints"


@dataclass(frozen=True)
class CorpusIdentity(Settings):
    """What a run was trained on. The hash is over the text as trained on, all of its files one after the other."""

    name: str = option("", "How the corpus is called.")
    specs: str = option("", "What was named on the command line, as one shell-quoted string. Shown, never opened.")
    sha256: str = option("", "Hash of the text's bytes.")
    characters: int = option(0, "Length of the text.", at_least=0)
    held_out: int = option(0, "Characters at its end that are held out for validation.", at_least=0)


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

    step: int = option(0, "Updates made.", at_least=0)
    seconds: float = option(0.0, "Time trained, over all sessions.", at_least=0)
    validation_nats: float | None = option(None, "Validation loss at this step, if it was measured here.")
    best_nats: float | None = option(None, "Lowest validation loss so far.")
    best_step: int | None = option(None, "The step of that.")
    evaluations_without_better: int = option(0, "Evaluations since then.", at_least=0)
    rate_scale: float = option(1.0, "Learning rates are multiplied by this; halved after each explosion.", above=0)
    skipped_steps: int = option(0, "Steps left out because a gradient was not finite.", at_least=0)
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
            from_json_bytes(_verified(path / "vocabulary.json", sizes, LARGEST_JSON), str(path / "vocabulary.json")),
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

    def saves(self) -> list[int]:
        """The steps of all saves, ascending."""
        folder = self.path / "saves"
        if not folder.is_dir():
            return []
        return sorted(int(p.name) for p in folder.iterdir() if re.fullmatch(r"\d{8,12}", p.name) and p.is_dir())

    def save(self, which: str = "best") -> Save:
        """The save called `best`, `last`, or by its step.

        Raises CharrnnError where there is none, or the one asked for by its step does not verify.
        """
        steps = self.saves()
        if which not in ("best", "last"):
            if not which.isascii() or not which.isdigit() or int(which) not in steps:
                there = ", ".join(map(str, steps))
                raise UsageError(f"{self.name} has no checkpoint {which!r}", f"choose from: best, last, {there}")
            return self._save_at(int(which))
        found, broken = [], []
        for step in reversed(steps):
            try:
                found.append(self._save_at(step))
                if which == "last":
                    break
            except CharrnnError as error:
                broken.append(error)
        if not found:
            raise (
                broken[0]
                if broken
                else CharrnnError(
                    f"{self.name} holds no weights yet", "train it first, or wait for its first evaluation"
                )
            )
        if which == "last":
            return found[0]
        return min(found, key=lambda save: (_or_infinity(save.progress.validation_nats), -save.step))

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
            if not (path / name).is_file() or (path / name).stat().st_size != size:
                raise CharrnnError(f"{path / name} is not as long as its manifest says", "the save is broken")
        return Save(path, progress, sizes)

    def load_network(self, which: str = "best", device: torch.device | str = "cpu") -> tuple[CharRNN, Save]:
        """The network with the weights of a save, in evaluation mode, and that save.

        A save whose weights do not verify is passed over for the one before it, unless it was named by its step.
        """
        refused: CharrnnError | None = None
        for candidate in [which] if which.isdigit() else [which, *map(str, reversed(self.saves()))]:
            try:
                save = self.save(candidate)
                network = CharRNN(self.settings.model, len(self.vocabulary))
                network.load_state_dict(self.read_model(save))
            except CharrnnError as error:
                refused = refused or error
            else:
                return network.to(device).eval(), save
        raise refused

    def read_model(self, save: Save) -> dict[str, Tensor]:
        """The network's parameters, on the CPU."""
        shapes = model_shapes(self.settings.model, len(self.vocabulary))
        return _read_tensors(save.path / "model.safetensors", shapes, save.sizes)

    def read_training(self, save: Save) -> dict[str, Tensor]:
        """The optimiser's moments and the streams' state, on the CPU."""
        shapes = training_shapes(self.settings.model, len(self.vocabulary), self.settings.training.batch_size)
        return _read_tensors(save.path / "training.safetensors", shapes, save.sizes)

    def metrics(self) -> list[dict[str, Any]]:
        """What training wrote down, oldest first. A last line that a crash cut short is left out."""
        file = self.path / "metrics.jsonl"
        if not file.exists():
            return []
        lines = read_bounded(file, LARGEST_JSON).split(b"\n")
        return [from_json_bytes(line, str(file)) for line in lines[:-1] if line.strip()]


def model_shapes(settings: ModelSettings, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of every parameter. Allocates nothing."""
    with torch.device("meta"):
        network = CharRNN(settings, vocabulary_size)
    return {name: tuple(parameter.shape) for name, parameter in network.state_dict().items()}


def training_shapes(settings: ModelSettings, vocabulary_size: int, batch_size: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor in training.safetensors."""
    moments = {
        f"adam.{moment}.{name}": shape
        for moment in ("m", "v")
        for name, shape in model_shapes(settings, vocabulary_size).items()
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

    def __init__(self, run: Run, lock: Any):
        self.run = run
        self._lock = lock
        self._metrics = (run.path / "metrics.jsonl").open("ab", buffering=0)

    @classmethod
    def create(
        cls, name: str, settings: RunSettings, vocabulary: Vocabulary, held_out: bytes, folder: Path
    ) -> RunWriter:
        """Makes checkpoints/NAME and takes its lock.

        held_out: the encoded beginning of the validation text. Raises CharrnnError where the name is taken.
        """
        path = folder / checked_name(name)
        files = {
            "run.json": to_json_bytes(settings.to_json()),
            "vocabulary.json": to_json_bytes(vocabulary.to_json()),
            "held_out.bin": held_out,
        }
        if path.exists():
            raise UsageError(f"there is a run {name} already", f"choose another --name, or go on with --resume {name}")
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        _check_room(folder, sum(map(len, files.values())) + 4 * 4 * parameter_count(settings.model, len(vocabulary)))
        with folder_to_be(path) as aside:
            for file, data in files.items():
                write_and_sync(aside / file, data)
            write_and_sync(aside / "manifest.json", _manifest(files))
            (aside / "saves").mkdir()
        return cls.open(Run(path))

    @classmethod
    def open(cls, run: Run) -> RunWriter:
        """Takes the lock of a run that exists. Raises CharrnnError where another process holds it."""
        lock = (run.path / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise CharrnnError(f"another process is training {run.name}", "wait for it, or stop it") from None
        (run.path / "saves").mkdir(exist_ok=True)
        remove_leftovers(run.path / "saves")
        _end_last_line(run.path / "metrics.jsonl")
        return cls(run, lock)

    def commit(self, progress: Progress, model: Mapping[str, Tensor], training: Mapping[str, Tensor]) -> None:
        """Adds a save, then removes those that are no longer needed.

        Raises CharrnnError where a weight is not finite, OSError where the disk fails; saves that exist stay.
        """
        for name, tensor in model.items():
            if not bool(torch.isfinite(tensor).all()):
                raise CharrnnError(f"{name} holds numbers that are not finite; this state is not saved")
        path = self.run.path / "saves" / f"{progress.step:08d}"
        if path.exists():  # a save that did not verify, after which training went on from the one before it
            shutil.rmtree(path)
        files = {
            "model.safetensors": safetensors.torch.save({k: v.cpu().contiguous() for k, v in model.items()}),
            "training.safetensors": safetensors.torch.save({k: v.cpu().contiguous() for k, v in training.items()}),
            "progress.json": to_json_bytes(progress.to_json()),
        }
        _check_room(path.parent, sum(map(len, files.values())))
        with folder_to_be(path) as aside:
            for name, data in files.items():
                write_and_sync(aside / name, data)
            write_and_sync(aside / "manifest.json", _manifest(files))
        self._remove_old(progress)

    def _remove_old(self, progress: Progress) -> None:
        steps = self.run.saves()
        kept = {*steps[-SAVES_KEPT:], progress.best_step}
        for step in steps:
            if step not in kept:
                shutil.rmtree(self.run.path / "saves" / f"{step:08d}", ignore_errors=True)

    def log(self, event: str, **values: Any) -> None:
        """Adds a line to metrics.jsonl."""
        line = json.dumps({"event": event, **values}, allow_nan=False) + "\n"
        self._metrics.write(line.encode())

    def close(self) -> None:
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
    if not folder.is_dir():
        return []
    runs = [p for p in folder.iterdir() if SAFE_NAME.fullmatch(p.name) and (p / "run.json").is_file()]
    return [p.name for p in sorted(runs, key=lambda p: ((p / "saves").stat().st_mtime_ns, p.name), reverse=True)]


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
    if SAFE_NAME.fullmatch(name) and (folder / name / "run.json").exists():
        return Run(folder / name)
    path = Path(name)
    if (path / "run.json").exists():
        return Run(path)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[:3]
    there = f"there are: {', '.join(near)}" if near else "train one first: charrnn train"
    raise UsageError(f"no run called {name!r} in {folder}", there)


def _or_infinity(nats: float | None) -> float:
    return math.inf if nats is None else nats


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
            type(size) is int and size >= 0 and type(digest) is str for size, digest in sizes.values()
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

    What the settings call for gives the file's length to the byte but for its header, so a wrong length is refused
    before the file is read, and a wrong header before a tensor is made of it.
    """
    wanted = 4 * sum(math.prod(shape) for shape in shapes.values())
    size = sizes[path.name][0]
    if not wanted + 8 <= size <= min(wanted + 8 + LARGEST_HEADER, LARGEST_TENSORS):
        raise CharrnnError(f"{path} is damaged: {size:,} bytes where its settings call for {wanted:,} and a header")
    data = _verified(path, sizes, LARGEST_TENSORS)
    header_length = int.from_bytes(data[:8], "little")
    if header_length != size - 8 - wanted:
        raise CharrnnError(f"{path} is damaged: its header does not end where its tensors begin")
    header = from_json_bytes(data[8 : 8 + header_length], str(path))
    if not isinstance(header, dict) or set(header) != set(shapes):
        raise CharrnnError(f"{path} is damaged: its tensors are not those that its settings call for")
    for name, shape in shapes.items():
        entry = header[name]
        if not isinstance(entry, dict) or entry.get("dtype") != "F32" or entry.get("shape") != list(shape):
            raise CharrnnError(f"{path} is damaged: {name} is not a float32 tensor of shape {shape}")
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise CharrnnError(f"{path} is damaged: {error}") from None
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CharrnnError(f"{path} is damaged: {name} holds numbers that are not finite")
    return tensors


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{file_size(needed)} needed, {file_size(free)} free", str(folder))


def _end_last_line(path: Path) -> None:
    """Cuts off what a crash left of a line, so that the next one begins at a line's start."""
    if path.exists():
        with path.open("rb+") as file:
            data = file.read()
            file.truncate(data.rfind(b"\n") + 1)
