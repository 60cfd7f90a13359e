"""Read safetensors files that may come from a stranger.

The size is checked before the file is opened, the header before tensors are read, and the hash before memory is
allocated for them.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CharrnnError
from charrnn.files import BLOCK, from_json_bytes, open_regular
from charrnn.model.manifest import FileEntry
from charrnn.units import amount

LARGEST_HEADER = 1_000_000  # bytes
LARGEST_TENSORS = 40_000_000_000  # bytes


class _Type(NamedTuple):
    title: str
    torch: torch.dtype
    bytes: int


TYPES = {
    "F32": _Type("float32", torch.float32, 4),
    "F16": _Type("float16", torch.float16, 2),
    "U8": _Type("uint8", torch.uint8, 1),
}
"""The types of tensors by their names in safetensors."""


class TensorLayout(NamedTuple):
    """The type, a key of `TYPES`, and the shape that a tensor must have."""

    type: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return TYPES[self.type].bytes * math.prod(self.shape)


def in_half_precision(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return weights as float16. name: of the run. Raises CharrnnError where they exceed its range."""
    halved = {key: tensor.half() for key, tensor in weights.items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in halved.values()):
        raise CharrnnError(f"the weights of {name} are too large for half precision", "leave `half` out")
    return halved


def read_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], entry: FileEntry, types: Sequence[str] = ("F32",)
) -> dict[str, Tensor]:
    """Return the tensors of a file as float32, on the CPU. types: allowed ones, keys of `TYPES` that differ in size.

    Raises CharrnnError unless the file matches its manifest entry and holds exactly these names and shapes, as finite
    values of one allowed type.
    """
    by_size: dict[int, dict[str, TensorLayout]] = {}
    for kind in types:
        layouts = {name: TensorLayout(kind, shape) for name, shape in shapes.items()}
        by_size[sum(layout.bytes for layout in layouts.values())] = layouts
    size = entry.size
    if not min(by_size) + 8 <= size <= min(max(by_size) + 8 + LARGEST_HEADER, LARGEST_TENSORS):
        required = " or ".join(f"{one:,}" for one in sorted(by_size))
        raise CharrnnError(
            f"{path} is damaged: {amount(size, 'byte', exact=True)}, where its settings require {required} and a header"
        )
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != size:
                raise CharrnnError(f"{path} is damaged: its size does not match its manifest")
            expected = size - 8 - int.from_bytes(file.read(8), "little")
            if expected not in by_size:
                raise CharrnnError(f"{path} is damaged: its header does not end where its tensors start")
            layouts = by_size[expected]
            header = from_json_bytes(file.read(size - 8 - expected), str(path))
            order = names_in_file_order(header, layouts, path)
            file.seek(0)
            if sha256_of(file) != entry.sha256:
                raise CharrnnError(f"{path} is damaged: it does not match its manifest")
            file.seek(size - expected)
            tensors = {name: read_tensor(file, layouts[name], path).float() for name in order}
    except OSError as error:
        raise CharrnnError(f"{path} cannot be read: {error.strerror or error}") from None
    check_finite(tensors, path)
    return tensors


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise CharrnnError where a tensor that was read from a file has a value that is not finite."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CharrnnError(f"{path} is damaged: {name} has non-finite values")


def names_in_file_order(header: Any, layouts: Mapping[str, TensorLayout], path: Path) -> list[str]:
    """Return the names of the tensors, in the order in which they follow each other in the file.

    header: of a safetensors file, without metadata.
    Raises CharrnnError unless it lists exactly these layouts, without gaps or overlaps.
    """
    if not isinstance(header, dict) or set(header) != set(layouts):
        raise CharrnnError(f"{path} is damaged: its tensors are not those that its settings require")
    starts = {}
    for name, layout in layouts.items():
        entry = header[name]
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise CharrnnError(f"{path} is damaged: {name} is not described as a tensor")
        sizes, offsets = entry["shape"], entry["data_offsets"]
        if entry["dtype"] != layout.type or not _are_integers(sizes) or tuple(sizes) != layout.shape:
            title = TYPES[layout.type].title
            raise CharrnnError(f"{path} is damaged: {name} is not a {title} tensor of shape {layout.shape}")
        if not _are_integers(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != layout.bytes:
            raise CharrnnError(f"{path} is damaged: the offsets of {name} do not fit the shape {layout.shape}")
        starts[name] = offsets[0]
    order = sorted(starts, key=starts.__getitem__)
    end = 0
    for name in order:
        if starts[name] != end:
            raise CharrnnError(f"{path} is damaged: {name} does not start where the previous tensor ends")
        end += layouts[name].bytes
    return order


def _are_integers(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int for number in numbers)


def sha256_of(file: FileIO, start: bytes = b"") -> str:
    """Return the SHA-256, in hexadecimal, of some bytes followed by the rest of a file."""
    digest = hashlib.sha256(start)
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def read_tensor(file: FileIO, layout: TensorLayout, path: Path) -> Tensor:
    """Return the next tensor of a file; values are little-endian."""
    try:
        tensor = torch.empty(layout.shape, dtype=TYPES[layout.type].torch)
    except RuntimeError:  # PyTorch's error for insufficient memory
        raise CharrnnError(f"{path} does not fit into memory") from None
    rest = tensor.numpy().reshape(-1).view(np.uint8).data
    while rest:
        count = file.readinto(rest)
        if not count:
            raise CharrnnError(f"{path} became shorter while it was read")
        rest = rest[count:]
    return tensor
