"""`charrnn evaluate`: how many nats a text costs a model."""

from __future__ import annotations

import itertools
import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.options import CheckpointOption, DeviceOption, RunArgument, SkipUnknownOption, flowing
from charrnn.errors import CharrnnError, UsageError
from charrnn.units import bits, count

if TYPE_CHECKING:
    import numpy as np

    from charrnn.text.vocabulary import Vocabulary


def register(app: typer.Typer) -> None:
    app.command("evaluate", help=flowing(evaluate))(evaluate)


def evaluate(
    run: RunArgument = None,
    text: Annotated[
        str | None,
        typer.Argument(
            help="A file or folder, or - for standard input.", metavar="TEXT", show_default="the held-out text"
        ),
    ] = None,
    per_line: Annotated[
        bool, typer.Option("--per-line", help="Each line with its own loss, in bits per character.")
    ] = False,
    skip_unknown: SkipUnknownOption = False,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
) -> None:
    """Score a text: nats and bits per character, perplexity.

    The text is read in one go from a zero state; its first character is not scored. A run that was trained on documents
    reads each for itself, and scores all of it. With one argument, that is the text if no run has that name.

    [bold]charrnn evaluate notes.txt[/bold]  ·  [bold]charrnn evaluate shakespeare sonnets.txt --per-line[/bold]
    """
    from charrnn.cli.reading import text_of
    from charrnn.model.device import choose_device
    from charrnn.model.lookup import open_run
    from charrnn.scoring.score import score

    run, text = _sorted_out(run, text)
    opened = open_run(run)
    source, scored = text_of(opened, text, skip_unknown=skip_unknown)
    network, save = opened.load_network(checkpoint, choose_device(device))
    ids = scored.ids
    if len(scored) < 2:
        raise CharrnnError(f"{source} is too short to score: it has {len(scored)} characters the model knows")
    result = score(network, scored)
    lines = _lines(opened.vocabulary, ids, result.nats) if per_line else None
    figures = {
        "run": opened.name,
        "step": save.step,
        "text": source,
        "characters": len(result),
        "nats_per_character": result.mean,
        "bits_per_character": result.bits_per_character,
        "perplexity": result.perplexity,
    }
    if as_json:
        print(json.dumps(figures if lines is None else {**figures, "lines": lines}))
        return
    _show(figures, lines)


def _sorted_out(run: str | None, text: str | None) -> tuple[str | None, str | None]:
    """`evaluate TEXT`: a single argument that no run is called by is the text, and the run is the newest."""
    from charrnn.model.lookup import open_run

    if run is None or text is not None:
        return run, text
    try:
        open_run(run)
    except UsageError:  # no run has that name; one that is damaged is told of
        if run == "-" or os.path.exists(run):  # noqa: PTH110 - says no, rather than fail, where that is no path
            return None, run
        if os.path.splitext(run)[1]:  # noqa: PTH122 - it looks like a file's name
            raise UsageError(f"{run} is neither a run nor a file", "`charrnn runs` lists the runs") from None
        raise
    return run, None


def _lines(vocabulary: Vocabulary, ids: np.ndarray, nats: np.ndarray) -> list[dict[str, Any]]:
    """Number, text, characters and mean nats of each line, its newline counted with it. The first character of the text
    has no cost and is not counted, except of documents."""
    uncounted = len(ids) - len(nats)
    newline = vocabulary.encode("\n", skip_unknown=True)
    ends = [*(i + 1 for i in (ids == newline[0]).nonzero()[0].tolist())] if len(newline) else []
    bounds = [0, *ends, *([len(ids)] if not ends or ends[-1] < len(ids) else [])]
    lines = []
    for number, (start, stop) in enumerate(itertools.pairwise(bounds), start=1):
        costs = nats[max(0, start - uncounted) : stop - uncounted]
        mean = float(costs.mean(dtype=float)) if len(costs) else None
        text = vocabulary.text(ids[start:stop]).removesuffix("\n")
        lines.append({"line": number, "text": text, "characters": len(costs), "nats_per_character": mean})
    return lines


def _show(figures: dict[str, Any], lines: list[dict[str, Any]] | None) -> None:
    from charrnn.display.tables import key_values
    from charrnn.display.terminal import Terminal

    terminal = Terminal.of(sys.stdout)
    for line in lines or []:
        nats = line["nats_per_character"]
        cost = "     –" if nats is None else f"{bits(nats):6.3f}"
        terminal.write(f"{cost}  {line['text']}\n")
    if lines is not None:
        terminal.write("\n(bits per character of each line)\n\n")
    rows = [
        ("run", f"{figures['run']}, step {count(figures['step'])}"),
        ("text", f"{figures['text']}, {count(figures['characters'])} characters scored"),
        ("loss", f"{figures['nats_per_character']:.4f} nats per character"),
        ("", f"{figures['bits_per_character']:.4f} bits per character"),
        ("perplexity", f"{figures['perplexity']:.3f}"),
    ]
    key_values(rows, terminal)
