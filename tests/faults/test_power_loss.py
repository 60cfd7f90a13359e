"""Power losses after every call: what was synced is on the disk, and any part of the rest.

A training is watched call by call. After each call two states are known: what a program reads, and what is durable,
which is the content of each file and the entries of each folder when it was last synced. After a power loss, each entry
that differs is the old or the new one. A file that was not synced is empty, cut short, zeros or complete.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from charrnn.model.lookup import run_names
from charrnn.training.events import CheckpointSaved
from tests.faults.system import Call, watch_calls
from tests.faults.tiny import NAME, assert_finishes_bit_exact, assert_resumable, new_run, resume

Entries = dict[str, int]
"""Name → number of a file or folder."""
Choice = Callable[[object, object], object]
"""(durable entry, current entry) → one of them."""
Damage = Callable[[bytes], bytes]
"""Content of a file that was not synced → what is left of it."""


@dataclass
class Moment:
    """The state after a call, by number. saved: the last step reported as saved."""

    name: str
    saved: int | None
    folders: dict[int, Entries]
    files: dict[int, bytes]
    durable_folders: dict[int, Entries]
    durable_files: dict[int, bytes]


@dataclass
class Disk:
    """Records the states of a folder, which is durable itself. root: its number."""

    folder: Path
    root: int = 0
    saved: int | None = None
    moments: list[Moment] = field(default_factory=list)
    durable_folders: dict[int, Entries] = field(default_factory=dict)
    durable_files: dict[int, bytes] = field(default_factory=dict)
    _numbers: dict[int, int] = field(default_factory=dict)  # by inode, which the system reuses

    def __post_init__(self) -> None:
        self.root = self.number_of(self.folder)
        self.durable_folders[self.root] = {}

    def number_of(self, path: Path, *, new: bool = False) -> int:
        inode = path.lstat().st_ino
        if new or inode not in self._numbers:
            self._numbers[inode] = len(self._numbers) + 1_000_000 * len(self.moments)
        return self._numbers[inode]

    def read(self) -> tuple[dict[int, Entries], dict[int, bytes]]:
        folders: dict[int, Entries] = {}
        files: dict[int, bytes] = {}
        for parent, below, names in os.walk(self.folder):
            path = Path(parent)
            folders[self.number_of(path)] = {name: self.number_of(path / name) for name in [*below, *names]}
            files |= {self.number_of(path / name): (path / name).read_bytes() for name in names}
        return folders, files

    def after(self, call: Call) -> None:
        if call.function == "mkdir" or (call.function == "open" and call.path.stat().st_size == 0):
            known = call.path.lstat().st_ino in self._numbers and call.function == "open" and "ASIDE" not in call.name
            self.number_of(call.path, new=not known)
        folders, files = self.read()
        if call.function == "fsync":
            number = self.number_of(call.path)
            if number in folders:
                self.durable_folders[number] = folders[number]
            else:
                self.durable_files[number] = files[number]
        self.moments.append(
            Moment(call.name, self.saved, folders, files, dict(self.durable_folders), dict(self.durable_files))
        )


def lose_power(disk: Disk, moment: Moment, folder: Path, choose: Choice, damage: Damage) -> None:
    """Write what may be found after a power loss at a moment."""

    def build(number: int, path: Path) -> None:
        if number in moment.files:
            content, durable = moment.files[number], moment.durable_files.get(number)
            path.write_bytes(content if durable == content else damage(content) if durable is None else durable)
            return
        path.mkdir(exist_ok=True)
        durable_entries, entries = moment.durable_folders.get(number, {}), moment.folders.get(number, {})
        for name in sorted(durable_entries.keys() | entries.keys()):
            old, new = durable_entries.get(name), entries.get(name)
            chosen = old if old == new else choose(old, new)
            if chosen is not None and (chosen in moment.files or chosen in moment.folders):
                build(chosen, path / name)
            elif chosen is not None:  # removed, but not durably
                restore(chosen, path / name)

    def restore(number: int, path: Path) -> None:
        before = next(m for m in reversed(disk.moments) if number in m.folders or number in m.files)
        if number in before.files:
            path.write_bytes(moment.durable_files.get(number, b""))
            return
        path.mkdir(exist_ok=True)
        for name, below in moment.durable_folders.get(number, {}).items():
            restore(below, path / name)

    build(disk.root, folder)


def record_training(folder: Path) -> Disk:
    disk = Disk(folder)
    with watch_calls(folder, lambda call, arguments: None, disk.after):
        new_run(folder).close()
        disk.saved = 0
        for event in resume(folder):
            if isinstance(event, CheckpointSaved):
                disk.saved = event.step
    return disk


def outcomes(draw: random.Random, number: int) -> dict[str, tuple[Choice, Damage]]:
    """Return ways in which a disk may be found: the extremes, and this number of random ones."""

    def durable(old: object, new: object) -> object:
        return old

    def current(old: object, new: object) -> object:
        return new

    def random_part(content: bytes) -> bytes:
        return draw.choice([b"", content[: draw.randint(0, len(content))], bytes(len(content)), content])

    ways: dict[str, tuple[Choice, Damage]] = {
        "only what is durable": (durable, lambda content: b""),
        "all names, no content": (current, lambda content: b""),
        "all names, zeros": (current, lambda content: bytes(len(content))),
        "everything": (current, lambda content: content),
    }
    return ways | {f"random {k}": (lambda old, new: draw.choice([old, new]), random_part) for k in range(number)}


def check_power_losses(folder: Path, every: int, random_outcomes: int, finish_every: int) -> tuple[int, int]:
    """Lose power after each `every`-th call, with each outcome. Finish the training after each `finish_every`-th loss.

    Return the number of losses and of finished trainings.
    """
    work, found = folder / "work", folder / "found"
    work.mkdir()
    disk, draw, losses, finished = record_training(work), random.Random(1), 0, 0
    for moment in disk.moments[::every]:
        for way, (choose, damage) in outcomes(draw, random_outcomes).items():
            shutil.rmtree(found, ignore_errors=True)
            lose_power(disk, moment, found, choose, damage)
            losses += 1
            try:
                if moment.saved is None and NAME not in run_names(found):
                    continue  # it was not yet reported as created
                assert_resumable(found, at_least=moment.saved or 0)
                if losses % finish_every == 0:
                    finished += 1
                    assert_finishes_bit_exact(found)
            except Exception as error:
                raise AssertionError(f"power lost after `{moment.name}`; found: {way}") from error
    return losses, finished


@pytest.mark.filterwarnings("ignore::charrnn.errors.CharrnnWarning")
def test_power_loss_loses_nothing_that_was_saved(folder: Path) -> None:
    losses, finished = check_power_losses(folder, every=5, random_outcomes=2, finish_every=25)
    assert losses > 120
    assert finished > 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::charrnn.errors.CharrnnWarning")
def test_power_loss_after_every_call_loses_nothing_that_was_saved(folder: Path) -> None:
    print(check_power_losses(folder, every=1, random_outcomes=40, finish_every=20))


def test_simulation_detects_a_missing_sync(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.files.sync_folder", lambda _: None)
    with pytest.raises(AssertionError, match="power lost after"):
        check_power_losses(folder, every=10, random_outcomes=1, finish_every=10**9)
