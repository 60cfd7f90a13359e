"""A valid run, and its files with changes that the manifest confirms."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.faults.tiny import NAME, new_run

CHECKPOINT = "checkpoints/00000000"
RUN_FILES = ("run.json", "vocabulary.json", "held_out.bin")
CHECKPOINT_FILES = tuple(
    f"{CHECKPOINT}/{name}" for name in ("model.safetensors", "training.safetensors", "progress.json")
)
MANIFESTS = ("manifest.json", f"{CHECKPOINT}/manifest.json")


@functools.cache
def valid_run() -> dict[str, bytes]:
    """Return the files of a run with one checkpoint, by their paths in it."""
    with tempfile.TemporaryDirectory() as folder:
        new_run(Path(folder)).close()
        path = Path(folder) / NAME
        return {name: (path / name).read_bytes() for name in (*RUN_FILES, *CHECKPOINT_FILES, *MANIFESTS)}


def write_run(path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def manifest_of(name: str) -> str:
    """Return the path of the manifest that lists a file."""
    return f"{CHECKPOINT}/manifest.json" if name.startswith(CHECKPOINT) else "manifest.json"


def update_manifest(files: dict[str, bytes], name: str) -> None:
    """Give a file the entry in its manifest that matches its content."""
    manifest = json.loads(files[manifest_of(name)])
    manifest[Path(name).name] = {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
    files[manifest_of(name)] = json.dumps(manifest).encode()


def with_manifest(name: str, data: bytes) -> dict[str, bytes]:
    """Return a file with new content and its manifest."""
    files = valid_run() | {name: data}
    update_manifest(files, name)
    return {each: files[each] for each in (name, manifest_of(name))}


def as_json(name: str) -> Any:
    return json.loads(valid_run()[name])


def with_value(name: str, keys: Iterable[str], value: Any) -> dict[str, bytes]:
    """Return a JSON file with a value changed, and its manifest."""
    data = as_json(name)
    *path, last = keys
    place = data
    for key in path:
        place = place[key]
    place[last] = value
    return with_manifest(name, json.dumps(data).encode())


def split_tensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the content of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_tensors(header: Any, rest: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest
