"""The tensors of a safetensors file that may come from a stranger, which must be exactly those that are expected.

The length is checked before the file is opened, the header before the rest is read, the hash before anything is
allocated for it.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CharrnnError
from charrnn.files import BLOCK, from_json_bytes, open_regular
from charrnn.units import amount

LARGEST_HEADER = 1_000_000
LARGEST_TENSORS = 40_000_000_000


def read_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, tuple[int, str]]
) -> dict[str, Tensor]:
    """The float32 tensors of a file, finite, on the CPU. Raises CharrnnError if they are not exactly these.

    shapes: by name. sizes: length and SHA-256 that the file has to have, by file name.
    """
    wanted = 4 * sum(math.prod(shape) for shape in shapes.values())
    size, digest = sizes[path.name]
    if not wanted + 8 <= size <= min(wanted + 8 + LARGEST_HEADER, LARGEST_TENSORS):
        raise CharrnnError(
            f"{path} is damaged: {amount(size, 'byte', exact=True)} where its settings call for {wanted:,} and a header"
        )
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size != size:
                raise CharrnnError(f"{path} is damaged: it is not as long as its manifest says")
            if int.from_bytes(file.read(8), "little") != size - 8 - wanted:
                raise CharrnnError(f"{path} is damaged: its header does not end where its tensors begin")
            header = from_json_bytes(file.read(size - 8 - wanted), str(path))
            order = _in_file_order(header, shapes, path)
            file.seek(0)
            if _sha256_of(file) != digest:
                raise CharrnnError(f"{path} is damaged: it is not what its manifest says")
            file.seek(size - wanted)
            tensors = {name: _read_tensor(file, shapes[name], path) for name in order}
    except OSError as error:
        raise CharrnnError(f"{path} cannot be read: {error.strerror or error}") from None
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CharrnnError(f"{path} is damaged: {name} holds numbers that are not finite")
    return tensors


def _in_file_order(header: Any, shapes: Mapping[str, tuple[int, ...]], path: Path) -> list[str]:
    """The tensors' names in the order in which they lie, one directly after the other. Raises CharrnnError unless the
    header lists exactly these shapes, as float32, without gap or overlap."""
    if not isinstance(header, dict) or set(header) != set(shapes):
        raise CharrnnError(f"{path} is damaged: its tensors are not those that its settings call for")
    starts = {}
    for name, shape in shapes.items():
        entry = header[name]
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise CharrnnError(f"{path} is damaged: {name} is not described as a tensor")
        numbers, offsets = entry["shape"], entry["data_offsets"]
        if entry["dtype"] != "F32" or not _are_whole(numbers) or tuple(numbers) != shape:
            raise CharrnnError(f"{path} is damaged: {name} is not a float32 tensor of shape {shape}")
        if not _are_whole(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != 4 * math.prod(shape):
            raise CharrnnError(f"{path} is damaged: {name} does not lie where a tensor of shape {shape} could")
        starts[name] = offsets[0]
    order = sorted(starts, key=starts.__getitem__)
    end = 0
    for name in order:
        if starts[name] != end:
            raise CharrnnError(f"{path} is damaged: {name} does not begin where the tensor before it ends")
        end += 4 * math.prod(shapes[name])
    return order


def _are_whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int for number in numbers)


def _sha256_of(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _read_tensor(file: BinaryIO, shape: tuple[int, ...], path: Path) -> Tensor:
    """The next tensor of a file; little-endian, as safetensors says."""
    try:
        tensor = torch.empty(shape)
    except RuntimeError:  # what PyTorch says where there is no memory
        raise CharrnnError(f"{path} does not fit into memory") from None
    rest = memoryview(tensor.numpy().reshape(-1).view(np.uint8))
    while rest:
        count = file.readinto(rest)
        if not count:
            raise CharrnnError(f"{path} became shorter while it was read")
        rest = rest[count:]
    return tensor
