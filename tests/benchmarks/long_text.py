"""Memory and speed of one long text: alone, with filters that see the history, with --novelty and --max-copy, with all.

    python -m tests.benchmarks.long_text shakespeare [--length 10000000] [--only all]

`charrnn sample` writes the text into a pipe. Anonymous memory is shown after a tenth, a half and 99 % of the text, and
at its peak. The corpus of the run has to be in corpora/.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

HISTORY = (
    *(
        "--repeat-penalty",
        "1.05",
        "--presence-penalty",
        "0.05",
        "--frequency-penalty",
        "0.01",
        "--repeat-last-n",
        "200",
    ),
    *("--dry-multiplier", "0.8", "--mirostat-ent", "2"),
)
NOVELTY = ("--novelty", "--max-copy", "40")
OPTIONS = {"none": (), "history": HISTORY, "novelty": NOVELTY, "all": (*HISTORY, *NOVELTY)}


def anonymous_megabytes(process: subprocess.Popen[bytes]) -> float:
    """Return the anonymous memory of a process, 0 where it has ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1000 if found else 0.0


class Peak(threading.Thread):
    """Watches the anonymous memory of a process."""

    def __init__(self, process: subprocess.Popen[bytes]):
        super().__init__(daemon=True)
        self._process, self.megabytes = process, 0.0

    def run(self) -> None:
        while self._process.poll() is None:
            self.megabytes = max(self.megabytes, anonymous_megabytes(self._process))
            time.sleep(0.1)


def measure(run: str, length: int, options: tuple[str, ...]) -> list[str]:
    """Return characters per second after the first hundredth, and megabytes."""
    command = [sys.executable, "-m", "charrnn", "sample", run, "--length", str(length), "--seed", "1", *options]
    marks, written, megabytes, started = [length // 10, length // 2, length * 99 // 100], 0, [], 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        peak = Peak(process)
        peak.start()
        assert process.stdout is not None
        while piece := process.stdout.read1(1 << 16):
            written += len(piece.decode("ascii"))
            if not started and written >= length // 100:
                started, first = time.perf_counter(), written
            while len(megabytes) < len(marks) and written >= marks[len(megabytes)]:
                megabytes.append(anonymous_megabytes(process))
        seconds = time.perf_counter() - started
    assert process.returncode == 0, "it writes the text"
    peak.join()
    return [f"{(written - first) / seconds:,.0f}", *(f"{one:.0f}" for one in (*megabytes, peak.megabytes))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--length", type=int, default=10_000_000)
    parser.add_argument("--only", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    chosen = parser.parse_args()
    print("| options | characters/s | MB after 10 % | 50 % | 99 % | peak |\n|---|---|---|---|---|---|", flush=True)
    for name in chosen.only:
        print("|", " | ".join([name, *measure(chosen.run, chosen.length, OPTIONS[name])]), "|", flush=True)


if __name__ == "__main__":
    main()
