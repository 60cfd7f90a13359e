"""`charrnn evaluate`: the loss of a text."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Annotated, Any

import typer

from charrnn.cli.options import (
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
from charrnn.units import bits, count, perplexity

ADAPTIVE = "Adaptive scores"


@with_settings(ReadSettings)
def evaluate(
    run: RunArgument = None,
    text: Annotated[
        str | None,
        typer.Argument(
            help="File or folder to score, or - for standard input.",
            metavar="TEXT",
            show_default="the held-out text",
        ),
    ] = None,
    per_line: Annotated[
        bool, typer.Option("--per-line", help="Also show the loss of each line, in bits per character.")
    ] = False,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic",
            help="Let a copy of the weights learn from the text as it is scored (dynamic evaluation).",
            rich_help_panel=ADAPTIVE,
        ),
    ] = False,
    mix: Annotated[
        bool,
        typer.Option(
            "--mix",
            help="Mix the model with an n-gram of the training text that learns along.",
            rich_help_panel=ADAPTIVE,
        ),
    ] = False,
    corpus: Annotated[
        str | None,
        typer.Option(
            help="The run's corpus, for --dynamic and --mix.",
            metavar="FILE",
            show_default="the file of its name in corpora/",
            rich_help_panel=ADAPTIVE,
        ),
    ] = None,
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

    [bold]charrnn evaluate notes.txt[/bold]
    [bold]charrnn evaluate shakespeare sonnets.txt --per-line[/bold]
    [bold]charrnn evaluate --dynamic --mix[/bold]
    """
    from charrnn.api import load
    from charrnn.scoring.score import score_lines

    run, text = _run_and_text(run, text)
    model = load(run, checkpoint=checkpoint, device=device)
    title, encoded = read_text(model, text, skip_unknown=skip_unknown, given=given)
    if len(encoded) < 2:
        raise CharrnnError(f"{title} is too short to score: it has {len(encoded)} characters the model knows")
    adaptive = dynamic or mix
    if corpus is not None and not adaptive:
        raise UsageError("--corpus is for --dynamic and --mix")
    with stage_bar() as bar:
        frozen = model.score(encoded, progress=bar)
        started = time.perf_counter()
        score = model.score(encoded, dynamic=dynamic, mix=mix, corpus=corpus, progress=bar) if adaptive else frozen
        seconds = time.perf_counter() - started
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
        result["seconds"] = round(seconds, 3)
    if per_line:
        result["lines"] = [
            {"line": one.number, "text": one.text, "characters": one.characters, "nats_per_character": one.nats}
            for one in score_lines(score, encoded, model.vocabulary)
        ]
    if as_json:
        print(json.dumps(result))
    else:
        _print(result)


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


def _adaptive_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    if "mode" not in result:
        return []
    nats, rate = result["frozen_nats_per_character"], result["characters"] / result["seconds"]
    modes = {"dynamic": "weights learn from the text", "mix": "mixed with an n-gram"}
    return [
        ("scored", "; ".join(modes[name] for name in result["mode"].split(" + "))),
        ("frozen", f"{nats:.4f} nats per character, {bits(nats):.4f} bits"),
        ("speed", f"{count(round(rate))} characters per second, preparation included"),
    ]


def _print(result: dict[str, Any]) -> None:
    from charrnn.display.tables import key_values
    from charrnn.display.terminal import Terminal

    terminal = Terminal.of(sys.stdout)
    for line in result.get("lines", []):
        nats = line["nats_per_character"]
        terminal.write(f"{'     –' if nats is None else f'{bits(nats):6.3f}'}  {line['text']}\n")
    if "lines" in result:
        terminal.write("\n(bits per character of each line)\n\n")
    rows = [
        ("run", f"{result['run']}, step {count(result['step'])}"),
        ("text", f"{result['text']}, {count(result['characters'])} characters scored"),
        *([("note", "the run was trained on this text")] if result["is_training_text"] else []),
        ("loss", f"{result['nats_per_character']:.4f} nats per character"),
        ("", f"{result['bits_per_character']:.4f} bits per character"),
        ("perplexity", f"{perplexity(result['nats_per_character']):.3f}"),
        *_adaptive_rows(result),
    ]
    key_values(rows, terminal)
