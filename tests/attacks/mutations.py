"""Change the files of a run at random: each time it is refused, or read as exactly what is written.

    python -m tests.attacks.mutations NUMBER [SEED]

A change affects bytes, or the meaning of JSON. In two of three cases the manifest is updated; otherwise hashes alone
would refuse everything. What is read has to be what the readers of the standard library and of safetensors read, and
without an updated manifest it has to be the original.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from charrnn.errors import CharrnnError
from charrnn.model.run import Run
from charrnn.options import Settings
from tests.attacks.folders import (
    CHECKPOINT,
    CHECKPOINT_FILES,
    MANIFESTS,
    RUN_FILES,
    manifest_of,
    update_manifest,
    valid_run,
    write_run,
)

CHANGES_PER_SEED = 10_000
HOSTILE_VALUES = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 10**400, 0.5, 1e308, -0.0, "", "a", "F32", "../x", "\x1b[2J",
    "\ud800", [], [0], [2**62, 2**62], {}, {"a": 1}, [[]], "x" * 1000,
]  # fmt: skip


@dataclass
class Counts:
    """Runs refused and read, CPU seconds of the slowest, and how often each file was changed."""

    refused: int = 0
    read: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    files: Counter[str] = field(default_factory=Counter)


def mutate_bytes(draw: random.Random, data: bytes) -> bytes:
    """Return the data after a few random changes of bytes."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        start = draw.randrange(len(data) + 1)
        length = draw.choice([1, 1, 2, 4, 8, draw.randrange(1, 200)])
        match draw.randrange(6):
            case 0 if start < len(data):
                data[start] ^= 1 << draw.randrange(8)
            case 1:
                del data[start : start + length]
            case 2:
                data[start:start] = draw.randbytes(length)
            case 3:
                data[start : start + length] = draw.randbytes(length)[: max(0, len(data) - start)]
            case 4:
                data[start:start] = data[: draw.randrange(100)]
            case _:
                del data[start:]
    return bytes(data)


def mutate_json(draw: random.Random, text: bytes) -> bytes:
    """Return the JSON after one random change of its meaning."""
    data = json.loads(text)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(data)
    node, key = draw.choice(places)
    value = draw.choice(HOSTILE_VALUES)
    doubled = b""
    match draw.randrange(5):
        case 0 if isinstance(node, dict):
            node[draw.choice(["", "x", "__proto__", "__metadata__", str(key).upper()])] = value
        case 1:
            del node[key]
        case 2 if isinstance(node, dict):
            node[draw.choice(list(node))] = node[key]
        case 3 if isinstance(data, dict):
            name = draw.choice(list(data))
            doubled = b"," + json.dumps(name).encode() + b":" + json.dumps(value).encode()
        case _:
            node[key] = value
    changed = json.dumps(data, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    return changed[:-1] + doubled + changed[-1:]


def mutate(draw: random.Random, name: str, data: bytes) -> bytes:
    if name.endswith(".json") and draw.random() < 0.6:
        return mutate_json(draw, data)
    if name.endswith(".safetensors") and draw.random() < 0.6:
        length = int.from_bytes(data[:8], "little")
        change = mutate_json if draw.random() < 0.7 else mutate_bytes
        header = change(draw, data[8 : 8 + length])
        if draw.random() < 0.6:  # keep its length if possible
            header = json.dumps(json.loads(header), separators=(",", ":")).encode() if change is mutate_json else header
            header = header.ljust(length)
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    return mutate_bytes(draw, data)


def assert_read_with_defaults(settings: Settings, written: dict[str, Any]) -> None:
    """Assert that settings are what is written, and defaults for the rest."""
    missing = {name: option.missing_value for name, option in settings.options().items()}
    assert json.loads(json.dumps(settings.to_json())) == json.loads(json.dumps(missing | written))


def assert_read_exactly(path: Path, files: dict[str, bytes], original: bool) -> None:
    """Read everything. Raises CharrnnError where it is refused, AssertionError where it is misread."""
    run = Run(path)
    held_out = run.held_out_text().ids
    checkpoint = run.resumable_checkpoint()
    read = {"model": run.read_model(checkpoint), "training": run.read_training(checkpoint)}
    network, _ = run.load_network("last")

    settings = json.loads(files["run.json"])
    for part in ("model", "training", "corpus", "origin"):
        assert_read_with_defaults(getattr(run.settings, part), settings.get(part, {}))
    assert run.vocabulary.to_json() == json.loads(files["vocabulary.json"])
    assert run.vocabulary.text(held_out) == files["held_out.bin"].decode()
    progress = json.loads(files[f"{CHECKPOINT}/progress.json"])
    assert_read_with_defaults(
        checkpoint.progress, {k: v for k, v in progress.items() if k not in ("format", "charrnn")}
    )
    for part, tensors in read.items():
        expected = safetensors.torch.load(files[f"{CHECKPOINT}/{part}.safetensors"])
        assert expected.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, expected[name])
            assert bool(torch.isfinite(tensor).all())
    assert all(torch.equal(tensor, read["model"][name]) for name, tensor in network.state_dict().items())
    if original:
        assert all(files[name] == valid_run()[name] for name in (*RUN_FILES, *CHECKPOINT_FILES))


def mutate_and_read(folder: Path, number: int, seed: int) -> Counts:
    """Change and read a run this many times. Raises any error but CharrnnError."""
    draw, counts, start = random.Random(seed), Counts(), time.perf_counter()
    valid = valid_run()
    path = folder / "run"
    write_run(path, valid)
    for _ in range(number):
        name = draw.choice([*RUN_FILES, *CHECKPOINT_FILES, *MANIFESTS])
        files = dict(valid)
        try:
            files[name] = mutate(draw, name, valid[name])
        except ValueError:  # the header is not JSON
            files[name] = mutate_bytes(draw, valid[name])
        updated = name not in MANIFESTS and draw.random() < 2 / 3
        if updated:
            update_manifest(files, name)
        touched = [name, manifest_of(name)] if updated else [name]
        write_run(path, {each: files[each] for each in touched})
        counts.files[name] += 1
        began = time.process_time()
        try:
            assert_read_exactly(path, files, original=not updated)
            counts.read += 1
        except CharrnnError:
            counts.refused += 1
        except BaseException:
            print(f"seed {seed}: {name}, {'with' if updated else 'without'} manifest: {files[name][:2000]!r}")
            raise
        counts.slowest = max(counts.slowest, time.process_time() - began)
        write_run(path, {each: valid[each] for each in touched})
    counts.seconds = time.perf_counter() - start
    return counts


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        left, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
        while left > 0:
            print(f"seed {seed}:", mutate_and_read(Path(place), min(left, CHANGES_PER_SEED), seed), flush=True)
            left, seed = left - CHANGES_PER_SEED, seed + 1
