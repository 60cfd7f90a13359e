"""Keep the ids of a large text in a memory-mapped file, so that memory does not grow with the text.

Two hidden files beside the text are found again the next time:

    .NAME.charrnn-HASH.npy     the ids, as NumPy writes an array; `numpy.load(path, mmap_mode="r")` opens it
    .NAME.charrnn-HASH.json    a `_Manifest`: what the ids were made of, and a checksum of every block

HASH depends on the text and the vocabulary, so files of one name have the same ids. The array is written before its
manifest, each atomically: a manifest always has its whole array. The pair is used if the sources have the sizes and
times they had, and random blocks of the array have their checksums. Otherwise it is written again. No file is
unpickled: the array's header must be, byte for byte, the one that the manifest implies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import random
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.files import MOST_PARTS, Progress, atomic_file, from_json_bytes, open_regular, remove_leftovers
from charrnn.text.encoder import Encoder, Source, Survey
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import file_size

CHECKED_BLOCK = 1 << 22
BLOCKS_CHECKED = 8
LARGEST_MANIFEST = 256_000_000
LONGEST_NAME = 100  # bytes
TRUSTED = (0,)  # users whose files are used, besides our own
NO_FOLDER = "set CHARRNN_HOME to a folder that can be written to"


@dataclass(frozen=True, eq=False)
class Encoded:
    """A survey of some sources and their ids (N,), mapped copy-on-write."""

    survey: Survey
    ids: np.ndarray


@dataclass(frozen=True)
class _Manifest:
    """What the ids beside it are.

    request: hash of how the sources are read and of their stamps. paths: the same without sizes and times.
    checksums: CRC-32 of each block of ids.
    """

    request: str
    paths: str
    vocabulary: dict[str, str]
    has_own_vocabulary: bool
    lengths: list[int | None]
    sha256: str
    size: int
    checksums: list[int]

    def survey(self, source: str) -> Survey:
        vocabulary = Vocabulary.from_json(self.vocabulary, source)
        return Survey(vocabulary, self.has_own_vocabulary, self.lengths, self.sha256, self.size)


@dataclass(frozen=True)
class _Request:
    """What to look for. hash, paths: as in `_Manifest`. prefix: of file names. vocabulary: None for the text's own."""

    hash: str
    paths: str
    prefix: str
    stamps: list[list[Any] | None]
    vocabulary: Vocabulary | None

    @classmethod
    def of(cls, sources: Sequence[Source], name: str, as_bytes: bool, vocabulary: Vocabulary | None) -> _Request:
        stamps = [source.stamp for source in sources]
        how = [as_bytes, [source.optional for source in sources]]
        prefix = f".{name.encode()[:LONGEST_NAME].decode('utf-8', 'ignore')}.charrnn-"
        paths = [stamp and stamp[0] for stamp in stamps]
        return cls(_hash_of([how, stamps]), _hash_of([how, paths]), prefix, stamps, vocabulary)

    def accepts(self, manifest: _Manifest, survey: Survey) -> bool:
        if manifest.request != self.hash or len(survey.lengths) != len(self.stamps):
            return False
        return survey.has_own_vocabulary if self.vocabulary is None else survey.vocabulary == self.vocabulary

    def manifests_in(self, folder: Path) -> list[Path]:
        try:
            return sorted(p for p in folder.iterdir() if p.name.startswith(self.prefix) and p.suffix == ".json")
        except OSError:
            return []


