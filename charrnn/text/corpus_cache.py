"""Keep the ids of a large text in a memory-mapped file: memory does not grow with the text.

Two hidden files beside the text are found again the next time:

    .NAME.charrnn-HASH.npy     the ids; `numpy.load(path, mmap_mode="r")` opens them
    .NAME.charrnn-HASH.json    what they were made of, and a checksum of every block (`id_files.IdManifest`)

HASH depends on the text, its vocabulary, and how it was read, so files of one name have the same ids. A manifest is
written after its array. The pair is used if the sources have the sizes and times they had, and random blocks of the
array have their checksums. Otherwise it is written again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.files import remove_leftovers
from charrnn.progress import ByteProgress, no_progress
from charrnn.settings import ReadSettings
from charrnn.text.encoder import Encoder, Survey
from charrnn.text.id_files import IdManifest, array_path, map_ids, map_unnamed, read_manifest, write_ids
from charrnn.text.sources import SourceFile
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import file_size

LONGEST_NAME = 100  # bytes


@dataclass(frozen=True, eq=False)
class Encoded:
    """A survey of some sources and their ids (N,)."""

    survey: Survey
    ids: np.ndarray


class _Request:
    """What to look for: sources read in some way. vocabulary: None for the text's own."""

    def __init__(
        self,
        sources: Sequence[SourceFile],
        name: str,
        as_bytes: bool,
        reading: ReadSettings,
        vocabulary: Vocabulary | None,
    ):
        self.sources, self.vocabulary, self.decoding = sources, vocabulary, _decoding(as_bytes, reading)
        self.stamps = [source.stamp for source in sources]
        self.prefix = f".{name.encode()[:LONGEST_NAME].decode('utf-8', 'ignore')}.charrnn-"
        how = [as_bytes, [source.optional for source in sources], *self.decoding]
        self.hash = _hash_of([how, self.stamps])
        self.paths = _hash_of([how, [stamp and stamp[0] for stamp in self.stamps]])

    def find(self, folders: Sequence[Path]) -> Encoded | None:
        """Return ids that were kept in one of the folders; None if there are none or they are damaged."""
        for folder in folders:
            for path in self.manifests(folder):
                with contextlib.suppress(CharrnnError, OSError):
                    manifest = read_manifest(path, len(self.sources))
                    if self._accepts(manifest):
                        return Encoded(manifest.survey, map_ids(array_path(path), manifest))
        return None

    def manifests(self, folder: Path) -> list[Path]:
        try:
            return sorted(p for p in folder.iterdir() if p.name.startswith(self.prefix) and p.suffix == ".json")
        except OSError:
            return []

    def _accepts(self, manifest: IdManifest) -> bool:
        survey = manifest.survey
        if manifest.request != self.hash or len(survey.lengths) != len(self.sources):
            return False
        return survey.has_own_vocabulary if self.vocabulary is None else survey.vocabulary == self.vocabulary


def encode(
    sources: Sequence[SourceFile],
    name: str,
    folders: Sequence[Path],
    *,
    as_bytes: bool,
    reading: ReadSettings = ReadSettings(),
    vocabulary: Vocabulary | None = None,
    progress: ByteProgress = no_progress,
) -> Encoded:
    """Return the ids of the sources, concatenated, from a file that was kept or is written now.

    name: what the file is called after. folders: where to keep it; the first that can be written to.
    reading: encoding, newlines and normalization. vocabulary: encode with this one; None: with the text's own.
    progress: called while sources are read.

    Raises CharrnnError as `Encoder` does, and where no folder can be written to or has space.
    """
    request = _Request(sources, name, as_bytes, reading, vocabulary)
    is_kept = all(stamp is not None for stamp in request.stamps)
    if is_kept and (encoded := request.find(folders)):
        return encoded
    folder = next((folder for folder in folders if is_writable(folder)), None)
    if folder is None:
        raise CharrnnError(
            f"the ids of {name} cannot be kept: {' and '.join(map(str, folders))} cannot be written to",
            "set CHARRNN_HOME to a folder that can be written to",
        )
    with locked(folder):
        if is_kept and (encoded := request.find(folders)):  # written by the process this one waited for
            return encoded
        remove_leftovers(folder)
        encoder = Encoder(sources, as_bytes=as_bytes, reading=reading, progress=progress)
        survey = encoder.survey(vocabulary)
        if not survey.characters:
            return Encoded(survey, np.empty(0, survey.vocabulary.id_type))
        with writing(f"the ids of {name}", folder, survey.characters * survey.vocabulary.id_type.itemsize):
            if is_kept:
                return Encoded(survey, _write(encoder, survey, request, folder))
            return Encoded(survey, map_unnamed(encoder.ids(survey), survey.vocabulary.id_type, folder))


def map_blocks(what: str, blocks: Iterable[np.ndarray], length: int, dtype: np.dtype, folder: Path) -> np.ndarray:
    """Return the concatenated blocks, mapped from an unnamed file in this folder. length: N, or an upper bound.

    what: for errors. Raises CharrnnError where the folder cannot be written to or has no space.
    """
    with writing(what, folder, length * dtype.itemsize):
        return map_unnamed((block.tobytes() for block in blocks), dtype, folder)


def _write(encoder: Encoder, survey: Survey, request: _Request, folder: Path) -> np.ndarray:
    def check_unchanged() -> None:
        if [source.stamp for source in request.sources] != request.stamps:
            raise encoder.changed()

    content = _hash_of([survey.sha256, asdict(survey.vocabulary), *request.decoding])
    path = folder / f"{request.prefix}{content[:12]}.json"
    ids = write_ids(path, survey, encoder.ids(survey), request.hash, request.paths, check_unchanged)
    _remove_stale(folder, request)
    return ids


def _remove_stale(folder: Path, request: _Request) -> None:
    """Remove the ids of earlier contents of these sources, arrays without a manifest, and files of an older format."""
    for path in request.manifests(folder):
        with contextlib.suppress(CharrnnError, OSError):
            manifest = read_manifest(path, len(request.sources))
            if manifest.paths == request.paths and manifest.request != request.hash:
                path.unlink()
    for path in list(folder.iterdir()):
        is_orphan = path.suffix == ".npy" and not path.with_suffix(".json").exists()
        if path.name.startswith(request.prefix) and (is_orphan or path.suffix == ".ids"):
            with contextlib.suppress(OSError):
                path.unlink()


def _decoding(as_bytes: bool, reading: ReadSettings) -> tuple[str, ...]:
    """Return what determines the characters; nothing for bytes and UTF-8 as it is: older versions read only these."""
    return () if as_bytes or reading.decoding == ("utf-8", "keep") else reading.decoding


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def is_writable(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK | os.X_OK)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process encodes into this folder. Processes started together encode once."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: the work is done twice
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(what: str, folder: Path, size: int) -> Iterator[None]:
    """Check the free space, and turn OSErrors into CharrnnErrors."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
    except OSError as error:
        raise CharrnnError(
            f"{what} cannot be written to {folder}: {error.strerror or error}",
            f"they take {file_size(size)}; free some space, or set CHARRNN_HOME to another folder",
        ) from None
