"""Bits per character of runs and of other models of the same texts: frozen beside frozen, adaptive beside adaptive.

    python -m tests.benchmarks.scores shakespeare python=python:notes.py warpeace

Each argument is RUN, or RUN:TEXT for another text than the held-out one; a name before = is a title. Run
and baselines know the same training text, which has to be on this machine. Adaptive are the run with --dynamic, with
--mix and with both, the n-gram, and the compressors, which cannot stay as they are. Speed is in characters of the text
per second, what is needed before the first one included: for baselines to learn the training text, for --dynamic to
choose its rate. Prints a Markdown table for each argument, and JSON lines with --json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import charrnn
from charrnn.model.device import choose_device, device_name
from charrnn.model.training_text import training_text
from charrnn.scoring.baselines import score_baselines
from charrnn.scoring.ngram import mixed_score, ngram_score
from charrnn.scoring.score import Score


def timed(compute: Callable[[], Score]) -> tuple[Score, float]:
    """Return a score and the seconds it took."""
    started = time.perf_counter()
    return compute(), time.perf_counter() - started


def scores(run: str, text: str | None) -> Iterator[dict[str, Any]]:
    """Yield for each model its name, its bits per character frozen and adaptive, and its speed."""
    model = charrnn.load(run)
    encoded = model.encode(None if text is None else Path(text))

    def row(name: str, frozen: float | None, adaptive: float | None, seconds: float) -> dict[str, Any]:
        speed = len(encoded) / seconds if seconds else None
        return {"model": name, "frozen": frozen, "adaptive": adaptive, "speed": speed}

    frozen, frozen_seconds = timed(lambda: model.score(encoded))
    yield row(model.shape, frozen.bits_per_character, None, frozen_seconds)
    dynamic, dynamic_seconds = timed(lambda: model.score(encoded, dynamic=True))
    yield row(f"{model.shape} --dynamic", None, dynamic.bits_per_character, dynamic_seconds)
    corpus = training_text(model.run)
    training = model.run.encoded_text(corpus.ids, corpus.lengths)
    ngram, seconds = timed(lambda: ngram_score(training, encoded, len(model.vocabulary), adaptive=True))
    mixed = mixed_score(frozen, ngram).bits_per_character
    yield row(f"{model.shape} --mix", None, mixed, frozen_seconds + seconds)
    mixed = mixed_score(dynamic, ngram).bits_per_character
    yield row(f"{model.shape} --dynamic --mix", None, mixed, dynamic_seconds + seconds)
    for one in score_baselines(training, encoded, model.vocabulary):
        yield row(one.name, one.frozen, one.adaptive, one.seconds)


def parse(argument: str) -> tuple[str, str, str | None]:
    """Split [TITLE=]RUN[:TEXT]."""
    title, _, rest = argument.rpartition("=")
    run, _, text = rest.partition(":")
    return title or rest, run, text or None


def number(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:,.{places}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="[TITLE=]RUN[:TEXT]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.json:
        print(f"bits per character, on {device_name(choose_device())}")
    for title, run, text in map(parse, options.runs):
        if not options.json:
            print(f"\n| {title} | frozen | adaptive | characters/s |\n|---|---|---|---|", flush=True)
        for row in scores(run, text):
            if options.json:
                print(json.dumps({"title": title, **row}), flush=True)
                continue
            columns = (number(row["frozen"], 4), number(row["adaptive"], 4), number(row["speed"], 0))
            print(f"| {row['model']} | {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