def encode(
    sources: Sequence[Source],
    name: str,
    folders: Sequence[Path],
    *,
    as_bytes: bool,
    vocabulary: Vocabulary | None = None,
    progress: Progress | None = None,
) -> Encoded:
    """Return the ids of the sources, one after the other, from a file that was kept or that is written now.

    name: what the file is called after. folders: where to keep it; the first that can be written to.
    vocabulary: use this one; None: the text's own. progress: called while sources are read.

    Raises CharrnnError as `Encoder` does, and where no folder can be written to or has space.
    """
    request = _Request.of(sources, name, as_bytes, vocabulary)
    is_kept = all(source.stamp is not None for source in sources)
    if is_kept and (encoded := _find(request, folders)):
        return encoded
    folder = next((folder for folder in folders if _is_writable(folder)), None)
    if folder is None:
        tried = " and ".join(map(str, folders))
        raise CharrnnError(f"the ids of {name} cannot be kept: {tried} cannot be written to", NO_FOLDER)
    with _lock(folder):
        if is_kept and (encoded := _find(request, folders)):  # written by the process this one waited for
            return encoded
        remove_leftovers(folder)
        encoder = Encoder(sources, as_bytes=as_bytes, progress=progress)
        survey = encoder.survey(vocabulary)
        if not survey.characters:
            return Encoded(survey, np.empty(0, survey.vocabulary.id_type))
        needed = survey.characters * survey.vocabulary.id_type.itemsize
        with _writing(f"the ids of {name}", folder, needed):
            if shutil.disk_usage(folder).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if not is_kept:
                return Encoded(survey, _map_unnamed(encoder.ids(survey), survey.vocabulary.id_type, folder))
            path = _keep(encoder, survey, request, sources, folder)
            _remove_stale(folder, request)
            with open_regular(path) as file:
                return Encoded(survey, _map(file, survey))


