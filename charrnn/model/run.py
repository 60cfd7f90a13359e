"""A run: the folder a training leaves behind, what it holds, and how it is read. `charrnn.model.writer` writes it.

    checkpoints/NAME/
        run.json             format version; settings of model and training; corpus (name, size, SHA-256); what made it
        vocabulary.json      the characters, in the order of their ids
        held_out.bin         the first characters of the validation text, UTF-8 (raw bytes with --bytes), so that a run
                             can be looked into on a machine that has no copy of its corpus
        manifest.json        name → size and SHA-256 of the three files above
        steps.json           {"steps": …}, where that number was corrected after the warm-up; it then goes before
                             run.json's
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
import fcntl
import math
import os
import platform
import re
import shlex
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn import __version__
from charrnn.errors import CharrnnError, CharrnnWarning, UsageError
from charrnn.files import from_json_bytes, home_folder, is_own_folder, open_regular, read_bounded
from charrnn.model.manifest import LARGEST_JSON, read_manifest, verified
from charrnn.model.network import CharRNN, parameter_shapes
from charrnn.model.recurrences import find_recurrence
from charrnn.model.tensors import read_tensors
from charrnn.settings import ModelSettings, Settings, TrainingSettings, option
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText
from charrnn.text.vocabulary import Vocabulary

FORMAT = 1
HELD_OUT_CHARACTERS = 2_000_000
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LARGEST_VOCABULARY = 5_000_000  # every code point there is takes 4.4 million bytes
LARGEST_METRICS = 64_000_000
STEPS_FILE = "steps.json"
LARGEST_STEPS = 1000  # bytes of it
MOST = 10**15  # steps, characters: beyond anything that is counted
FIRST_LOSS_SCALE = 2.0**16


def runs_folder() -> Path:
    """Where runs are kept: checkpoints/ in the current directory, or below $CHARRNN_HOME."""
    return home_folder() / "checkpoints"


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
class Checkpoint:
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
        sizes = read_manifest(path, {"run.json", "vocabulary.json", "held_out.bin"})
        self.settings = RunSettings.from_json(
            from_json_bytes(verified(path / "run.json", sizes, LARGEST_JSON), str(path / "run.json")),
            str(path / "run.json"),
        )
        self._correct_steps(path / STEPS_FILE)
        self.vocabulary = Vocabulary.from_json(
            from_json_bytes(
                verified(path / "vocabulary.json", sizes, LARGEST_VOCABULARY), str(path / "vocabulary.json")
            ),
            str(path / "vocabulary.json"),
        )
        self._sizes = sizes

    def _correct_steps(self, path: Path) -> None:
        """Takes the number of steps from this file, where there is one."""
        if not os.path.lexists(path):
            return
        corrected = from_json_bytes(read_bounded(path, LARGEST_STEPS), str(path))
        if not isinstance(corrected, dict) or set(corrected) != {"steps"}:
            raise CharrnnError(f"{path} is damaged: it does not hold a number of steps")
        training = TrainingSettings.from_json({**self.settings.training.to_json(), **corrected}, str(path))
        self.settings = dataclasses.replace(self.settings, training=training)

    def held_out(self) -> np.ndarray:
        """The ids of the first characters of the validation text, as far as the run keeps them."""
        file = self.path / "held_out.bin"
        data = verified(file, self._sizes, 4 * HELD_OUT_CHARACTERS)
        if self.vocabulary.kind == "bytes":
            return self.vocabulary.encode(data)
        try:
            return self.vocabulary.encode(data.decode("utf-8"), source=str(file))
        except UnicodeDecodeError as error:
            raise CharrnnError(f"{file} is damaged: {error.reason} at byte {error.start}") from None

    def held_out_text(self) -> EncodedText:
        """`held_out`, as documents if the run was trained on such: what its validation loss was measured on."""
        lengths = self.settings.corpus.held_out_files.split()
        if not all(length.isascii() and length.isdigit() and len(length) < 20 for length in lengths):
            raise CharrnnError(f"{self.path / 'run.json'}: the lengths of the held-out files are no whole numbers")
        return self.as_trained(self.held_out(), [int(length) for length in lengths])

    def as_trained(self, ids: np.ndarray, lengths: list[int] | None = None) -> EncodedText:
        """A text's ids, as documents if the run was trained on such. lengths: of its files; one file if None."""
        rule = self.documents()
        return EncodedText(ids) if rule is None else rule.within(ids, self.vocabulary, lengths)

    def documents(self) -> DocumentSeparator | None:
        """What separates the documents it was trained on, if it was trained on such."""
        rule = self.settings.training.documents
        return None if rule is None else DocumentSeparator(rule)

    def checkpoint_steps(self) -> list[int]:
        """The steps of all saves, ascending."""
        folder = self.path / "saves"
        if not folder.is_dir() or folder.is_symlink():
            return []
        try:
            names = {p.name for p in folder.iterdir() if re.fullmatch(r"[0-9]{8,12}", p.name) and is_own_folder(p)}
        except OSError as error:
            raise CharrnnError(f"{folder} cannot be read: {error.strerror}") from None
        return sorted(step for step in map(int, names) if f"{step:08d}" in names)

    def checkpoint(self, which: str = "best") -> Checkpoint:
        """The save called `best`, `last`, or by its step.

        One that is damaged is passed over with a CharrnnWarning for the next in that order. Raises CharrnnError where
        there is none, or the one asked for by its step does not verify.
        """
        return next(iter(self._in_order(which)))

    def resumable_checkpoint(self) -> Checkpoint:
        """The newest save of which every byte is as it was written; newer ones are passed over with a CharrnnWarning.

        Raises CharrnnError where there is none.
        """
        save, _ = _first_sound(self._in_order("last"), lambda save: (self.read_model(save), self.read_training(save)))
        return save

    def _in_order(self, which: str) -> Iterable[Checkpoint]:
        """The saves that stand for `best`, `last` or a step: the one that is meant, then those to fall back to."""
        if which == "last":
            return self._newest_first()
        if which == "best":
            return sorted(
                self._newest_first(), key=lambda save: (_or_infinity(save.progress.validation_nats), -save.step)
            )
        steps = self.checkpoint_steps()
        if not which.isascii() or not which.isdigit() or len(which) > 12 or int(which) not in steps:
            there = ", ".join(map(str, steps))
            raise UsageError(f"{self.name} has no checkpoint {which!r}", f"choose from: best, last, {there}")
        return [self._checkpoint_at(int(which))]

    def _newest_first(self) -> Iterator[Checkpoint]:
        """The saves whose description verifies."""
        broken: list[CharrnnError] = []
        steps = self.checkpoint_steps()
        for step in reversed(steps):
            try:
                save = self._checkpoint_at(step)
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

    def _checkpoint_at(self, step: int) -> Checkpoint:
        path = self.path / "saves" / f"{step:08d}"
        sizes = read_manifest(path, {"model.safetensors", "training.safetensors", "progress.json"})
        source = str(path / "progress.json")
        progress = Progress.from_json(
            from_json_bytes(verified(path / "progress.json", sizes, LARGEST_JSON), source), source
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
        return Checkpoint(path, progress, sizes)

    def load_network(self, which: str = "best", device: torch.device | str = "cpu") -> tuple[CharRNN, Checkpoint]:
        """The network with the weights of a save, in evaluation mode, and that save.

        A save whose weights do not verify is passed over with a CharrnnWarning, unless it was named by its step.
        """
        save, weights = _first_sound(self._in_order(which), self.read_model)
        network = CharRNN(self.settings.model, len(self.vocabulary))
        network.load_state_dict(weights)
        return network.to(device).eval(), save

    def read_model(self, save: Checkpoint) -> dict[str, Tensor]:
        """The network's parameters, on the CPU."""
        shapes = parameter_shapes(self.settings.model, len(self.vocabulary))
        return read_tensors(save.path / "model.safetensors", shapes, save.sizes)

    def read_training(self, save: Checkpoint) -> dict[str, Tensor]:
        """The optimizer's moments and the streams' state, on the CPU."""
        shapes = training_shapes(self.settings.model, len(self.vocabulary), self.settings.training.batch_size)
        return read_tensors(save.path / "training.safetensors", shapes, save.sizes)

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
    states = {
        f"state.{layer}.{part}": (batch_size, settings.hidden_size)
        for layer in range(1, settings.layers + 1)
        for part in find_recurrence(settings.recurrence).state_parts
    }
    return moments | states


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


def _first_sound(saves: Iterable[Checkpoint], read: Callable[[Checkpoint], Any]) -> tuple[Checkpoint, Any]:
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
