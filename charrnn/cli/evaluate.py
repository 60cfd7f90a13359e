"""`charrnn evaluate`: the loss of a text."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import (
    READING,
    CheckpointOption,
    DeviceOption,
    JsonOption,
    RunArgument,
    SkipUnknownOption,
    read_text,
    with_settings,
)
from charrnn.cli.progress import stage_bar
from charrnn.errors import CharrnnError, UsageError
from charrnn.settings import ReadSettings
from charrnn.units import amount, count

if TYPE_CHECKING:
    from charrnn.api import Model
    from charrnn.discovery.study import Progress
    from charrnn.scoring.baselines import Baseline
    from charrnn.text.encoded_text import EncodedText

ADAPTIVE, COMPARED = "Adaptive scores", "Comparison"
BASELINE_CHARACTERS = 1_500_000
"""Characters of the corpus and the text up to which baselines are scored by default: a few seconds on one core."""

TextArgument = Annotated[
    str | None,
    typer.Argument(
        help="File or folder to score, or - for standard input.", metavar="TEXT", show_default="the held-out text"
    ),
]
PerLineOption = Annotated[
    bool, typer.Option("--per-line", help="Also show the loss of each line, in bits per character.")
]
DynamicOption = Annotated[
    bool,
    typer.Option(
        "--dynamic",
        help="Let a copy of the weights learn from the text as it is scored (dynamic evaluation).",
        rich_help_panel=ADAPTIVE,
    ),
]
MixOption = Annotated[
    bool,
    typer.Option(
        "--mix", help="Mix the model with an n-gram of the training text that learns along.", rich_help_panel=ADAPTIVE
    ),
]
BaselinesOption = Annotated[
    bool | None,
    typer.Option(
        "--baselines/--no-baselines",
        help="Also score an n-gram, PPMd, bzip2 and xz, given the training text.",
        show_default=f"if it is in corpora/ and has up to {count(BASELINE_CHARACTERS)} characters",
        rich_help_panel=COMPARED,
    ),
]
CorpusOption = Annotated[
    str | None,
    typer.Option(
        help="The run's corpus, for --baselines, --dynamic and --mix.",
        metavar="FILE",
        show_default="the file of its name in corpora/",
    ),
]


@with_settings(ReadSettings, only=READING)
def evaluate(
    run: RunArgument = None,
    text: TextArgument = None,
    per_line: PerLineOption = False,
    corpus: CorpusOption = None,
    dynamic: DynamicOption = False,
    mix: MixOption = False,
    baselines: BaselinesOption = None,
    skip_unknown: SkipUnknownOption = False,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Score a text: nats and bits per character, and perplexity.

    The network reads the text in one pass from a zero state; the first character is not scored. A run trained on
    documents reads each from a zero state and scores all characters. A text is read in the encoding and with the
    newlines of the run's corpus by default. A single argument that is not the name of a run is the text.

    Below the score, a table compares the run with other models that know the same training text. A frozen model stays
    as the training text left it; an adaptive one also learns from the text, as compressors do.

    [bold]charrnn evaluate notes.txt[/bold]
    [bold]charrnn evaluate shakespeare sonnets.txt --per-line[/bold]
    [bold]charrnn evaluate --dynamic --mix[/bold]
    """
    from charrnn.api import load
    from charrnn.model.run import NoHeldOutTextError

    run, text = _run_and_text(run, text)
    model = load(run, checkpoint=checkpoint, device=device)
    if text is None and not model.run.has_held_out_text:
        raise NoHeldOutTextError(model.name, f"name a text: charrnn evaluate {model.name} FILE")
    title, encoded = read_text(model, text, skip_unknown=skip_unknown, given=given)
    if len(encoded) < 2:
        raise CharrnnError(f"{title} is too short to score: it has {len(encoded)} characters the model knows")
    if corpus is not None and baselines is False and not dynamic and not mix:
        raise UsageError("--corpus is for --baselines, --dynamic and --mix")
    with stage_bar() as bar:
        result = _score(model, title, encoded, bar, corpus, dynamic=dynamic, mix=mix, per_line=per_line)
        compared, result["baselines_note"] = _baselines(model, encoded, result, bar, corpus, asked=baselines)
    if as_json:
        print(json.dumps({**result, "baselines": [one.to_json() for one in compared]}))
    else:
        _print(result, compared)


