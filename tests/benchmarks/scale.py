"""Time and memory against corpus size and hidden size.

    python -m tests.benchmarks.scale [--folder /tmp] [--steps 1000] [--unicode] 1MB 100MB 1GB 10GB
    python -m tests.benchmarks.scale [--folder /tmp] [--steps 1000] --hidden 64 128 256 512 1024

For each corpus size a text is generated in --folder (64 MB of random words, repeated). It takes twice its size there
and is deleted afterwards. Three processes use it as `charrnn train` does:

    encode    reads the text for the first time and writes its ids next to it (above 64 MB; else not)
    reopen    reads the text again and finds its ids
    train     charrnn train --steps 1000 with 1×256 cells, 16 streams, windows of 64, one evaluation, one checkpoint

The columns are the seconds and the peak anonymous memory of each (RssAnon in /proc/PID/status, which leaves out pages
of mapped files), and the memory of `train` without the model: parameters, gradients and both moments of AdamW, 16 bytes
per parameter.

With --hidden, one layer of each of these sizes is trained on 1 MB twice, the second time for twice as many steps: the
difference is the time of the steps alone. The columns are parameters, time per step, peak anonymous memory, and bytes
per checkpoint.
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
    """Return bytes, from a number with a unit such as 10GB."""
    return int(float(text[:-2]) * UNITS[text[-2:].upper()])


def make_text(path: Path, size: int, unicode: bool) -> None:
    generator = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz" + ("äöüßéабвгдежзик日本語" if unicode else "")
    words = ["".join(generator.choices(letters, k=generator.randint(1, 10))) for _ in range(20_000)]
    lines = bytearray()
    while len(lines) < min(size, REPEATED):
        lines += (" ".join(generator.choices(words, k=generator.randint(3, 15))).capitalize() + ".\n").encode()
    with path.open("wb") as file:
        for _ in range(size // len(lines)):
            file.write(lines)
        file.write(lines[: size % len(lines)].decode("utf-8", "ignore").encode())


def measure(arguments: list[str], environment: dict[str, str]) -> tuple[float, int]:
    """Return the seconds that a command takes, and its peak anonymous memory in bytes."""
    start, peak = time.perf_counter(), 0
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
                    peak = max(peak, 1024 * int(line.split()[1]))
            time.sleep(0.02)
        if process.wait() != 0:
            errors.seek(0)
            raise SystemExit(errors.read().decode())
    return time.perf_counter() - start, peak


def parameters_of(hidden_size: int) -> int:
    from charrnn.model.network import parameter_count
    from charrnn.settings import ModelSettings

    return parameter_count(ModelSettings(layers=1, hidden_size=hidden_size, embedding_size=64), 60)


def measure_training(path: Path, hidden_size: int, steps: int) -> tuple[float, int]:
    """Return what `measure` returns for a training."""
    size = ("--hidden-size", str(hidden_size), "--steps", str(steps), "--name", f"steps-{steps}")
    return measure(["-m", "charrnn", "train", str(path), *size, *MODEL, *SHAPE], {**os.environ, **home_of(path)})


def home_of(path: Path) -> dict[str, str]:
    return {"CHARRNN_HOME": str(path.parent)}


def vary_corpus(sizes: list[int], options: argparse.Namespace) -> None:
    print(f"{'corpus':>8}  {'encode':>16}  {'reopen':>16}  {'train':>16}  {'without model':>13}", flush=True)
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            if shutil.disk_usage(folder).free < 2.2 * size:
                raise SystemExit(f"{folder} has less than {2.2 * size:,.0f} bytes free")
            path = Path(folder, "text.txt")
            make_text(path, size, options.unicode)
            results = [measure(["-c", LOAD, str(path)], {**os.environ, **home_of(path)}) for _ in range(2)]
            results.append(measure_training(path, HIDDEN_SIZE, options.steps))
            cells = "  ".join(f"{seconds:7.1f} s {anonymous / 1e6:3.0f} MB" for seconds, anonymous in results)
            without = results[-1][1] - 16 * parameters_of(HIDDEN_SIZE)
            print(f"{size / 1e6:5.0f} MB  {cells}  {without / 1e6:10.0f} MB", flush=True)


def vary_hidden_size(sizes: list[int], options: argparse.Namespace) -> None:
    print(f"{'hidden':>6}  {'parameters':>10}  {'step':>9}  {'memory':>7}  {'size':>8}", flush=True)
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder, "text.txt")
            make_text(path, UNITS["MB"], options.unicode)
            (fewer, _), (more, memory) = (
                measure_training(path, size, steps) for steps in (options.steps, 2 * options.steps)
            )
            checkpoint = max((path.parent / "checkpoints" / f"steps-{options.steps}" / "checkpoints").iterdir())
            saved = sum(file.stat().st_size for file in checkpoint.iterdir())
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
        vary_corpus(options.sizes, options)
    if options.hidden:
        vary_hidden_size(options.hidden, options)


if __name__ == "__main__":
    main()
