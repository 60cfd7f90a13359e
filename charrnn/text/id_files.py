"""Arrays on disk, such as ids: a `.npy` file beside a JSON manifest, mapped to memory and checked before use.

No file is unpickled: the header of the array must be, byte for byte, the one that the manifest implies.
"""

from __future__ import annotations

import io
import json
import os
import random
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charrnn.errors import CharrnnError
from charrnn.files import MAX_JSON_PARTS, atomic_file, from_json_bytes, open_regular
from charrnn.text.encoder import Survey
from charrnn.text.vocabulary import Vocabulary

CHECKED_BLOCK = 1 << 22
BLOCKS_CHECKED = 8
LARGEST_MANIFEST = 256_000_000
TRUSTED = (0,)  # users whose files are used, besides our own
KINDS = {"vocabulary": dict, "has_own_vocabulary": bool, "lengths": list, "sha256": str, "size": int,
         "converted": int, "not_nfc": int, "request": str, "paths": str, "checksums": list}  # fmt: skip


@dataclass(frozen=True)
class IdManifest:
    """What the ids in the array are.

    survey: of their sources. request: hash of the sources' stamps and of how they were read. paths: the same without
    sizes and times. checksums: CRC-32 of each block of ids.
    """

    survey: Survey
    request: str
    paths: str
    checksums: list[int]


def array_path(manifest: Path) -> Path:
    """Return the path of the array that a manifest describes."""
    return manifest.with_suffix(".npy")


def read_manifest(path: Path, sources: int) -> IdManifest:
    """Read a manifest. Raises CharrnnError or OSError where it is not one of that many sources, or another user's."""
    damaged = CharrnnError(f"{path} is damaged")
    with open_own(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST_MANIFEST:
            raise damaged
        data = _read_at(file, 0, size)
    blocks = array_path(path).lstat().st_size // CHECKED_BLOCK
    value = from_json_bytes(data, str(path), MAX_JSON_PARTS + sources + blocks)
    if isinstance(value, dict):
        value = {"converted": 0, "not_nfc": 0, **value}  # not counted by older versions
    if not isinstance(value, dict) or {name: type(part) for name, part in value.items()} != KINDS:
        raise damaged
    if not all(type(length) is str or (type(length) is int and length >= 0) for length in value["lengths"]):
        raise damaged
    request, paths, checksums = (value.pop(name) for name in ("request", "paths", "checksums"))
    vocabulary = Vocabulary.from_json(value.pop("vocabulary"), str(path))
    return IdManifest(Survey(vocabulary, **value), request, paths, checksums)


def map_ids(path: Path, manifest: IdManifest) -> np.ndarray:
    """Return the ids (N,) that a manifest describes, as `map_array` does."""
    survey = manifest.survey
    return map_array(path, survey.vocabulary.id_type, survey.characters, manifest.checksums)


def map_array(path: Path, dtype: np.dtype, length: int, checksums: list[int]) -> np.ndarray:
    """Return an array (length,), mapped copy-on-write.

    Raises CharrnnError or OSError where the header, the length, or a checksum of some random blocks is wrong.
    """
    header, size = _header(dtype, length), length * dtype.itemsize
    blocks = -(-size // CHECKED_BLOCK)
    with open_own(path) as file:
        if (
            not blocks
            or len(checksums) != blocks
            or os.fstat(file.fileno()).st_size != len(header) + size
            or _read_at(file, 0, len(header)) != header
        ):
            raise CharrnnError(f"{path} is damaged")
        for block in {blocks - 1, *random.sample(range(blocks), min(BLOCKS_CHECKED, blocks))}:
            data = _read_at(file, len(header) + block * CHECKED_BLOCK, CHECKED_BLOCK)
            if zlib.crc32(data) != checksums[block]:
                raise CharrnnError(f"{path} is damaged")
        return _map(file, dtype, length)


def write_ids(
    manifest: Path, survey: Survey, blocks: Iterable[bytes], request: str, paths: str, check: Callable[[], None]
) -> np.ndarray:
    """Write the array, then its manifest, each atomically. Return the ids, mapped.

    check: called before the array gets its name.
    """
    facts = {**asdict(survey), "request": request, "paths": paths}
    return write_array(manifest, survey.vocabulary.id_type, survey.characters, blocks, facts, check)


def write_array(
    manifest: Path,
    dtype: np.dtype,
    length: int,
    blocks: Iterable[bytes],
    facts: dict[str, Any],
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Write an array (length,), then its manifest: the facts and the checksums. Return the array, mapped.

    check: called before the array gets its name.
    """
    with atomic_file(array_path(manifest)) as temporary:
        temporary.unlink(missing_ok=True)
        with temporary.open("x+b") as file:
            file.write(_header(dtype, length))
            checksums = _write_blocks(blocks, file)
            file.flush()
            array = _map(file, dtype, length)
        check()
    with atomic_file(manifest) as temporary:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            file.write(json.dumps({**facts, "checksums": checksums}).encode())
    return array


def map_unnamed(blocks: Iterable[bytes], dtype: np.dtype, folder: Path) -> np.ndarray:
    """Return ids mapped from an unnamed file in this folder, which vanishes with its last user."""
    with tempfile.TemporaryFile(dir=folder) as file:
        for block in blocks:
            file.write(block)
        file.flush()
        return np.memmap(file, dtype, mode="c")


def open_own(path: Path) -> BinaryIO:
    """Open a regular file. Raises CharrnnError where it is another user's, as it may be in a folder such as /tmp."""
    file = open_regular(path)
    if os.fstat(file.fileno()).st_uid not in (*TRUSTED, os.geteuid()):
        file.close()
        raise CharrnnError(f"{path} belongs to another user")
    return file


def _read_at(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    data = bytearray()
    while len(data) < length and (block := file.read(length - len(data))):
        data += block
    return bytes(data)


def _map(file: BinaryIO, dtype: np.dtype, length: int) -> np.ndarray:
    # Copy-on-write: nothing is written, but PyTorch warns about memory that cannot be.
    return np.memmap(file, dtype, mode="c", offset=len(_header(dtype, length)), shape=(length,))


def _header(dtype: np.dtype, length: int) -> bytes:
    """Return the header that NumPy writes before this array."""
    header = io.BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def _write_blocks(blocks: Iterable[bytes], file: BinaryIO) -> list[int]:
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
