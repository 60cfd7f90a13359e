"""Manifests: the size and SHA-256 of every file in a folder, listed in its manifest.json."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from charrnn.errors import CharrnnError
from charrnn.files import from_json_bytes, read_bounded, regular_file_size, to_json_bytes, write_and_sync

MANIFEST_FILE = "manifest.json"
LARGEST_JSON = 1_000_000  # bytes


class FileEntry(NamedTuple):
    """The size in bytes and the SHA-256 that a file must have."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The entries of a folder's manifest, by file name."""

    folder: Path
    entries: Mapping[str, FileEntry]

    @classmethod
    def read(cls, folder: Path, names: set[str], optional: Collection[str] = ()) -> Manifest:
        """Return the manifest of a folder.

        Raises CharrnnError unless it lists these files, of which those in `optional` may be missing.
        """
        source = folder / MANIFEST_FILE
        data = from_json_bytes(read_bounded(source, LARGEST_JSON), str(source))
        if (
            not isinstance(data, dict)
            or not names <= set(data) <= names.union(optional)
            or not all(map(_is_entry, data.values()))
        ):
            raise CharrnnError(f"{source} is damaged: it does not list the files of this folder")
        return cls(folder, {name: FileEntry(entry["bytes"], entry["sha256"]) for name, entry in data.items()})

    def read_bytes(self, name: str, limit: int) -> bytes:
        """Return the content of a file. Raises CharrnnError where it differs from the manifest or exceeds `limit`."""
        path, entry = self.folder / name, self.entries[name]
        data = read_bounded(path, min(limit, entry.size))
        if FileEntry(len(data), hashlib.sha256(data).hexdigest()) != entry:
            raise CharrnnError(f"{path} is damaged: it does not match its manifest")
        return data

    def read_json(self, name: str, limit: int = LARGEST_JSON) -> Any:
        """Return the content of a JSON file. Raises CharrnnError as `read_bytes`, and where it is not JSON."""
        return from_json_bytes(self.read_bytes(name, limit), str(self.folder / name))

    def check_sizes(self) -> None:
        """Raise CharrnnError unless every file exists and has its size. The files are not read."""
        for name, entry in self.entries.items():
            if regular_file_size(self.folder / name) != entry.size:
                raise CharrnnError(f"{self.folder / name} is damaged: its size does not match its manifest")


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and set(entry) == {"bytes", "sha256"}
        and type(entry["bytes"]) is int
        and entry["bytes"] >= 0
        and type(entry["sha256"]) is str
    )


def write_with_manifest(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files and their manifest to a new folder."""
    entries = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    for name, data in files.items():
        write_and_sync(folder / name, data)
    write_and_sync(folder / MANIFEST_FILE, to_json_bytes(entries))
