"""Runs that a stranger might send: each made by a few lines, with what it tries and what it gets.

    python -m tests.attacks.hostile FOLDER

writes them all into a folder, to be tried by hand: charrnn evaluate FOLDER/NAME
"""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.attacks.folders import (
    SAVE,
    as_json,
    changed,
    good_run,
    joined_tensors,
    manifest_of,
    split_tensors,
    vouched,
    write_run,
)

MODEL = f"{SAVE}/model.safetensors"
TRAINING = f"{SAVE}/training.safetensors"
PROGRESS = f"{SAVE}/progress.json"
FIRST = "embedding.weight"

Files = dict[str, bytes]


@dataclass(frozen=True)
class Attack:
    """tries: what it is after. gets: words of the error. make: the files that differ from a good run's. then: what else
    is done to the folder. command: what the victim types after the run's folder is named."""

    tries: str
    gets: str
    make: Callable[[], Files] = dict
    then: Callable[[Path], object] = lambda path: None
    command: str = "evaluate"


ATTACKS: dict[str, Attack] = {}


def attack(name: str, tries: str, gets: str, **how: Any) -> None:
    ATTACKS[name] = Attack(tries, gets, **how)


def header(change: Callable[[dict[str, Any]], object], name: str = MODEL) -> Callable[[], Files]:
    """A safetensors file whose header is changed, padded to its old length where that is possible."""

    def make() -> Files:
        data = good_run()[name]
        entries, rest = split_tensors(data)
        result = change(entries)
        text = result if isinstance(result, bytes) else json.dumps(entries, separators=(",", ":")).encode()
        return vouched(name, joined_tensors(text.ljust(len(data) - len(rest) - 8), rest))

    return make


def entry(key: str, value: Any) -> Callable[[], Files]:
    return header(lambda entries: entries[FIRST].update({key: value}))


def numbers(change: Callable[[np.ndarray], object], name: str = MODEL) -> Callable[[], Files]:
    """A safetensors file whose numbers are changed."""

    def make() -> Files:
        _, rest = split_tensors(good_run()[name])
        values = np.frombuffer(rest, "<f4").copy()
        change(values)
        length = int.from_bytes(good_run()[name][:8], "little")
        return vouched(name, good_run()[name][: 8 + length] + values.tobytes())

    return make


def replaced_by(make: Callable[[Path], object], name: str) -> Callable[[Path], None]:
    """Something else in a file's place."""

    def then(path: Path) -> None:
        (path / name).unlink()
        make(path / name)

    return then


def linked(name: str, target: str) -> Callable[[Path], None]:
    return replaced_by(lambda path: path.symlink_to(target), name)


def sparse(name: str, size: int) -> Callable[[Path], None]:
    """A file of that size, which takes no room on the disk but would in memory; its manifest agrees."""

    def then(path: Path) -> None:
        os.truncate(path / name, size)
        manifest = path / manifest_of(name)
        data = json.loads(manifest.read_bytes())
        data[Path(name).name]["bytes"] = size
        manifest.write_text(json.dumps(data))

    return then


def moved_and_linked(path: Path) -> None:
    """A folder is somewhere else, and a link to it in its place."""
    elsewhere = path.parent / "elsewhere" if path.parent.name != "run" else path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def settings(**values: Any) -> Callable[[], Files]:
    def make() -> Files:
        data = as_json("run.json")
        for name, value in values.items():
            next(part for part in data.values() if isinstance(part, dict) and name in part)[name] = value
        return vouched("run.json", json.dumps(data).encode())

    return make


def raw(name: str, data: bytes) -> Callable[[], Files]:
    return lambda: vouched(name, data)


def manifest(change: Callable[[dict[str, Any]], object], name: str = "manifest.json") -> Callable[[], Files]:
    def make() -> Files:
        data = as_json(name)
        result = change(data)
        return {name: result if isinstance(result, bytes) else json.dumps(data).encode()}

    return make