def _score(
    model: Model,
    title: str,
    encoded: EncodedText,
    bar: Progress,
    corpus: str | None,
    *,
    dynamic: bool,
    mix: bool,
    per_line: bool,
) -> dict[str, Any]:
    """Return the frozen score of a text, and the adaptive one that the user asked for, as they are printed in JSON."""
    from charrnn.scoring.score import score_lines

    frozen = model.score(encoded, progress=bar)
    started = time.perf_counter()
    adaptive = dynamic or mix
    score = model.score(encoded, dynamic=dynamic, mix=mix, corpus=corpus, progress=bar) if adaptive else frozen
    result = {
        "run": model.name,
        "step": model.checkpoint.step,
        "text": title,
        "is_training_text": model.run.is_corpus(encoded.ids),
        "characters": len(score),
        "nats_per_character": score.mean,
        "bits_per_character": score.bits_per_character,
        "perplexity": score.perplexity if math.isfinite(score.perplexity) else None,  # JSON has no infinity
    }
    if adaptive:
        result["mode"] = " + ".join([name for name, asked in (("dynamic", dynamic), ("mix", mix)) if asked])
        result["frozen_nats_per_character"] = frozen.mean
        result["seconds"] = round(time.perf_counter() - started, 3)
    if per_line:
        result["lines"] = [
            {"line": one.number, "text": one.text, "characters": one.characters, "nats_per_character": one.nats}
            for one in score_lines(score, encoded, model.vocabulary)
        ]
    return result


def _baselines(
    model: Model,
    encoded: EncodedText,
    result: dict[str, Any],
    bar: Progress,
    corpus: str | None,
    *,
    asked: bool | None,
) -> tuple[list[Baseline], str | None]:
    """Return the baselines and what they know, or none and why; no reason where the user wants none.

    asked: None where the user did not say.
    """
    from charrnn.scoring.ngram import TRAINING_CHARACTERS

    if asked is False:
        return [], None
    identity = model.run.settings.corpus
    size = identity.characters + len(encoded)
    if asked is None and corpus is None:
        if result["is_training_text"]:
            return [], "No baselines: the text is the training text. --baselines scores them all the same."
        if size > BASELINE_CHARACTERS:
            return [], f"--baselines also scores an n-gram and compressors, which read {amount(size, 'character')}."
    try:
        found = model.baselines(encoded, corpus=corpus, progress=bar)
    except CharrnnError as error:
        if asked or corpus is not None:
            raise
        return [], f"No baselines: {error}."
    known = identity.characters - identity.held_out
    which = "the training text" if known <= TRAINING_CHARACTERS else "the end of the training text"
    note = f"All know {which}, {amount(min(known, TRAINING_CHARACTERS), 'character')}. Adaptive ones also learn from "
    note += "this text as they read it."
    if "mode" not in result:
        note += " --dynamic and --mix let the run learn too."
    return found, note


def _run_and_text(run: str | None, text: str | None) -> tuple[str | None, str | None]:
    """Interpret `evaluate TEXT`: a single argument that names no run is the text, and the run is the newest."""
    from charrnn.model.lookup import open_run

    if run is None or text is not None:
        return run, text
    try:
        open_run(run)
    except UsageError:  # no such run; CharrnnError, for a damaged one, passes
        if run == "-" or os.path.exists(run):  # noqa: PTH110 - Path.exists raises for some strings
            return None, run
        if os.path.splitext(run)[1]:  # noqa: PTH122 - it looks like a file name
            raise UsageError(f"{run} is neither a run nor a file", "`charrnn runs` lists the runs") from None
        raise
    return run, None


def _print(result: dict[str, Any], baselines: list[Baseline]) -> None:
    from charrnn.cli.score_tables import print_baselines, print_score
    from charrnn.display.terminal import Terminal

    terminal = Terminal.of(sys.stdout)
    print_score(result, terminal)
    if result["baselines_note"] is not None:
        print_baselines(result, baselines, terminal)
