"""How time and memory grow with the corpus, and with the hidden size.

    python -m tests.benchmarks.scale [--folder /tmp] [--steps 1000] [--unicode] 1MB 100MB 1GB 10GB
    python -m tests.benchmarks.scale [--folder /tmp] [--steps 1000] --hidden 64 128 256 512 1024

For each size of a corpus a text is made on the spot in --folder (words drawn at random, 64 MB of them over and over),
which takes twice its size there while it is worked on; it is deleted afterwards. Three processes then do with it what
`charrnn train` does, and while each runs, its anonymous memory (RssAnon in /proc/PID/status: what is its own, as
against pages of files that the system can drop at any time) is read fifty times a second:

    encode    the text is read for the first time, and its ids are written next to it (above 64 MB; else in memory)
    find      the text is read again, and its ids are found
    train     charrnn train --steps 1000 with 1×256 cells, 16 streams and windows of 64, one evaluation, one save

The columns are seconds and the largest anonymous memory of each, and with it, in the last one, that memory without the
model: parameters, gradients and both moments of AdamW, 16 bytes a parameter.

With --hidden, 1 MB is trained on with one layer of each of these sizes, twice, the second time for twice as many steps:
the difference is what steps take, without the start. The columns are parameters, seconds a step, the largest anonymous
memory, and the bytes of one save. What ranks change is measured by `tests.benchmarks.ranks`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

UNITS = {"KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
REPEATED = 64 * UNITS["MB"]
LOAD = "import sys; from charrnn.text.corpus import load_corpus; load_corpus(sys.argv[1:])"
HIDDEN_SIZE = 256
MODEL = ("--layers", "1", "--embedding-size", "64", "--dropout", "0", "--device", "cpu")
SHAPE = ("--batch-size", "16", "--seq-length", "64", "--evaluations", "1")


def size_of(text: str) -> int:
    """Bytes, from a number with a unit, as 10GB."""
    return int(float(text[:-2]) * UNITS[text[-2:].upper()])


def make_text(path: Path, size: int, unicode: bool) -> None:
    draw = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz" + ("äöüßéабвгдежзик日本語" if unicode else "")
    words = ["".join(draw.choices(letters, k=draw.randint(1, 10))) for _ in range(20_000)]
    lines = bytearray()
    while len(lines) < min(size, REPEATED):
        lines += (" ".join(draw.choices(words, k=draw.randint(3, 15))).capitalize() + ".\n").encode()
    with path.open("wb") as file:
        for _ in range(size // len(lines)):
            file.write(lines)
        file.write(lines[: size % len(lines)].decode("utf-8", "ignore").encode())


def measured(arguments: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """Seconds that a command takes, and its largest anonymous memory in bytes."""
    start, largest = time.perf_counter(), 0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            for line in status.splitlines():
                if line.startswith("RssAnon:"):
                    largest = max(largest, 1024 * int(line.split()[1]))
            time.sleep(0.02)
        if process.wait() != 0:
            errors.seek(0)
            raise SystemExit(errors.read().decode())
    return time.perf_counter() - start, largest


def parameters_of(hidden_size: int) -> int:
    from charrnn.model.network import parameter_count
    from charrnn.settings import ModelSettings

    return parameter_count(ModelSettings(layers=1, hidden_size=hidden_size, embedding_size=64), 60)


def trained(path: Path, hidden_size: int, steps: int) -> tuple[float, int]:
    """What `measured` gives of a training."""
    size = ("--hidden-size", str(hidden_size), "--steps", str(steps), "--name", f"steps-{steps}")
    return measured(["-m", "charrnn", "train", str(path), *size, *MODEL, *SHAPE], {**os.environ, **home_of(path)})


def home_of(path: Path) -> dict[str, str]:
    return {"CHARRNN_HOME": str(path.parent)}


def with_the_corpus(sizes: list[int], options: argparse.Namespace) -> None:
    print(f"{'corpus':>8}  {'encode':>16}  {'find':>16}  {'train':>16}  {'without model':>13}", flush=True)
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            if shutil.disk_usage(folder).free < 2.2 * size:
                raise SystemExit(f"{folder} has too little room for {size:,} bytes twice")
            path = Path(folder, "text.txt")
            make_text(path, size, options.unicode)
            results = [measured(["-c", LOAD, str(path)], {**os.environ, **home_of(path)}) for _ in range(2)]
            results.append(trained(path, HIDDEN_SIZE, options.steps))
            cells = "  ".join(f"{seconds:7.1f} s {anonymous / 1e6:3.0f} MB" for seconds, anonymous in results)
            without = results[-1][1] - 16 * parameters_of(HIDDEN_SIZE)
            print(f"{size / 1e6:5.0f} MB  {cells}  {without / 1e6:10.0f} MB", flush=True)


def with_the_hidden_size(sizes: list[int], options: argparse.Namespace) -> None:
    print(f"{'hidden':>6}  {'parameters':>10}  {'a step':>9}  {'memory':>7}  {'a save':>8}", flush=True)
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder, "text.txt")
            make_text(path, UNITS["MB"], options.unicode)
            (fewer, _), (more, memory) = (trained(path, size, steps) for steps in (options.steps, 2 * options.steps))
            save = max((path.parent / "checkpoints" / f"steps-{options.steps}" / "checkpoints").iterdir())
            saved = sum(file.stat().st_size for file in save.iterdir())
            step = (more - fewer) / options.steps
            print(
                f"{size:6}  {parameters_of(size):10,}  {1000 * step:6.1f} ms  {memory / 1e6:4.0f} MB  "
                f"{saved / 1e6:5.1f} MB",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=size_of, metavar="SIZE", default=[])
    parser.add_argument("--hidden", nargs="+", type=int, metavar="SIZE", default=[])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--unicode", action="store_true", help="letters of one to three bytes")
    options = parser.parse_args()
    if options.sizes:
        with_the_corpus(options.sizes, options)
    if options.hidden:
        with_the_hidden_size(options.hidden, options)


if __name__ == "__main__":
    main()
