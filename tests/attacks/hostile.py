"""Malicious runs, each with its aim and the error that refuses it.

    python -m tests.attacks.hostile FOLDER

writes all of them to a folder, to try by hand: charrnn evaluate FOLDER/NAME/run
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
    CHECKPOINT,
    as_json,
    join_tensors,
    manifest_of,
    split_tensors,
    valid_run,
    with_manifest,
    with_value,
    write_run,
)

MODEL = f"{CHECKPOINT}/model.safetensors"
TRAINING = f"{CHECKPOINT}/training.safetensors"
PROGRESS = f"{CHECKPOINT}/progress.json"
FIRST = "embedding.weight"

Files = dict[str, bytes]


@dataclass(frozen=True)
class Attack:
    """A malicious run.

    aim: what it attempts. error: a part of the message that refuses it. make: the files that differ from a valid run.
    then: what else is done to the folder. command: what the victim does with the run.
    """

    aim: str
    error: str
    make: Callable[[], Files] = dict
    then: Callable[[Path], object] = lambda path: None
    command: str = "evaluate"


ATTACKS: dict[str, Attack] = {}


def attack(name: str, aim: str, error: str, **how: Any) -> None:
    ATTACKS[name] = Attack(aim, error, **how)


def header(change: Callable[[dict[str, Any]], object], name: str = MODEL) -> Callable[[], Files]:
    """Change the header of a safetensors file, and pad it to its old length if possible."""

    def make() -> Files:
        data = valid_run()[name]
        entries, rest = split_tensors(data)
        result = change(entries)
        text = result if isinstance(result, bytes) else json.dumps(entries, separators=(",", ":")).encode()
        return with_manifest(name, join_tensors(text.ljust(len(data) - len(rest) - 8), rest))

    return make


def entry(key: str, value: Any) -> Callable[[], Files]:
    return header(lambda entries: entries[FIRST].update({key: value}))


def numbers(change: Callable[[np.ndarray], object], name: str = MODEL) -> Callable[[], Files]:
    """Change the values of a safetensors file."""

    def make() -> Files:
        _, rest = split_tensors(valid_run()[name])
        values = np.frombuffer(rest, "<f4").copy()
        change(values)
        length = int.from_bytes(valid_run()[name][:8], "little")
        return with_manifest(name, valid_run()[name][: 8 + length] + values.tobytes())

    return make


def replaced_by(make: Callable[[Path], object], name: str) -> Callable[[Path], None]:
    """Replace a file by something else."""

    def then(path: Path) -> None:
        (path / name).unlink()
        make(path / name)

    return then


def linked(name: str, target: str) -> Callable[[Path], None]:
    return replaced_by(lambda path: path.symlink_to(target), name)


def sparse(name: str, size: int) -> Callable[[Path], None]:
    """Extend a file to a size without using the disk, and change the manifest accordingly."""

    def then(path: Path) -> None:
        os.truncate(path / name, size)
        manifest = path / manifest_of(name)
        data = json.loads(manifest.read_bytes())
        data[Path(name).name]["bytes"] = size
        manifest.write_text(json.dumps(data))

    return then


def move_and_link(path: Path) -> None:
    """Move a folder out of the run and link to it."""
    elsewhere = path.parent / "elsewhere" if path.parent.name != "run" else path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def settings(**values: Any) -> Callable[[], Files]:
    def make() -> Files:
        data = as_json("run.json")
        for name, value in values.items():
            next(part for part in data.values() if isinstance(part, dict) and name in part)[name] = value
        return with_manifest("run.json", json.dumps(data).encode())

    return make


def raw(name: str, data: bytes) -> Callable[[], Files]:
    return lambda: with_manifest(name, data)


def manifest(change: Callable[[dict[str, Any]], object], name: str = "manifest.json") -> Callable[[], Files]:
    def make() -> Files:
        data = as_json(name)
        result = change(data)
        return {name: result if isinstance(result, bytes) else json.dumps(data).encode()}

    return make


class Executes:
    """An object that executes a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("touch pwned",)


def torch_file() -> bytes:
    file = io.BytesIO()
    torch.save({"model": Executes()}, file)
    return file.getvalue()


# Settings

