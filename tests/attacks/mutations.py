"""Changes a run's files at random, again and again: each time it is refused, or read as exactly what is written there.

    python -m tests.attacks.mutations NUMBER [SEED]

A change is made to bytes (bits, pieces lost, added, swapped) or to the meaning (a value of JSON replaced, a key added,
lost, doubled). In two of three cases the manifest is made to vouch for it, as a stranger would: else hashes alone would
refuse everything. What is then read without a complaint has to be what independent readers read: the standard library's
for JSON, safetensors' own for tensors. Without the manifest's word, it has to be the original.
"""

from __future__ import annotations

import hashlib
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
from charrnn.settings import Settings
from tests.attacks.folders import MANIFESTS, OF_A_SAVE, OF_THE_RUN, SAVE, good_run, manifest_of, write_run

AT_ONCE = 10_000  # changes that are drawn from one seed
HOSTILE_VALUES = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 10**400, 0.5, 1e308, -0.0, "", "a", "F32", "../x", "\x1b[2J",
    "\ud800", [], [0], [2**62, 2**62], {}, {"a": 1}, [[]], "x" * 1000,
]  # fmt: skip


@dataclass
class Mutated:
    """refused, read: how many; slowest: seconds of computing of the slowest; files: how often each was changed."""

    refused: int = 0
    read: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    files: Counter[str] = field(default_factory=Counter)


def mutated_bytes(draw: random.Random, data: bytes) -> bytes:
    """A few changes without regard to meaning."""
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


def mutated_json(draw: random.Random, text: bytes) -> bytes:
    """One change of meaning."""
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


def mutated(draw: random.Random, name: str, data: bytes) -> bytes:
    if name.endswith(".json") and draw.random() < 0.6:
        return mutated_json(draw, data)
    if name.endswith(".safetensors") and draw.random() < 0.6:
        length = int.from_bytes(data[:8], "little")
        change = mutated_json if draw.random() < 0.7 else mutated_bytes
        header = change(draw, data[8 : 8 + length])
        if draw.random() < 0.6:  # of its old length where that is possible
            header = (
                json.dumps(json.loads(header), separators=(",", ":")).encode() if change is mutated_json else header
            )
            header = header.ljust(length)
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    return mutated_bytes(draw, data)


def vouch(files: dict[str, bytes], name: str) -> None:
    manifest = json.loads(files[manifest_of(name)])
    data = files[name]
    manifest[Path(name).name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    files[manifest_of(name)] = json.dumps(manifest).encode()


def assert_read_with_defaults(settings: Settings, written: dict[str, Any]) -> None:
    """Checks that settings are what is written, and the defaults where nothing is."""
    assert settings.to_json() == type(settings)().to_json() | written


def assert_read_as_written(path: Path, files: dict[str, bytes], original: bool) -> None:
    """Reads all there is to read; raises CharrnnError where that is refused, AssertionError where it is misread."""
    run = Run(path)
    held_out = run.held_out_text().ids
    save = run.resumable_checkpoint()
    read = {"model": run.read_model(save), "training": run.read_training(save)}
    network, _ = run.load_network("last")

    settings = json.loads(files["run.json"])
    for part in ("model", "training", "corpus", "origin"):
        assert_read_with_defaults(getattr(run.settings, part), settings.get(part, {}))
    assert run.vocabulary.to_json() == json.loads(files["vocabulary.json"])
    assert run.vocabulary.text(held_out) == files["held_out.bin"].decode()
    progress = json.loads(files[f"{SAVE}/progress.json"])
    assert_read_with_defaults(save.progress, {k: v for k, v in progress.items() if k not in ("format", "charrnn")})
    for part, tensors in read.items():
        expected = safetensors.torch.load(files[f"{SAVE}/{part}.safetensors"])
        assert expected.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, expected[name])
            assert bool(torch.isfinite(tensor).all())
    assert all(torch.equal(tensor, read["model"][name]) for name, tensor in network.state_dict().items())
    if original:
        good = good_run()
        assert all(files[name] == good[name] for name in (*OF_THE_RUN, *OF_A_SAVE))


def mutate_and_read(folder: Path, number: int, seed: int) -> Mutated:
    """Raises AssertionError for a run that is misread, and lets anything but CharrnnError through."""
    draw, counted, start = random.Random(seed), Mutated(), time.perf_counter()
    good = good_run()
    path = folder / "run"
    write_run(path, good)
    for _ in range(number):
        name = draw.choice([*OF_THE_RUN, *OF_A_SAVE, *MANIFESTS])
        files = dict(good)
        try:
            files[name] = mutated(draw, name, good[name])
        except ValueError:  # the header is no JSON any more
            files[name] = mutated_bytes(draw, good[name])
        vouches = name not in MANIFESTS and draw.random() < 2 / 3
        if vouches:
            vouch(files, name)
        touched = [name, manifest_of(name)] if vouches else [name]
        write_run(path, {each: files[each] for each in touched})
        counted.files[name] += 1
        began = time.process_time()
        try:
            assert_read_as_written(path, files, original=not vouches)
            counted.read += 1
        except CharrnnError:
            counted.refused += 1
        except BaseException:
            print(f"seed {seed}: {name}, {'vouched for' if vouches else 'not vouched for'}: {files[name][:2000]!r}")
            raise
        counted.slowest = max(counted.slowest, time.process_time() - began)
        write_run(path, {each: good[each] for each in touched})
    counted.seconds = time.perf_counter() - start
    return counted


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        left, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
        while left > 0:
            print(f"seed {seed}:", mutate_and_read(Path(place), min(left, AT_ONCE), seed), flush=True)
            left, seed = left - AT_ONCE, seed + 1
