"""Write the golden runs: small runs of the current format that every later version has to read.

    python -m tests.golden.make

Each run in `RUNS` is trained to its end by the program, on a CPU, with one thread. It is then cut back to the
checkpoints in `kept`, as if the training had been killed there. Beside the run lie NAME.json, what the program samples
from the cut run, and NAME.safetensors, the weights of the whole one, if the run can be resumed. Some runs are exported
as well. Golden runs are never rewritten: only those that the current format does not have yet are made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from charrnn.model.exported import VERSION, export_run
from charrnn.model.run import Run
from charrnn.model.run_format import FORMAT
from charrnn.model.tensors import in_half_precision
from charrnn.model.writer import RunWriter

GOLDEN = Path(__file__).parent
CORPUS = GOLDEN / "text.txt"
SHAPE = "--hidden-size 4 --embedding-size 3 --batch-size 4 --seq-length 16 --learning-rate 0.1 --precision fp32"
LENGTH = "--steps 300 --evaluations 3 --keep every:50 --seed 3 --device cpu"
TEXT_ENCODING = "latin-1"  # of the samples: keeps every byte of a run of bytes


@dataclass(frozen=True)
class Golden:
    """How one golden run is made.

    arguments: of `charrnn train`. kept: the steps whose checkpoints stay. steps: the number of steps that a correction
    after the warm-up left in steps.json. is_shared: without optimizer and held-out text, weights in half precision.
    """

    arguments: str
    kept: tuple[int, ...] = (200,)
    steps: int | None = None
    is_shared: bool = False


RUNS = {
    "lstm": Golden("--model lstm --layers 2 --dropout 0.2", kept=(0, 200)),
    "gru": Golden("--model gru"),
    "rnn": Golden("--model rnn"),
    "irnn": Golden("--model irnn --learning-rate 0.03"),
    "documents": Golden("--model gru --documents lines --patience 0 --weight-decay 0.01"),
    "bytes": Golden("--model rnn --bytes --hidden-size 2 --embedding-size 1"),
    "corrected": Golden("--model lstm", steps=260),
    "shared": Golden("--model lstm", is_shared=True),
}
EXPORTED = GOLDEN / f"exported-{VERSION}"
EXPORTS = {"lstm": True, "bytes": False, "documents": False}
"""Name of a golden run → whether its exported file has half precision."""
SAMPLES = {
    "greedy": "--length 100 --greedy",
    "sampled": "--length 120 --seed 7 --temperature 0.9 --top-k 8 --top-p 0.98",
    "primed": "--length 60 --seed 7 --num 2 --prime ten",
}


def sample_arguments(name: str) -> list[str]:
    """Return the arguments of `charrnn sample` besides the run."""
    return [*SAMPLES[name].split(), "--checkpoint", "last", "--device", "cpu"]


def cut_back(run: Path, kept: tuple[int, ...]) -> None:
    """Remove what a training killed at the last of these steps would not have written."""
    for checkpoint in run.glob("*/[0-9]*"):
        if int(checkpoint.name) not in kept:
            shutil.rmtree(checkpoint)
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if json.loads(line)["step"] <= kept[-1]))


def share(run: Path) -> None:
    """Replace a run by its last checkpoint in half precision, without optimizer and held-out text."""
    opened = Run(run)
    last = opened.checkpoint("last")
    weights = in_half_precision(opened.read_model(last), run.name)
    shared = run.with_name("copy")
    RunWriter.create("copy", opened.settings, opened.vocabulary, b"", run.parent, weights, last.progress).close()
    shutil.rmtree(run)
    shared.rename(run)


def make(name: str, golden: Golden, home: Path) -> None:
    """Write one run and its expected results to home/checkpoints."""
    run = home / "checkpoints" / name

    def program(*arguments: str) -> str:
        environment = {**os.environ, "CHARRNN_HOME": str(home), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "charrnn", *arguments]
        done = subprocess.run(command, cwd=GOLDEN, env=environment, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode(TEXT_ENCODING)

    program("train", CORPUS.name, "--name", name, *f"{SHAPE} {LENGTH} {golden.arguments}".split())
    if golden.steps is not None:
        cut_back(run, golden.kept)
        (run / "steps.json").write_text(json.dumps({"steps": golden.steps}))
        program("train", CORPUS.name, "--resume", "--name", name, "--device", "cpu")
    if golden.is_shared:
        share(run)
    else:
        shutil.copy(max(run.glob("*/[0-9]*")) / "model.safetensors", run.with_name(f"{name}.safetensors"))
        cut_back(run, golden.kept)
    (run / "lock").unlink()
    samples = {each: program("sample", name, *sample_arguments(each)) for each in SAMPLES}
    run.with_name(f"{name}.json").write_text(json.dumps(samples, indent=2) + "\n")


def main() -> None:
    folder = GOLDEN / f"format-{FORMAT}"
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "checkpoints").mkdir()
        for name in RUNS:
            if not (folder / name).exists():
                make(name, RUNS[name], Path(home))
        shutil.copytree(Path(home) / "checkpoints", folder, dirs_exist_ok=True)
    EXPORTED.mkdir(exist_ok=True)
    for name, half in EXPORTS.items():
        file = EXPORTED / f"{name}.safetensors"
        if not file.exists():
            export_run(Run(folder / name), file, checkpoint="last", half=half, with_text=True)


if __name__ == "__main__":
    main()