attack(
    "absurd-model",
    "allocate nine terabytes: 64 layers of 65,536 cells",
    "bytes, where its settings require",
    make=settings(layers=64, hidden_size=65536, embedding_size=65536),
)
attack(
    "absurd-streams",
    "allocate the state of a million streams",
    "bytes, where its settings require",
    make=settings(batch_size=1_000_000, hidden_size=65536),
)
attack("settings-out-of-bounds", "divide by zero layers", "`layers` must be at least 1", make=settings(layers=0))
attack("settings-too-large-for-a-float", "overflow a float", "must be a number", make=settings(dropout=10**4000))
attack("settings-endless-number", "parse a number of a million digits", "is damaged", make=raw(
    "run.json", b'{"format": ' + b"9" * 900_000 + b"}"))  # fmt: skip
attack("settings-of-another-type", "use a list as a number", "must be a whole number", make=settings(layers=[1]))
attack("settings-true-for-one", "use true as a number", "must be a whole number", make=settings(layers=True))
attack("documents-long", "compile an expression for minutes", "at most 1,000 characters",
       make=settings(documents="(?i)" + "[\0-\U0010ffff]" * 15_000))  # fmt: skip
attack("documents-nested", "overflow the stack while compiling", "must be lines, files or a regular expression",
       make=settings(documents="(" * 500 + ")" * 500))  # fmt: skip
attack("settings-infinite", "use 1e999, which parses as infinity", "finite number", make=lambda: with_manifest(
    "run.json", valid_run()["run.json"].replace(b'"dropout": 0.2', b'"dropout": 1e999')))  # fmt: skip
attack("settings-not-a-number", "use NaN", "NaN is not a number", make=lambda: with_manifest(
    "run.json", valid_run()["run.json"].replace(b'"dropout": 0.2', b'"dropout": NaN')))  # fmt: skip
attack("settings-twice", "show different values to two readers", "is repeated", make=lambda: with_manifest(
    "run.json", valid_run()["run.json"].replace(b'"layers": 2', b'"layers": 2, "layers": 9')))  # fmt: skip
attack("settings-unknown", "add a setting", "unknown setting 'exec'", make=(
    lambda: with_value("run.json", ["model", "exec"], "import os")))  # fmt: skip
attack("settings-missing", "leave out a setting", "header does not end where", make=lambda: with_manifest(
    "run.json", valid_run()["run.json"].replace(b'    "layers": 2,\n', b"")))  # fmt: skip
attack("settings-unknown-and-long", "fill the terminal with a name", "…", make=lambda: with_value(
    "run.json", ["model", "x" * 500_000], 1))  # fmt: skip
attack(
    "settings-unknown-part", "add a part", "unknown setting 'hooks'", make=lambda: with_value("run.json", ["hooks"], {})
)
attack("settings-of-the-future", "use a newer format", "has format 99", make=lambda: with_value(
    "run.json", ["format"], 99))  # fmt: skip
attack("settings-no-object", "use a list as the settings", "does not describe a run", make=raw("run.json", b"[]"))
attack("settings-nested", "overflow the stack of the parser", "is damaged", make=raw("run.json", b"[" * 900_000))
attack(
    "settings-huge",
    "read ten gigabytes",
    "is too large",
    then=sparse("run.json", 10**10),
)
attack("settings-device", "read from a device for ever", "is not a run", then=linked("run.json", "/dev/zero"))
attack("settings-link", "read another file", "is not a regular file", then=linked("run.json", "/etc/passwd"))
attack("settings-fifo", "wait for ever", "not a run", then=replaced_by(os.mkfifo, "run.json"))
attack("settings-folder", "read a folder", "not a run", then=replaced_by(Path.mkdir, "run.json"))
attack(
    "settings-escapes",
    "control the terminal through an error message",
    "\\u202e",
    make=lambda: with_value("run.json", ["model", "recurrence"], "\x1b]0;owned\x07\x9b2J\u202e\ud800\n\r"),
)
attack(
    "corpus-of-a-shell",
    "suggest a command that does something else when pasted",
    "charrnn train 'x;' rm -rf",
    make=settings(specs="x; rm -rf ~"),
    command="train --resume",
)
attack(
    "corpus-with-a-parameter",
    "become the value of a flag, and so leave the quotes of a suggested command",
    """charrnn train 'x?name="$(rm -rf ~)"?' --resume --name""",
    make=settings(specs="""'x`name="$(rm -rf ~)"`'"""),
    command="train --resume",
)
attack(
    "corpus-unquoted",
    "crash the shell parser",
    "is not quoted for a shell",
    make=settings(specs="it's"),
    command="train --resume",
)
attack(
    "corpus-elsewhere",
    "read and learn another file",
    "name it: charrnn train /etc/passwd",
    make=settings(specs="/etc/passwd"),
    command="train --resume",
)

