"""Export a run to one file, and import such a file as a run. FORMAT.md describes the file.

The file is a safetensors file: other tools can read its weights, and it holds no code, no links and no paths. The
settings, the vocabulary and the loss curve are JSON texts in its metadata. A file may come from a stranger: it is read
by the rules for runs, and the run appears only after everything was checked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor

from charrnn.errors import CharrnnError, UsageError
from charrnn.files import atomic_file, from_json_bytes, open_regular, write_and_sync
from charrnn.model.checkpoint import Progress
from charrnn.model.lookup import SAFE_NAME, runs_folder
from charrnn.model.losses import MAX_LOSSES, Losses, is_loss, losses_of
from charrnn.model.manifest import LARGEST_JSON
from charrnn.model.network import parameter_shapes
from charrnn.model.run import HELD_OUT_CHARACTERS, LARGEST_VOCABULARY, NoHeldOutTextError, Run, encode_held_out
from charrnn.model.run_format import FORMAT, PROGRESS_FILE, migrate, with_version
from charrnn.model.run_settings import RunSettings
from charrnn.model.tensors import (
    TensorLayout,
    check_finite,
    in_half_precision,
    names_in_file_order,
    read_tensor,
    sha256_of,
)
from charrnn.model.writer import RunWriter
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import shortened

VERSION = "1"  # of the file format
HELD_OUT = "held_out"
METADATA = {"charrnn_run": 10, "name": 100, "run": LARGEST_JSON, "vocabulary": LARGEST_VOCABULARY}
METADATA |= {"progress": LARGEST_JSON, "losses": LARGEST_JSON, "sha256": 64}
"""The keys of the metadata, in the order in which they are hashed, and the largest number of characters of each."""
HASHED = tuple(METADATA)[:-1]
LARGEST_HEADER = 20_000_000  # bytes; escapes double the size of a vocabulary
ALIGNMENT = 8  # bytes


@dataclass(frozen=True)
class Exported:
    """What an exported file holds.

    sizes: part → bytes, which add up to the size of the file. losses: the curve, oldest first. half: whether weights
    are stored as float16; `weights` are always float32. held_out: UTF-8, or the bytes of a run on bytes; empty if none.
    """

    name: str
    settings: RunSettings
    vocabulary: Vocabulary
    progress: Progress
    losses: list[Losses]
    weights: dict[str, Tensor]
    held_out: bytes
    half: bool
    sizes: Mapping[str, int]


def export_run(
    run: Run, file: Path, *, checkpoint: str = "best", half: bool = False, with_text: bool = False
) -> Exported:
    """Write the weights of a checkpoint, the vocabulary, the settings and the loss curve of a run to a new file.

    The folders of the corpus are left out: of each path only the last part is kept.
    half: store the weights as float16. with_text: include the held-out text.
    Raises CharrnnError where the file exists or cannot be written, or the weights exceed the range of float16.
    """
    if os.path.lexists(file):
        raise UsageError(f"{file} exists already", "remove it first, or name another file")
    network, loaded = run.load_network(checkpoint)
    weights = network.state_dict()
    if half:
        weights = in_half_precision(weights, run.name)
    if with_text:
        _check_held_out_text(run)
    held_out = run.held_out_bytes() if with_text else b""
    tensors = dict(sorted(weights.items()))
    if held_out:
        tensors[HELD_OUT] = torch.frombuffer(bytearray(held_out), dtype=torch.uint8)
    progress = Progress.of_copy(loaded.step, loaded.progress.validation_nats, loaded.progress.seconds)
    settings = _without_folders(run.settings, keep_lengths=with_text)
    parts = {
        "charrnn_run": VERSION,
        "name": run.name if SAFE_NAME.fullmatch(run.name) else "run",
        "run": _compact(settings.to_json()),
        "vocabulary": _compact(run.vocabulary.to_json()),
        "progress": _compact(with_version(progress.to_json())),
        "losses": _compact([one for one in losses_of(run) if one.step <= loaded.step]),
    }
    data = b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors.values())
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as temporary:
            write_and_sync(temporary, _header(parts, tensors, data))
            with temporary.open("ab") as rest:
                rest.write(data)
    except OSError as error:
        raise CharrnnError(f"{file} cannot be written: {error.strerror or error}") from None
    return read_exported(file)


def _check_held_out_text(run: Run) -> None:
    """Raise NoHeldOutTextError where there is none."""
    try:
        run.held_out_text()
    except NoHeldOutTextError:
        raise NoHeldOutTextError(run.name, "leave `with_text` out") from None


def import_run(file: Path | Exported, name: str | None = None, folder: Path | None = None) -> Run:
    """Create a run from an exported file, and return it. It can be used, but not resumed.

    name: by default that of the exported run. folder: of all runs; None: `runs_folder()`.
    Raises CharrnnError where the file is not an exported run or is damaged, NameTakenError where the name is taken.
    """
    exported = file if isinstance(file, Exported) else read_exported(file)
    settings = dataclasses.replace(exported.settings, format=FORMAT)
    writer = RunWriter.create(
        name or exported.name,
        settings,
        exported.vocabulary,
        exported.held_out,
        folder or runs_folder(),
        exported.weights,
        exported.progress,
    )
    with writer:
        for losses in exported.losses:
            writer.log("evaluation", **losses._asdict())
    return writer.run


def read_exported(file: Path) -> Exported:
    """Return the content of an exported file. Nothing is executed, and no link is followed.

    Raises CharrnnError where it is not an exported run, or its parts contradict each other or their hash.
    """
    try:
        with open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            metadata, tensors, header_size = _read_header(opened, size, file)
            settings = RunSettings.from_json(_json(metadata["run"], file), f"{file}: run")
            vocabulary = Vocabulary.from_json(_json(metadata["vocabulary"], file), f"{file}: vocabulary")
            layouts = _layouts(tensors, settings, vocabulary, file)
            if sum(layout.bytes for layout in layouts.values()) != size - header_size:
                raise CharrnnError(f"{file} is damaged: its size does not fit its settings")
            order = names_in_file_order(tensors, layouts, file)
            if sha256_of(opened, "".join(metadata[key] for key in HASHED).encode()) != metadata["sha256"]:
                raise CharrnnError(f"{file} is damaged: its content does not match its SHA-256")
            opened.seek(header_size)
            read = {name: read_tensor(opened, layouts[name], file) for name in order}
    except OSError as error:
        raise CharrnnError(f"{file} cannot be read: {error.strerror or error}") from None
    held_out = read.pop(HELD_OUT).numpy().tobytes() if HELD_OUT in read else b""
    check_finite(read, file)
    if held_out:
        encode_held_out(settings, vocabulary, held_out, str(file))
    sizes = {
        "weights": sum(tensor.nbytes for tensor in read.values()),
        "vocabulary": len(metadata["vocabulary"].encode()),
        "held-out text": len(held_out),
    }
    return Exported(
        metadata["name"],
        settings,
        vocabulary,
        _progress(metadata["progress"], file),
        _losses(metadata["losses"], file),
        {name: tensor.float() for name, tensor in read.items()},
        held_out,
        any(tensor.dtype == torch.float16 for tensor in read.values()),
        sizes | {"settings and loss curve": size - sum(sizes.values())},
    )


def _read_header(opened: FileIO, size: int, file: Path) -> tuple[dict[str, str], dict[str, Any], int]:
    """Return the checked metadata, the descriptions of the tensors, and where the tensors start."""
    length = int.from_bytes(opened.read(8), "little")
    if not 2 <= length <= min(LARGEST_HEADER, size - 8):
        raise _not_exported(file)
    data = opened.read(length)
    if data[:1] != b"{":
        raise _not_exported(file)
    header = from_json_bytes(data, str(file))
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or "charrnn_run" not in metadata:
        raise _not_exported(file)
    if metadata["charrnn_run"] != VERSION:
        raise CharrnnError(f"{file} has an unknown version {shortened(metadata['charrnn_run'])}", "use a newer charrnn")
    if set(metadata) != set(METADATA) or not all(
        isinstance(text, str) and len(text) <= METADATA[key] for key, text in metadata.items()
    ):
        raise CharrnnError(f"{file} is damaged: its metadata are not those of a run")
    if any("\ud800" <= character <= "\udfff" for text in metadata.values() for character in text):
        raise CharrnnError(f"{file} is damaged: its metadata hold half of a surrogate pair")
    if not SAFE_NAME.fullmatch(metadata["name"]):
        raise CharrnnError(f"{file} is damaged: {shortened(metadata['name'])} cannot be a run's name")
    return metadata, header, 8 + length


def _not_exported(file: Path) -> CharrnnError:
    return CharrnnError(f"{file} is not a run that `charrnn export` wrote")


def _layouts(
    tensors: Mapping[str, Any], settings: RunSettings, vocabulary: Vocabulary, file: Path
) -> dict[str, TensorLayout]:
    """Return the layouts that the settings require, with the type of the weights that the file has."""
    shapes = parameter_shapes(settings.model, len(vocabulary))
    first = tensors.get(next(iter(shapes)))
    kind = "F16" if isinstance(first, dict) and first.get("dtype") == "F16" else "F32"
    layouts = {name: TensorLayout(kind, shape) for name, shape in shapes.items()}
    if HELD_OUT not in tensors:
        return layouts
    described = tensors[HELD_OUT]
    sizes = described.get("shape") if isinstance(described, dict) else None
    if not (isinstance(sizes, list) and len(sizes) == 1 and type(sizes[0]) is int):
        raise CharrnnError(f"{file} is damaged: its held-out text is not described as bytes")
    if not 0 < sizes[0] <= 4 * HELD_OUT_CHARACTERS:
        raise CharrnnError(f"{file} is damaged: its held-out text has {shortened(sizes[0])} bytes")
    return layouts | {HELD_OUT: TensorLayout("U8", (sizes[0],))}


def _json(text: str, file: Path) -> Any:
    return from_json_bytes(text.encode(), str(file))


def _progress(text: str, file: Path) -> Progress:
    read = migrate(PROGRESS_FILE, _json(text, file), str(file))
    return Progress.from_json(read.content, str(file), read.hint)


def _losses(text: str, file: Path) -> list[Losses]:
    listed = _json(text, file)
    if not isinstance(listed, list) or len(listed) > MAX_LOSSES or not all(map(is_loss, listed)):
        raise CharrnnError(f"{file} is damaged: its loss curve is not a list of losses")
    return [Losses(*each) for each in listed]


def _without_folders(settings: RunSettings, *, keep_lengths: bool) -> RunSettings:
    """Return settings that tell no folder of this machine. keep_lengths: of the held-out files."""
    corpus = settings.corpus
    names = shlex.join(PurePath(spec).name or spec for spec in corpus.named())
    lengths = corpus.held_out_files if keep_lengths else ""
    return dataclasses.replace(settings, corpus=corpus.changed(specs=names, held_out_files=lengths))


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _header(parts: Mapping[str, str], tensors: Mapping[str, Tensor], data: bytes) -> bytes:
    """Return the header of a safetensors file with its length, padded so that the tensors are aligned."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.uint8: "U8"}
    digest = hashlib.sha256("".join(parts[key] for key in HASHED).encode() + data).hexdigest()
    header: dict[str, Any] = {"__metadata__": {**parts, "sha256": digest}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = _compact(header).encode()
    text = text.ljust(-(-len(text) // ALIGNMENT) * ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
