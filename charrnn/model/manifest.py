"""Folders whose files a manifest vouches for: name → size and SHA-256, in manifest.json beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from charrnn.errors import CharrnnError
from charrnn.files import from_json_bytes, read_bounded, to_json_bytes, write_and_sync

LARGEST_JSON = 1_000_000


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files and a manifest of them into a folder that is aside."""
    for name, data in files.items():
        write_and_sync(folder / name, data)
    write_and_sync(folder / "manifest.json", _manifest(files))


def _manifest(files: Mapping[str, bytes]) -> bytes:
    return to_json_bytes(
        {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    )


def read_manifest(folder: Path, names: set[str]) -> dict[str, tuple[int, str]]:
    """Name → (size, SHA-256) of exactly these files. Raises CharrnnError where the folder's manifest lists others."""
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


def verified(path: Path, sizes: Mapping[str, tuple[int, str]], limit: int) -> bytes:
    """The bytes of a file that a manifest vouches for. Raises CharrnnError where it holds others, or too many."""
    size, digest = sizes[path.name]
    data = read_bounded(path, min(limit, size))
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        raise CharrnnError(f"{path} is damaged: it is not what its manifest says")
    return data