# Vocabulary and held-out text

attack("vocabulary-twice", "give a character two ids", "a character twice", make=raw(
    "vocabulary.json", b'{"kind": "characters", "characters": "abca"}'))  # fmt: skip
attack("vocabulary-surrogate", "print half a character", "half of a surrogate pair", make=raw(
    "vocabulary.json", rb'{"kind": "characters", "characters": "a\ud800"}'))  # fmt: skip
attack("vocabulary-empty", "divide by zero characters", "at least one character", make=raw(
    "vocabulary.json", b'{"kind": "characters", "characters": ""}'))  # fmt: skip
attack("vocabulary-of-numbers", "use numbers as characters", "are texts", make=raw(
    "vocabulary.json", b'{"kind": "characters", "characters": [1, 2]}'))  # fmt: skip
attack("vocabulary-of-lists", "turn five megabytes of JSON into gigabytes", "too many parts", make=raw(
    "vocabulary.json", b"[" + b"[]," * 1_600_000 + b"1]"))  # fmt: skip
attack("vocabulary-of-keys", "create a table of 400,000 keys", "too many parts", make=lambda: with_manifest(
    "vocabulary.json", ("{" + ",".join(f'"{k:x}":0' for k in range(400_000)) + "}").encode()))  # fmt: skip
attack("vocabulary-other", "use more characters than the weights have", "bytes, where its settings require", make=raw(
    "vocabulary.json", b'{"kind": "bytes", "characters": ""}'))  # fmt: skip
attack("held-out-not-utf-8", "decode bytes that are not text", "is damaged", make=raw("held_out.bin", b"\xff\xfe"))
attack("held-out-unknown", "use characters without an id", "has unknown characters", make=raw(
    "held_out.bin", "☃\x1b[2J".encode()))  # fmt: skip
attack("held-out-huge", "read ten gigabytes", "is too large",
       then=sparse("held_out.bin", 10**10))  # fmt: skip

# Manifests

attack("manifest-elsewhere", "hash a file outside the run", "does not list the files", make=manifest(
    lambda data: data.update({"../../../etc/passwd": {"bytes": 1, "sha256": ""}})))  # fmt: skip
attack("manifest-other-name", "name a file by a path", "does not list the files", make=manifest(
    lambda data: data.update({"./held_out.bin": data.pop("held_out.bin")})))  # fmt: skip
attack("manifest-negative", "use a negative size", "does not list the files", make=manifest(
    lambda data: data["run.json"].update(bytes=-1)))  # fmt: skip
attack("manifest-true", "use true as a size", "does not list the files", make=manifest(
    lambda data: data["run.json"].update(bytes=True)))  # fmt: skip
attack("manifest-more", "add a key", "does not list the files", make=manifest(
    lambda data: data["run.json"].update(path="/etc/passwd")))  # fmt: skip
attack("manifest-of-lists", "use lists", "does not list the files", make=manifest(lambda data: b"[[[]]]"))
attack("manifest-other-hash", "use the hash of another file", "does not match its manifest", make=manifest(
    lambda data: data["run.json"].update(sha256="0" * 64)))  # fmt: skip
attack("manifest-huge", "read ten gigabytes", "is too large", then=lambda path: os.truncate(
    path / "manifest.json", 10**10))  # fmt: skip
attack(
    "manifest-missing", "leave out the manifest", "cannot be read", then=lambda path: (path / "manifest.json").unlink()
)

# Checkpoints

attack("checkpoint-huge-and-false", "allocate 400 megabytes before the hash is checked",
       "does not match its manifest", make=settings(hidden_size=2500, layers=2),
       then=lambda path: write_huge_and_false(path))  # fmt: skip
attack("checkpoint-without-files", "leave out the files of a checkpoint", "cannot be read", then=lambda path: (
    (path / MODEL).unlink(), (path / PROGRESS).unlink()))  # fmt: skip
attack("checkpoint-link", "use a folder outside the run as a checkpoint", "has no checkpoint yet", then=lambda path:
    move_and_link(path / CHECKPOINT))  # fmt: skip
attack("checkpoints-link", "use a folder outside the run as checkpoints/", "has no checkpoint yet", then=lambda path:
    move_and_link(path / "checkpoints"))  # fmt: skip
attack("checkpoint-of-another-step", "name a checkpoint by another step", "its folder of step 7", then=lambda path: (
    (path / CHECKPOINT).rename(path / "checkpoints" / "00000007")))  # fmt: skip
