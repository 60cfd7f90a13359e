"""A good run to attack, and how a stranger would change a file of it: with a manifest that vouches for the change."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.faults.tiny import NAME, new_run

SAVE = "checkpoints/00000000"
OF_THE_RUN = ("run.json", "vocabulary.json", "held_out.bin")
OF_A_SAVE = tuple(f"{SAVE}/{name}" for name in ("model.safetensors", "training.safetensors", "progress.json"))
MANIFESTS = ("manifest.json", f"{SAVE}/manifest.json")


@functools.cache
def good_run() -> dict[str, bytes]:
    """The files of a run with one save, by their paths in it."""
    with tempfile.TemporaryDirectory() as folder:
        new_run(Path(folder)).close()
        path = Path(folder) / NAME
        return {name: (path / name).read_bytes() for name in (*OF_THE_RUN, *OF_A_SAVE, *MANIFESTS)}


def write_run(path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def manifest_of(name: str) -> str:
    return f"{SAVE}/manifest.json" if name.startswith(SAVE) else "manifest.json"


def vouched(name: str, data: bytes, sizes: int | None = None) -> dict[str, bytes]:
    """This file and a manifest that has its size and hash."""
    manifest = json.loads(good_run()[manifest_of(name)])
    manifest[Path(name).name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {name: data, manifest_of(name): json.dumps(manifest).encode()}


def as_json(name: str) -> Any:
    return json.loads(good_run()[name])


def changed(name: str, keys: Iterable[str], value: Any) -> dict[str, bytes]:
    """A JSON file in which the value at a place is another, vouched for."""
    data = as_json(name)
    *path, last = keys
    place = data
    for key in path:
        place = place[key]
    place[last] = value
    return vouched(name, json.dumps(data).encode())


def split_tensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the rest of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined_tensors(header: Any, rest: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest
