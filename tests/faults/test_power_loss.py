"""A loss of power at every moment: what was forced to the disk is there, of the rest any part may be.

A training is watched call by call. After each call, two states are known: what a program would read, and what is sure
to be on the disk, that is each file's content when it was last synced, and each folder's entries when that was last
synced. What is found after a loss of power lies anywhere between: of the entries that differ each may be the old or the
new one, independently; of a file that was not synced there may be nothing, a part, zeros or all of it.
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
from tests.faults.system import Call, watched
from tests.faults.tiny import NAME, assert_nothing_was_lost, assert_sound, go_on, new_run

Entries = dict[str, int]
"""Name → number of the file or folder of that name."""


@dataclass
class Moment:
    """After one call: what is read and what is sure, by number. name: the call's; saved: the last step reported."""

    name: str
    saved: int | None
    folders: dict[int, Entries]
    files: dict[int, bytes]
    sure_folders: dict[int, Entries]
    sure_files: dict[int, bytes]


@dataclass
class Disk:
    """Follows a folder; root: the number of that folder itself, which is taken to be on the disk."""

    folder: Path
    root: int = 0
    saved: int | None = None
    moments: list[Moment] = field(default_factory=list)
    sure_folders: dict[int, Entries] = field(default_factory=dict)
    sure_files: dict[int, bytes] = field(default_factory=dict)
    _numbers: dict[int, int] = field(default_factory=dict)  # by inode, which the system uses again

    def __post_init__(self) -> None:
        self.root = self.number_of(self.folder)
        self.sure_folders[self.root] = {}

    def number_of(self, path: Path, *, new: bool = False) -> int:
        inode = path.lstat().st_ino
        if new or inode not in self._numbers:
            self._numbers[inode] = len(self._numbers) + 1_000_000 * len(self.moments)
        return self._numbers[inode]

    def seen(self) -> tuple[dict[int, Entries], dict[int, bytes]]:
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
        folders, files = self.seen()
        if call.function == "fsync":
            number = self.number_of(call.path)
            if number in folders:
                self.sure_folders[number] = folders[number]
            else:
                self.sure_files[number] = files[number]
        self.moments.append(
            Moment(call.name, self.saved, folders, files, dict(self.sure_folders), dict(self.sure_files))
        )


Choice = Callable[[object, object], object]


def found_after(disk: Disk, moment: Moment, folder: Path, choose: Choice, part: Callable[[bytes], bytes]) -> None:
    """Builds what may be found after a loss of power at a moment. choose: of (sure, read) entries of one name, either;
    part: what is left of a file that was never synced, or not since."""

    def build(number: int, path: Path) -> None:
        if number in moment.files:
            content, sure = moment.files[number], moment.sure_files.get(number)
            path.write_bytes(content if sure == content else part(content) if sure is None else sure)
            return
        path.mkdir(exist_ok=True)
        sure, read = moment.sure_folders.get(number, {}), moment.folders.get(number, {})
        for name in sorted(sure.keys() | read.keys()):
            one, other = sure.get(name), read.get(name)
            chosen = one if one == other else choose(one, other)
            if chosen is not None and (chosen in moment.files or chosen in moment.folders):
                build(chosen, path / name)
            elif chosen is not None:  # removed meanwhile, but not for sure: as it last was
                restore(chosen, path / name)

    def restore(number: int, path: Path) -> None:
        before = next(m for m in reversed(disk.moments) if number in m.folders or number in m.files)
        if number in before.files:
            path.write_bytes(moment.sure_files.get(number, b""))
            return
        path.mkdir(exist_ok=True)
        for name, below in moment.sure_folders.get(number, {}).items():
            restore(below, path / name)

    build(disk.root, folder)


def watched_training(folder: Path) -> Disk:
    disk = Disk(folder)
    with watched(folder, lambda call, arguments: None, disk.after):
        new_run(folder).close()
        disk.saved = 0
        for event in go_on(folder):
            if isinstance(event, CheckpointSaved):
                disk.saved = event.step
    return disk


def outcomes(draw: random.Random, number: int) -> dict[str, tuple[Choice, Callable[[bytes], bytes]]]:
    """Ways in which a disk may be found: the extremes, and some between."""

    def sure(one: object, other: object) -> object:
        return one

    def read(one: object, other: object) -> object:
        return other

    def any_part(content: bytes) -> bytes:
        return draw.choice([b"", content[: draw.randint(0, len(content))], bytes(len(content)), content])

    ways: dict[str, tuple[Choice, Callable[[bytes], bytes]]] = {
        "only what is sure": (sure, lambda content: b""),
        "all names, no content": (read, lambda content: b""),
        "all names, zeros": (read, lambda content: bytes(len(content))),
        "all": (read, lambda content: content),
    }
    return ways | {f"any part {k}": (lambda one, other: draw.choice([one, other]), any_part) for k in range(number)}


def check_power_losses(folder: Path, every: int, parts: int, finish_every: int) -> tuple[int, int]:
    """Loses the power after each call (or each so many) in each of these ways. Returns how often, and how many of the
    states led to different folders that were gone on from."""
    work, found = folder / "work", folder / "found"
    work.mkdir()
    disk, draw, losses, finished = watched_training(work), random.Random(1), 0, 0
    for moment in disk.moments[::every]:
        for way, (choose, part) in outcomes(draw, parts).items():
            shutil.rmtree(found, ignore_errors=True)
            found_after(disk, moment, found, choose, part)
            losses += 1
            try:
                if moment.saved is None and NAME not in run_names(found):
                    continue  # its making had not been reported
                assert_sound(found, at_least=moment.saved or 0)
                if losses % finish_every == 0:
                    finished += 1
                    assert_nothing_was_lost(found)
            except Exception as error:
                raise AssertionError(f"power lost after `{moment.name}`; found: {way}") from error
    return losses, finished


@pytest.mark.filterwarnings("ignore::charrnn.errors.CharrnnWarning")
def test_a_loss_of_power_at_any_call_loses_nothing_that_was_reported_as_saved(folder: Path) -> None:
    losses, finished = check_power_losses(folder, every=3, parts=2, finish_every=25)
    assert losses > 200
    assert finished > 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::charrnn.errors.CharrnnWarning")
def test_a_loss_of_power_at_every_call_loses_nothing_that_was_reported_as_saved(folder: Path) -> None:
    print(check_power_losses(folder, every=1, parts=40, finish_every=20))


def test_the_simulation_sees_a_protocol_that_forgets_to_sync(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.files.sync_folder", lambda _: None)
    with pytest.raises(AssertionError, match="power lost after"):
        check_power_losses(folder, every=10, parts=1, finish_every=10**9)