attack("checkpoint-of-a-long-name", "use two names for a step", "has no checkpoint yet", then=lambda path: (
    (path / CHECKPOINT).rename(path / "checkpoints" / "000000000")))  # fmt: skip
attack("progress-endless", "overflow a float", "and at most 1,000,000,000,000,000", make=lambda: with_value(
    PROGRESS, ["skipped_steps"], 10**4000))  # fmt: skip
attack("progress-negative", "resume from a negative step", "must be at least 0", make=lambda: with_value(
    PROGRESS, ["evaluated_step"], -5))  # fmt: skip
attack(
    "progress-text",
    "use a string as a number",
    "must be a number",
    make=lambda: with_value(PROGRESS, ["rate_scale"], "1"),
)
attack("model-link", "read another file", "is damaged", then=linked(MODEL, "/etc/passwd"))
attack("model-device", "read from a device for ever", "is damaged", then=linked(MODEL, "/dev/zero"))
attack("model-fifo", "wait for ever", "is damaged", then=replaced_by(os.mkfifo, MODEL))
attack("model-pickle", "execute code through pickle", "bytes, where its settings require", make=lambda: with_manifest(
    MODEL, pickle.dumps(Executes())))  # fmt: skip
attack("model-of-torch-save", "execute code through torch.load", "is damaged", make=lambda: with_manifest(
    MODEL, torch_file().ljust(len(valid_run()[MODEL]), b"\0")))  # fmt: skip
attack("model-endless-header", "read a header of nine exabytes", "does not end where", make=lambda: with_manifest(
    MODEL, (2**63).to_bytes(8, "little") + valid_run()[MODEL][8:]))  # fmt: skip
attack("model-long-header", "parse a header that is too long", "header does not end where", make=lambda:
    with_manifest(MODEL, (len(valid_run()[MODEL])).to_bytes(8, "little") + valid_run()[MODEL][8:]))  # fmt: skip
attack("model-header-of-lists", "turn a megabyte of JSON into many", "too many parts", make=lambda: with_manifest(
    MODEL, join_tensors(b"[" + b"[]," * 330_000 + b"1]", split_tensors(valid_run()[MODEL])[1])))  # fmt: skip
attack("model-nested-header", "overflow the stack of the parser", "is damaged", make=lambda: with_manifest(
    MODEL, join_tensors(b"[" * 900_000, split_tensors(valid_run()[MODEL])[1])))  # fmt: skip
attack("model-twice", "list a tensor twice", "a key is repeated", make=header(lambda entries: json.dumps(
    entries, separators=(",", ":")).encode()[:-1] + b',"a":1,"a":2}'))  # fmt: skip
attack("model-metadata", "add metadata", "not those that its settings require", make=header(
    lambda entries: entries.update(__metadata__={"path": "/etc/passwd"})))  # fmt: skip
attack("model-more", "add a tensor", "not those that its settings require", make=header(
    lambda entries: entries.update({"../evil": entries[FIRST]})))  # fmt: skip
attack("model-fewer", "leave out a tensor", "not those that its settings require", make=header(
    lambda entries: entries.pop(FIRST)))  # fmt: skip
attack("model-double", "use another type", "not a float32 tensor", make=entry("dtype", "F64"))
attack("model-half", "use another type", "not a float32 tensor", make=entry("dtype", "BF16"))
attack("model-one-half", "use half precision in one tensor", "not a float32 tensor", make=entry("dtype", "F16"))
attack("model-dtype-list", "use a list as a type", "not a float32 tensor", make=entry("dtype", ["F32"]))
attack("model-empty-shape", "use a shape of zero elements", "not a float32 tensor", make=entry("shape", [0, 2**62]))
attack("model-overflow", "overflow 64 bits", "not a float32 tensor", make=entry("shape", [2**62, 2**62]))
attack("model-negative-shape", "use negative sizes", "not a float32 tensor", make=entry("shape", [-1, -4]))
attack("model-other-shape", "swap rows and columns", "not a float32 tensor", make=header(
    lambda entries: entries[FIRST]["shape"].reverse()))  # fmt: skip
attack("model-float-shape", "use fractional sizes", "not a float32 tensor", make=entry("shape", [11.0, 4.0]))
attack("model-shape-text", "use a string as a shape", "not a float32 tensor", make=entry("shape", "11x4"))
attack("model-no-entry", "use a number as a tensor", "is not described as", make=header(
    lambda entries: entries.update({FIRST: 7})))  # fmt: skip
