"""CPU seconds and memory of building the index of a corpus that --novelty and --max-copy use.

    python -m tests.benchmarks.corpus_index 1000000 100000000

The text is Python source: the files below sys.prefix and sys.base_prefix, as bytes, up to each length. Each row is
measured in its own process; memory is the peak beyond that of the text.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path

import numpy as np

from charrnn.progress import no_progress
from charrnn.text.suffix_array import prefix_doubling, suffix_array


def source(length: int) -> np.ndarray:
    """Return bytes of Python source (length,), uint8."""
    text = bytearray()
    for folder in (sys.prefix, sys.base_prefix):
        for path in sorted(Path(folder).rglob("*.py")):
            if len(text) >= length:
                return np.frombuffer(text[:length], np.uint8)
            text += path.read_bytes()
    raise SystemExit(f"only {len(text):,} bytes of Python source here")


def measure(length: int, by: str) -> str:
    """Return a row of the table."""
    ids = source(length)
    before, start = _peak(), time.process_time()
    _ = suffix_array(ids) if by == "pydivsufsort" else prefix_doubling(ids, no_progress)
    return f"| {length:,} | {by} | {time.process_time() - start:.1f} | {_peak() - before:,.0f} MB |"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lengths", nargs="+", type=int, metavar="LENGTH")
    print("| characters | by | CPU seconds | peak memory, without the text |\n|---|---|---|---|", flush=True)
    for length in parser.parse_args().lengths:
        for by in ("pydivsufsort", "NumPy"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.apply(measure, (length, by)), flush=True)


if __name__ == "__main__":
    main()