def remap(ids: np.ndarray, table: np.ndarray, folder: Path) -> np.ndarray:
    """Return `table[ids]`, mapped from an unnamed file in this folder that vanishes with its last user."""
    blocks = (table[ids[start : start + CHECKED_BLOCK]].tobytes() for start in range(0, len(ids), CHECKED_BLOCK))
    with _writing("ids", folder, len(ids) * table.itemsize):
        folder.mkdir(parents=True, exist_ok=True)
        return _map_unnamed(blocks, table.dtype, folder)


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _is_writable(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK | os.X_OK)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Wait until no other process encodes into this folder, so that processes started together encode once."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: the work is done twice
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _writing(what: str, folder: Path, needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CharrnnError(
            f"{what} cannot be written to {folder}: {error.strerror or error}",
            f"they take {file_size(needed)}; free some space, or set CHARRNN_HOME to another folder",
        ) from None


# Find


def _find(request: _Request, folders: Sequence[Path]) -> Encoded | None:
    for folder in folders:
        for path in request.manifests_in(folder):
            with contextlib.suppress(CharrnnError, OSError):
                manifest = _read_manifest(path, request)
                survey = manifest.survey(str(path))
                if not request.accepts(manifest, survey):
                    continue
                with _open_own(path.with_suffix(".npy")) as file:
                    if _is_intact(file, survey, manifest.checksums):
                        return Encoded(survey, _map(file, survey))
    return None


def _read_manifest(path: Path, request: _Request) -> _Manifest:
    """Raises CharrnnError where the file is not a manifest, or has more parts than the sources and blocks explain."""
    damaged = CharrnnError(f"{path} is damaged")
    with _open_own(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_MANIFEST:
            raise damaged
        data = _read_at(file, 0, size)
    blocks = path.with_suffix(".npy").lstat().st_size // CHECKED_BLOCK
    value = from_json_bytes(data, str(path), MOST_PARTS + len(request.stamps) + blocks)
    kinds = {"request": str, "paths": str, "vocabulary": dict, "has_own_vocabulary": bool, "lengths": list,
             "sha256": str, "size": int, "checksums": list}  # fmt: skip
    if not isinstance(value, dict) or {name: type(part) for name, part in value.items()} != kinds:
        raise damaged
    if not all(length is None or (type(length) is int and length >= 0) for length in value["lengths"]):
        raise damaged
    return _Manifest(**value)


def _open_own(path: Path) -> BinaryIO:
    """Open a regular file. Raises CharrnnError where it is another user's, as it may be in a folder such as /tmp."""
    file = open_regular(path)
    if os.fstat(file.fileno()).st_uid not in (*TRUSTED, os.geteuid()):
        file.close()
        raise CharrnnError(f"{path} belongs to another user")
    return file


def _is_intact(file: BinaryIO, survey: Survey, checksums: list[int]) -> bool:
    """Return whether header and length are right, and random blocks and the last have their checksums."""
    header = _header(survey)
    size = survey.characters * survey.vocabulary.id_type.itemsize
    blocks = -(-size // CHECKED_BLOCK)
    if not blocks or len(checksums) != blocks or os.fstat(file.fileno()).st_size != len(header) + size:
        return False
    drawn = {blocks - 1, *random.sample(range(blocks), min(BLOCKS_CHECKED, blocks))}
    return _read_at(file, 0, len(header)) == header and all(
        zlib.crc32(_read_at(file, len(header) + block * CHECKED_BLOCK, CHECKED_BLOCK)) == checksums[block]
        for block in drawn
    )


def _read_at(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    data = bytearray()
    while len(data) < length and (block := file.read(length - len(data))):
        data += block
    return bytes(data)


def _header(survey: Survey) -> bytes:
    """Return the header that NumPy writes before these ids."""
    header = io.BytesIO()
    description = {"descr": survey.vocabulary.id_type.str, "fortran_order": False, "shape": (survey.characters,)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def _map(file: BinaryIO, survey: Survey) -> np.ndarray:
    # Copy-on-write: nothing is written, but PyTorch warns about memory that cannot be.
    offset = len(_header(survey))
    return np.memmap(file, survey.vocabulary.id_type, mode="c", offset=offset, shape=(survey.characters,))


# Write


def _keep(encoder: Encoder, survey: Survey, request: _Request, sources: Sequence[Source], folder: Path) -> Path:
    """Write the array, then its manifest. Return the array's path."""
    content = _hash_of([survey.sha256, survey.vocabulary.to_json()])
    path = folder / f"{request.prefix}{content[:12]}.npy"
    with atomic_file(path) as aside:
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:
            file.write(_header(survey))
            checksums = _write(encoder.ids(survey), file)
        if [source.stamp for source in sources] != request.stamps:
            raise encoder.changed()
    vocabulary = survey.vocabulary.to_json()
    manifest = _Manifest(
        request.hash, request.paths, vocabulary, survey.has_own_vocabulary, survey.lengths, survey.sha256, survey.size,
        checksums,
    )  # fmt: skip
    with atomic_file(path.with_suffix(".json")) as aside:
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:
            file.write(json.dumps(asdict(manifest)).encode())
    return path


def _write(blocks: Iterator[bytes], file: BinaryIO) -> list[int]:
    """Write the blocks and return the checksum of every CHECKED_BLOCK bytes."""
    checksums: list[int] = []
    filled = CHECKED_BLOCK
    for data in blocks:
        file.write(data)
        rest = memoryview(data)
        while rest:
            if filled == CHECKED_BLOCK:
                checksums.append(0)
                filled = 0
            piece = rest[: CHECKED_BLOCK - filled]
            checksums[-1] = zlib.crc32(piece, checksums[-1])
            filled += len(piece)
            rest = rest[len(piece) :]
    return checksums


def _map_unnamed(blocks: Iterator[bytes], dtype: np.dtype, folder: Path) -> np.ndarray:
    with tempfile.TemporaryFile(dir=folder) as file:
        for block in blocks:
            file.write(block)
        file.flush()
        return np.memmap(file, dtype, mode="c")


def _remove_stale(folder: Path, request: _Request) -> None:
    """Remove the ids of earlier contents of these sources, arrays without a manifest, and files of an older format."""
    for path in request.manifests_in(folder):
        with contextlib.suppress(CharrnnError, OSError):
            manifest = _read_manifest(path, request)
            if manifest.paths == request.paths and manifest.request != request.hash:
                path.unlink()
    for path in list(folder.iterdir()):
        is_orphan = path.suffix == ".npy" and not path.with_suffix(".json").exists()
        if path.name.startswith(request.prefix) and (is_orphan or path.suffix == ".ids"):
            with contextlib.suppress(OSError):
                path.unlink()