class Runs:
    """What pickle would call."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch pwned",)


def torch_file() -> bytes:
    file = io.BytesIO()
    torch.save({"model": Runs()}, file)
    return file.getvalue()


# Settings

attack(
    "absurd-model",
    "has 64 layers of 65,536 cells allocated: nine terabytes",
    "bytes, where its settings require",
    make=settings(layers=64, hidden_size=65536, embedding_size=65536),
)
attack(
    "absurd-streams",
    "has the state of a million streams allocated when training goes on",
    "bytes, where its settings require",
    make=settings(batch_size=1_000_000, hidden_size=65536),
)
attack("settings-out-of-bounds", "divides by no layers", "--layers must be at least 1", make=settings(layers=0))
attack("settings-too-large-for-a-float", "makes int → float fail", "must be a number", make=settings(dropout=10**4000))
attack("settings-endless-number", "has a number of a million digits parsed", "is damaged", make=raw(
    "run.json", b'{"format": ' + b"9" * 900_000 + b"}"))  # fmt: skip
attack("settings-of-another-type", "calls a method of a list", "must be a whole number", make=settings(layers=[1]))
attack("settings-true-for-one", "passes true as a number", "must be a whole number", make=settings(layers=True))
attack("settings-infinite", "has 1e999 read as infinity", "finite number", make=lambda: vouched(
    "run.json", good_run()["run.json"].replace(b'"dropout": 0.2', b'"dropout": 1e999')))  # fmt: skip
attack("settings-not-a-number", "has NaN read", "NaN is not a number", make=lambda: vouched(
    "run.json", good_run()["run.json"].replace(b'"dropout": 0.2', b'"dropout": NaN')))  # fmt: skip
attack("settings-twice", "shows one value to a checker, one to a reader", "is repeated", make=lambda: vouched(
    "run.json", good_run()["run.json"].replace(b'"layers": 2', b'"layers": 2, "layers": 9')))  # fmt: skip
attack("settings-unknown", "smuggles a setting for another version in", "unknown setting 'exec'", make=(
    lambda: changed("run.json", ["model", "exec"], "import os")))  # fmt: skip
attack("settings-missing", "leaves a setting out that the weights contradict", "header does not end where", make=lambda: vouched(
    "run.json", good_run()["run.json"].replace(b'    "layers": 2,\n', b"")))  # fmt: skip
attack("settings-unknown-and-long", "fills the terminal with a name", "…", make=lambda: changed(
    "run.json", ["model", "x" * 500_000], 1))  # fmt: skip
attack(
    "settings-unknown-part", "adds a part", "unknown setting 'hooks'", make=lambda: changed("run.json", ["hooks"], {})
)
attack("settings-of-the-future", "is of a format not known yet", "has format 99", make=lambda: changed(
    "run.json", ["format"], 99))  # fmt: skip
attack("settings-no-object", "is a list", "does not describe a run", make=raw("run.json", b"[]"))
attack("settings-nested", "makes a recursive parser fail", "is damaged", make=raw("run.json", b"[" * 900_000))
attack(
    "settings-huge",
    "has ten gigabytes read",
    "is too large",
    then=sparse("run.json", 10**10),
)
attack("settings-device", "reads from a device for ever", "is not a run", then=linked("run.json", "/dev/zero"))
attack("settings-link", "reads a file elsewhere", "is not a regular file", then=linked("run.json", "/etc/passwd"))
attack("settings-fifo", "waits for ever", "not a run", then=replaced_by(os.mkfifo, "run.json"))
attack("settings-folder", "is a folder", "not a run", then=replaced_by(Path.mkdir, "run.json"))
attack(
    "settings-escapes",
    "drives the terminal from an error message",
    "\\u202e",
    make=lambda: changed("run.json", ["model", "recurrence"], "\x1b]0;owned\x07\x9b2J\u202e\ud800\n\r"),
)
attack(
    "corpus-of-a-shell",
    "has a command pasted that the hint shows",
    "charrnn train 'x;' rm -rf",
    make=settings(specs="x; rm -rf ~"),
    command="train --resume",
)
attack(
    "corpus-unquoted",
    "makes the shell's parser fail",
    "is not quoted for a shell",
    make=settings(specs="it's"),
    command="train --resume",
)
attack(
    "corpus-elsewhere",
    "has a file of the victim's read and learned",
    "name it again: charrnn train /etc/passwd",
    make=settings(specs="/etc/passwd"),
    command="train --resume",
)

# Vocabulary and held-out text

attack("vocabulary-twice", "gives two ids to a character", "a character twice", make=raw(
    "vocabulary.json", b'{"kind": "characters", "characters": "abca"}'))  # fmt: skip
attack("vocabulary-surrogate", "has half a character printed", "half of a surrogate pair", make=raw(
    "vocabulary.json", rb'{"kind": "characters", "characters": "a\ud800"}'))  # fmt: skip
attack("vocabulary-empty", "divides by no characters", "at least one character", make=raw(
    "vocabulary.json", b'{"kind": "characters", "characters": ""}'))  # fmt: skip
attack("vocabulary-of-numbers", "is not a text", "are texts", make=raw(
    "vocabulary.json", b'{"kind": "characters", "characters": [1, 2]}'))  # fmt: skip
attack("vocabulary-of-lists", "has five megabytes of JSON become gigabytes", "too many parts", make=raw(
    "vocabulary.json", b"[" + b"[]," * 1_600_000 + b"1]"))  # fmt: skip
attack("vocabulary-of-keys", "has a table of half a million keys made", "too many parts", make=lambda: vouched(
    "vocabulary.json", ("{" + ",".join(f'"{k:x}":0' for k in range(400_000)) + "}").encode()))  # fmt: skip
attack("vocabulary-other", "is longer than the weights know", "bytes, where its settings require", make=raw(
    "vocabulary.json", b'{"kind": "bytes", "characters": ""}'))  # fmt: skip
attack("held-out-not-utf-8", "has bytes decoded that are no text", "is damaged", make=raw("held_out.bin", b"\xff\xfe"))
attack("held-out-unknown", "holds characters without an id", "what the model does not know", make=raw(
    "held_out.bin", "☃\x1b[2J".encode()))  # fmt: skip
attack("held-out-huge", "has ten gigabytes read", "is too large",
       then=sparse("held_out.bin", 10**10))  # fmt: skip

# Manifests

attack("manifest-elsewhere", "has a file outside hashed", "does not list the files", make=manifest(
    lambda data: data.update({"../../../etc/passwd": {"bytes": 1, "sha256": ""}})))  # fmt: skip
attack("manifest-other-name", "names a file by a path", "does not list the files", make=manifest(
    lambda data: data.update({"./held_out.bin": data.pop("held_out.bin")})))  # fmt: skip
attack("manifest-negative", "has a negative size", "does not list the files", make=manifest(
    lambda data: data["run.json"].update(bytes=-1)))  # fmt: skip
attack("manifest-true", "has true for a size", "does not list the files", make=manifest(
    lambda data: data["run.json"].update(bytes=True)))  # fmt: skip
attack("manifest-more", "says more than it should", "does not list the files", make=manifest(
    lambda data: data["run.json"].update(path="/etc/passwd")))  # fmt: skip
attack("manifest-of-lists", "is of another form", "does not list the files", make=manifest(lambda data: b"[[[]]]"))
attack("manifest-other-hash", "vouches for another file", "does not match its manifest", make=manifest(
    lambda data: data["run.json"].update(sha256="0" * 64)))  # fmt: skip
attack("manifest-huge", "has ten gigabytes read", "is too large", then=lambda path: os.truncate(
    path / "manifest.json", 10**10))  # fmt: skip
attack("manifest-missing", "has no manifest", "cannot be read", then=lambda path: (path / "manifest.json").unlink())

# Saves

attack("save-huge-and-false", "has four hundred megabytes allocated before their hash is known to be wrong",
       "does not match its manifest", make=settings(hidden_size=2500, layers=2),
       then=lambda path: huge_and_false(path))  # fmt: skip
attack("save-not-there", "has a save without files", "cannot be read", then=lambda path: (
    (path / MODEL).unlink(), (path / PROGRESS).unlink()))  # fmt: skip
attack("save-link", "has a folder elsewhere taken for a save", "has no checkpoint yet", then=lambda path:
    moved_and_linked(path / SAVE))  # fmt: skip
attack("saves-link", "has a folder elsewhere taken for the saves", "has no checkpoint yet", then=lambda path:
    moved_and_linked(path / "checkpoints"))  # fmt: skip
attack("save-of-another-step", "is called by another step", "its folder of step 7", then=lambda path: (
    (path / SAVE).rename(path / "checkpoints" / "00000007")))  # fmt: skip
attack("save-of-a-long-name", "stands for a step twice", "has no checkpoint yet", then=lambda path: (
    (path / SAVE).rename(path / "checkpoints" / "000000000")))  # fmt: skip
attack("progress-endless", "makes int → float fail", "and at most 1e+15", make=lambda: changed(
    PROGRESS, ["skipped_steps"], 10**4000))  # fmt: skip
attack("progress-negative", "goes on from before the beginning", "must be at least 0", make=lambda: changed(
    PROGRESS, ["evaluated_step"], -5))  # fmt: skip
attack("progress-text", "is of another type", "must be a number", make=lambda: changed(PROGRESS, ["rate_scale"], "1"))
attack("model-link", "reads a file elsewhere", "is damaged", then=linked(MODEL, "/etc/passwd"))
attack("model-device", "reads from a device for ever", "is damaged", then=linked(MODEL, "/dev/zero"))
attack("model-fifo", "waits for ever", "is damaged", then=replaced_by(os.mkfifo, MODEL))
attack("model-pickle", "has code run by pickle", "bytes, where its settings require", make=lambda: vouched(
    MODEL, pickle.dumps(Runs())))  # fmt: skip
attack("model-of-torch-save", "has code run by torch.load", "is damaged", make=lambda: vouched(
    MODEL, torch_file().ljust(len(good_run()[MODEL]), b"\0")))  # fmt: skip
attack("model-endless-header", "has a header of nine exabytes read", "header does not end where", make=lambda: vouched(
    MODEL, (2**63).to_bytes(8, "little") + good_run()[MODEL][8:]))  # fmt: skip
attack("model-long-header", "has a header parsed that is too long", "header does not end where", make=lambda:
    vouched(MODEL, (len(good_run()[MODEL])).to_bytes(8, "little") + good_run()[MODEL][8:]))  # fmt: skip
attack("model-header-of-lists", "has a megabyte of JSON become many", "too many parts", make=lambda:
    vouched(MODEL, joined_tensors(b"[" + b"[]," * 330_000 + b"1]", split_tensors(good_run()[MODEL])[1])))  # fmt: skip
attack("model-nested-header", "makes a recursive parser fail", "is damaged", make=lambda: vouched(
    MODEL, joined_tensors(b"[" * 900_000, split_tensors(good_run()[MODEL])[1])))  # fmt: skip
attack("model-twice", "lists a tensor twice", "a key is repeated", make=header(lambda entries: json.dumps(
    entries, separators=(",", ":")).encode()[:-1] + b',"a":1,"a":2}'))  # fmt: skip
attack("model-metadata", "has metadata along", "not those that its settings require", make=header(
    lambda entries: entries.update(__metadata__={"path": "/etc/passwd"})))  # fmt: skip
attack("model-more", "has a tensor more", "not those that its settings require", make=header(
    lambda entries: entries.update({"../evil": entries[FIRST]})))  # fmt: skip
attack("model-fewer", "has a tensor fewer", "not those that its settings require", make=header(
    lambda entries: entries.pop(FIRST)))  # fmt: skip
attack("model-double", "is of another type", "not a float32 tensor", make=entry("dtype", "F64"))
attack("model-half", "is of another type", "not a float32 tensor", make=entry("dtype", "BF16"))
attack("model-dtype-list", "is of no type", "not a float32 tensor", make=entry("dtype", ["F32"]))
attack("model-empty-shape", "multiplies to nothing", "not a float32 tensor", make=entry("shape", [0, 2**62]))
attack("model-overflow", "multiplies beyond 64 bits", "not a float32 tensor", make=entry("shape", [2**62, 2**62]))
attack("model-negative-shape", "multiplies to less than nothing", "not a float32 tensor", make=entry("shape", [-1, -4]))
attack("model-other-shape", "has rows and columns swapped", "not a float32 tensor", make=header(
    lambda entries: entries[FIRST]["shape"].reverse()))  # fmt: skip
attack("model-float-shape", "counts in halves", "not a float32 tensor", make=entry("shape", [11.0, 4.0]))
attack("model-shape-text", "is of no shape", "not a float32 tensor", make=entry("shape", "11x4"))
attack("model-no-entry", "describes a tensor by a number", "is not described as", make=header(
    lambda entries: entries.update({FIRST: 7})))  # fmt: skip
attack("model-more-fields", "says more than it should", "is not described as", make=entry("file", "/etc/passwd"))
attack("model-overlap", "has two tensors share bytes", "does not start where", make=header(
    lambda entries: entries[FIRST].update(data_offsets=[4, 4 + length_of(entries[FIRST])])))  # fmt: skip
attack("model-outside", "reads past the end", "does not", make=header(
    lambda entries: entries[FIRST].update(data_offsets=[10**9, 10**9 + length_of(entries[FIRST])])))  # fmt: skip
attack("model-before", "reads before the beginning", "does not", make=header(
    lambda entries: entries[FIRST].update(data_offsets=[-length_of(entries[FIRST]), 0])))  # fmt: skip
attack("model-backwards", "ends before it begins", "do not fit the shape", make=header(
    lambda entries: entries[FIRST]["data_offsets"].reverse()))  # fmt: skip
attack("model-three-offsets", "has one offset more", "do not fit the shape", make=header(
    lambda entries: entries[FIRST]["data_offsets"].append(0)))  # fmt: skip
attack(
    "model-endless-offset",
    "makes 64-bit arithmetic fail",
    "do not fit the shape",
    make=entry("data_offsets", [0, 10**30]),
)
attack("model-not-a-number", "makes every loss not a number", "non-finite values", make=numbers(
    lambda values: values.__setitem__(3, np.nan)))  # fmt: skip
attack("model-infinite", "makes every loss infinite", "non-finite values", make=numbers(
    lambda values: values.__setitem__(-1, -np.inf)))  # fmt: skip
attack("model-longer", "has bytes behind the last tensor", "header does not end where", make=lambda: vouched(
    MODEL, good_run()[MODEL] + b"\0" * 64))  # fmt: skip
attack("model-shorter", "has no bytes for the last tensor", "header does not end where", make=lambda: vouched(
    MODEL, good_run()[MODEL][:-400]))  # fmt: skip

# Going on with the training of a stranger's run

attack("optimizer-infinite", "stops every update", "non-finite values", make=numbers(
    lambda values: values.__setitem__(0, np.inf), TRAINING), command="train --resume")  # fmt: skip
attack("metrics-link", "has a file of the victim's cut and written to", "is not a regular file", then=lambda path: (
    path / "metrics.jsonl").symlink_to(path.parent / "victim.txt"), command="train --resume")  # fmt: skip
attack("lock-link", "has a file of the victim's made", "is not a regular file", then=lambda path: (
    path / "lock").symlink_to(path.parent / "made.txt"), command="train --resume")  # fmt: skip
attack("lock-fifo", "waits for ever", "is not a regular file", then=lambda path: os.mkfifo(path / "lock"),
       command="train --resume")  # fmt: skip
attack("saves-link-to-write", "has saves written, and older ones removed, elsewhere", "is a link or a file",
       then=lambda path: moved_and_linked(path / "checkpoints"),
       command="train --resume")  # fmt: skip
attack("metrics-huge", "has ten gigabytes read", "bytes, where its settings require", make=settings(batch_size=99),
       then=lambda path: ((path / "metrics.jsonl").touch(), os.truncate(path / "metrics.jsonl", 10**9)),
       command="train --resume")  # fmt: skip


def length_of(entry: dict[str, Any]) -> int:
    start, stop = entry["data_offsets"]
    return stop - start


def huge_and_false(path: Path) -> None:
    """Weights of a large model, all zero, described as they should be; only the hash is wrong."""
    from charrnn.model.network import parameter_shapes
    from charrnn.settings import ModelSettings

    entries, end = {}, 0
    model = ModelSettings.from_json(json.loads((path / "run.json").read_bytes())["model"], "")
    for name, shape in parameter_shapes(model, len(as_json("vocabulary.json")["characters"])).items():
        start, end = end, end + 4 * int(np.prod(shape))
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    data = joined_tensors(entries, b"")
    (path / MODEL).write_bytes(data)
    sparse(MODEL, len(data) + end)(path)


def make(name: str, folder: Path) -> Path:
    """Writes a hostile run into a folder, beside a file of the victim's. Returns the run's folder."""
    path = folder / "run"
    write_run(path, good_run() | ATTACKS[name].make())
    (folder / "victim.txt").write_text("important\nwithout an end")
    ATTACKS[name].then(path)
    return path


if __name__ == "__main__":
    for attack_name in ATTACKS:
        print(make(attack_name, Path(sys.argv[1]) / attack_name), "–", ATTACKS[attack_name].tries)
