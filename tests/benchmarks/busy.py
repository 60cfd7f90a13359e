"""Does `charrnn train --minutes M` keep its time while other programs want the cores?

    python -m tests.benchmarks.busy --minutes 1 2 5 [--scenarios quiet "3 before"] [--checkout PATH]

Each run is the command that a user types, in its own process. Competitors are plain PyTorch loops of two threads. They
start before the run or at a third of the minutes; some end at two thirds. Prints hidden size, threads, planned steps,
steps made, seconds of the whole process beside those requested, and the validation loss. --checkout runs the package of
another tree, such as an earlier commit; its path has to be absolute. A run that takes more than twice as long as
requested is killed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from charrnn.text.sources import corpora_folder
from charrnn.units import percent
from tests.benchmarks.competitor import openmp_environment, start_competitor, stop

ROOT = Path(__file__).parents[2]
LIMIT = 2.0  # in units of the requested time
PLANNED = re.compile(r"^ *plan +([\d,]+) steps?", re.MULTILINE)


class Scenario(NamedTuple):
    """Competitors, and when they start and end, in units of the requested time."""

    competitors: int
    start: float = 0.0
    end: float = float("inf")


SCENARIOS = {
    "quiet": Scenario(0),
    "1 before": Scenario(1),
    "3 before": Scenario(3),
    "1 from a third": Scenario(1, 1 / 3),
    "3 from a third": Scenario(3, 1 / 3),
    "1 until two thirds": Scenario(1, 0.0, 2 / 3),
    "3 until two thirds": Scenario(3, 0.0, 2 / 3),
}


def run_beside(scenario: Scenario, command: list[str], minutes: float, checkout: Path) -> tuple[float, str, str]:
    """Return the seconds of the whole process, its standard output, and what it wrote to stderr.

    The output is empty for a process that was killed at LIMIT.
    """
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "corpora").symlink_to(corpora_folder().resolve())
        environment = openmp_environment(PYTHONPATH=str(checkout), CHARRNN_HOME=home)
        try:
            if scenario.start == 0:
                running += [start_competitor() for _ in range(scenario.competitors)]
                time.sleep(5 if running else 0)  # until they train
            out, err = Path(home) / "out", Path(home) / "err"
            start = time.perf_counter()
            with out.open("w") as to_out, err.open("w") as to_err:
                process = subprocess.Popen(command, stdout=to_out, stderr=to_err, env=environment, cwd=home)
                while process.poll() is None:
                    passed = (time.perf_counter() - start) / (60 * minutes)
                    if passed > LIMIT:
                        process.kill()
                        process.wait()
                        break
                    if scenario.start <= passed < scenario.end and not running:
                        running += [start_competitor() for _ in range(scenario.competitors)]
                    elif passed >= scenario.end:
                        stop(running)
                    time.sleep(0.05)
            return time.perf_counter() - start, out.read_text(), err.read_text()
        finally:
            stop(running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", default="shakespeare")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 2.0, 5.0])
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--checkout", type=Path, default=ROOT)
    options = parser.parse_args()
    print("| minutes | competitors | H | threads | planned | steps | seconds | of the minutes | nats |")
    print("|---|---|---|---|---|---|---|---|---|")
    for minutes in options.minutes:
        for name in options.scenarios:
            command = [sys.executable, "-m", "charrnn", "train", options.corpus, "--minutes", str(minutes), "--json"]
            seconds, out, err = run_beside(SCENARIOS[name], command, minutes, options.checkout)
            if not out and seconds > LIMIT * 60 * minutes:
                print(f"| {minutes:g} | {name} | | | | | > {seconds:.0f} | > {percent(LIMIT)} | |", flush=True)
                continue
            if not out:
                raise SystemExit(err)
            summary = json.loads(out)
            planned = PLANNED.search(err)
            nats = summary["best_validation_nats"]
            cells = [
                f"{minutes:g}",
                name,
                str(summary["model"]["hidden_size"]),
                str(summary["training"].get("threads") or ""),
                planned[1] if planned else "",
                f"{summary['step']:,}",
                f"{seconds:.1f}",
                percent(seconds / (60 * minutes)),
                "" if nats is None else f"{nats:.4f}",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