attack("model-more-fields", "add a key", "is not described as", make=entry("file", "/etc/passwd"))
attack("model-overlap", "share bytes between two tensors", "does not start where", make=header(
    lambda entries: entries[FIRST].update(data_offsets=[4, 4 + length_of(entries[FIRST])])))  # fmt: skip
attack("model-outside", "read past the end", "does not", make=header(
    lambda entries: entries[FIRST].update(data_offsets=[10**9, 10**9 + length_of(entries[FIRST])])))  # fmt: skip
attack("model-before", "read before the start", "does not", make=header(
    lambda entries: entries[FIRST].update(data_offsets=[-length_of(entries[FIRST]), 0])))  # fmt: skip
attack("model-backwards", "end before the start", "do not fit the shape", make=header(
    lambda entries: entries[FIRST]["data_offsets"].reverse()))  # fmt: skip
attack("model-three-offsets", "use three offsets", "do not fit the shape", make=header(
    lambda entries: entries[FIRST]["data_offsets"].append(0)))  # fmt: skip
attack(
    "model-endless-offset",
    "overflow 64 bits",
    "do not fit the shape",
    make=entry("data_offsets", [0, 10**30]),
)
attack("model-not-a-number", "make every loss NaN", "non-finite values", make=numbers(
    lambda values: values.__setitem__(3, np.nan)))  # fmt: skip
attack("model-infinite", "make every loss infinite", "non-finite values", make=numbers(
    lambda values: values.__setitem__(-1, -np.inf)))  # fmt: skip
attack("model-longer", "add bytes after the last tensor", "header does not end where", make=lambda: with_manifest(
    MODEL, valid_run()[MODEL] + b"\0" * 64))  # fmt: skip
attack("model-shorter", "leave out bytes of the last tensor", "header does not end where", make=lambda: with_manifest(
    MODEL, valid_run()[MODEL][:-400]))  # fmt: skip

# Resuming the training

attack("optimizer-infinite", "stop every update", "non-finite values", make=numbers(
    lambda values: values.__setitem__(0, np.inf), TRAINING), command="train --resume")  # fmt: skip
attack("metrics-link", "truncate and write to another file", "is not a regular file", then=lambda path: (
    path / "metrics.jsonl").symlink_to(path.parent / "victim.txt"), command="train --resume")  # fmt: skip
attack("lock-link", "create a file outside the run", "is not a regular file", then=lambda path: (
    path / "lock").symlink_to(path.parent / "made.txt"), command="train --resume")  # fmt: skip
attack("lock-fifo", "wait for ever", "is not a regular file", then=lambda path: os.mkfifo(path / "lock"),
       command="train --resume")  # fmt: skip
attack("checkpoints-link-to-write", "write and remove checkpoints outside the run", "is a link or a file",
       then=lambda path: move_and_link(path / "checkpoints"),
       command="train --resume")  # fmt: skip
attack("metrics-huge", "read a gigabyte", "it has a line of more than 64.0 MB", make=settings(batch_size=99),
       then=lambda path: ((path / "metrics.jsonl").touch(), os.truncate(path / "metrics.jsonl", 10**9)),
       command="train --resume")  # fmt: skip


def length_of(entry: dict[str, Any]) -> int:
    start, stop = entry["data_offsets"]
    return stop - start


def write_huge_and_false(path: Path) -> None:
    """Write the weights of a large model, all zero and valid except for the hash."""
    from charrnn.model.network import parameter_shapes
    from charrnn.settings import ModelSettings

    entries, end = {}, 0
    model = ModelSettings.from_json(json.loads((path / "run.json").read_bytes())["model"], "")
    for name, shape in parameter_shapes(model, len(as_json("vocabulary.json")["characters"])).items():
        start, end = end, end + 4 * int(np.prod(shape))
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    data = join_tensors(entries, b"")
    (path / MODEL).write_bytes(data)
    sparse(MODEL, len(data) + end)(path)


def make(name: str, folder: Path) -> Path:
    """Write a malicious run and a file of the victim to a folder. Return the run's path."""
    path = folder / "run"
    write_run(path, valid_run() | ATTACKS[name].make())
    (folder / "victim.txt").write_text("important\nwithout an end")
    ATTACKS[name].then(path)
    return path


if __name__ == "__main__":
    for attack_name in ATTACKS:
        print(make(attack_name, Path(sys.argv[1]) / attack_name), "–", ATTACKS[attack_name].aim)
