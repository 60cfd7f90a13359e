"""`charrnn memory`: how far back models remember."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from charrnn.cli import options
from charrnn.cli.background import output_terminal
from charrnn.cli.completion import complete_run
from charrnn.options import only_one_of, settings_from
from charrnn.progress import progress_bar, span
from charrnn.settings import TerminalSettings
from charrnn.units import amount, count

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from charrnn.api import Model
    from charrnn.causal.reach import Memory
    from charrnn.display.terminal import Terminal
    from charrnn.text.encoded_text import EncodedText

SHOWN_LAGS, SHOWN_CONTEXTS = (1, 10, 20, 50, 100, 200), (1, 2, 5, 10, 20, 50, 100, 200)
LEAST = 1e-6  # the lowest norm that is plotted
MAX_WIDTH, ROWS = 78, 8
SHARES_SHOWN, LEAST_SHARE = 4, 0.01
Y_LABEL = "gradient norm k characters back, relative to k = 0"
SHARE_COLUMNS = {
    "typical": "mean of the shares at each position, at k = {lag}",
    "half from": "how many positions make up half of the squared gradient there",
}
"""Column of the shares that a narrow terminal leaves out → what it shows."""

AgainstOption = Annotated[
    list[str] | None,
    typer.Option(help="Another run to compare with. Repeatable.", metavar="RUN", autocompletion=complete_run),
]
OutputOption = Annotated[Path | None, options.output_option("Write the figure to this .svg, .pdf or .png file.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print the curves as CSV.")]


class MeasuredModel(NamedTuple):
    """A model, the text it was measured on, and its memory."""

    model: Model
    title: str
    text: EncodedText
    memory: Memory


@options.reads_text(TerminalSettings)
def memory(
    run: options.RunArgument = None,
    against: AgainstOption = None,
    text: options.TextOption = None,
    skip_unknown: options.SkipUnknownOption = False,
    checkpoint: options.CheckpointOption = "best",
    device: options.DeviceOption = "auto",
    output: OutputOption = None,
    as_json: options.JsonOption = False,
    as_csv: CsvOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Measure how far back a model, or each of several, remembers.

    The gradient of the loss with respect to the state k characters before shows over which distance a network can
    learn: it vanishes in plain recurrent networks (Bengio et al. 1994). The effective context is the number of
    characters after which replacing all text before them costs less than .01 bit per character (Khandelwal et al.
    2018). Each run is measured on its own held-out text, unless --text names one for all.

    [bold]charrnn memory[/bold]
    [bold]charrnn memory rnn --against gru --against lstm -o memory.svg[/bold]
    """

    settings = settings_from(TerminalSettings, given)
    only_one_of(json=as_json, csv=as_csv, output=output)
    options.check_figure(output)
    loaded = [
        options.open_text(name, text, checkpoint, device, skip_unknown=skip_unknown, given=given)
        for name in [run, *(against or ())]
    ]
    measured = []
    with progress_bar() as bar:
        for place, (model, title, encoded) in enumerate(loaded):
            report = span(bar, place / len(loaded), (place + 1) / len(loaded), model.name if against else "")
            found = model.memory(encoded, progress=report)
            measured.append(MeasuredModel(model, title, encoded, found))
    if as_json:
        print(json.dumps({"runs": [_to_json(one) for one in measured]}))
    elif as_csv:
        _print_csv(measured)
    elif output is not None:
        from charrnn.display.export import save_figure

        save_figure(output, _figure(measured))
        print(f"written to {output}", file=sys.stderr)
    else:
        _print(measured, output_terminal(settings))


def _to_json(one: MeasuredModel) -> dict[str, Any]:
    about = {
        "run": one.model.name,
        "step": one.model.checkpoint.step,
        "model": one.model.run.settings.model.to_json(),
        "text": one.title,
        "characters": len(one.text),
    }
    return about | one.memory.to_json()


def _print_csv(measured: Sequence[MeasuredModel]) -> None:
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["run", "characters", "gradient_norm", "quantile_10", "quantile_90", "excess_bits"])
    for one in measured:
        reach, excess = one.memory.reach, one.memory.context.excess
        columns = [reach.mean, reach.quantile(0.1), reach.quantile(0.9), excess]
        for lag in range(max(map(len, columns))):
            values = [float(column[lag]) if lag < len(column) else math.nan for column in columns]
            rows.writerow([one.model.name, lag, *("" if math.isnan(value) else repr(value) for value in values)])


def _figure(measured: Sequence[MeasuredModel]) -> str:
    from charrnn.display.figures import Curve, log_figure

    curves = [
        Curve(
            one.model.name,
            range(len(reach)),
            *(values.tolist() for values in (reach.mean, reach.quantile(0.1), reach.quantile(0.9))),
        )
        for one in measured
        for reach in [one.memory.reach]
    ]
    note = f"geometric mean and 10–90 % band over {measured[0].memory.reach.positions} positions"
    shapes = ", ".join(dict.fromkeys(one.model.shape for one in measured))
    title = f"How far back the gradient of the loss reaches: {shapes}"
    return log_figure(curves, title=title, note=note, x_label="k", y_label=Y_LABEL, least=LEAST)


def _print(measured: Sequence[MeasuredModel], terminal: Terminal) -> None:
    for one in measured:
        terminal.paragraph(f"{one.model.name} · {one.model.shape} · {one.title}, {count(len(one.text))} characters")
        terminal.paragraph(_summary(one.memory))
    terminal.write("\n")
    _plot(measured, terminal)
    terminal.write("\n")
    _norm_table(measured, terminal)
    terminal.write("\n")
    _context_table(measured, terminal)
    terminal.write("\n")
    _share_table(measured, terminal)


def _legend(terminal: Terminal, words: dict[str, str]) -> None:
    """Write what the columns above are. words: name → meaning."""
    for name, meaning in words.items():
        terminal.write("".join(f"{line}\n" for line in terminal.wrap(f"{name}: {meaning}")))


def _summary(memory: Memory) -> str:
    """Say how far back text matters, and how fast the gradient vanishes."""
    reach, context = memory.reach, memory.context
    if context.characters is None:
        worth = f"text more than {len(context.excess) - 1} characters back is still worth .01 bit"
    else:
        worth = f"text more than {amount(context.characters, 'character')} back is worth less than .01 bit"
    if not math.isfinite(reach.half_life):
        return worth
    return f"{worth}; the gradient halves every {_half_life(reach.half_life)} characters"


def _plot(measured: Sequence[MeasuredModel], terminal: Terminal) -> None:
    from charrnn.display.plots import log_curve

    curves: dict[str, np.ndarray] = {one.model.name: one.memory.reach.mean for one in measured}
    if len(measured) == 1:
        reach = measured[0].memory.reach
        curves = {"mean": reach.mean, "90 %": reach.quantile(0.9), "10 %": reach.quantile(0.1)}
    points = {name: list(enumerate(values.tolist())) for name, values in curves.items()}
    terminal.write_lines(log_curve(points, terminal, ROWS, widest=MAX_WIDTH, least=LEAST, x_label="k", y_label=Y_LABEL))


def _norm_table(measured: Sequence[MeasuredModel], terminal: Terminal) -> None:
    from charrnn.display.tables import table

    lags = [lag for lag in SHOWN_LAGS if any(lag < len(one.memory.reach) for one in measured)]
    headers = ["norm, k =", *map(str, lags), "halves every"]
    rows = []
    for one in measured:
        mean = one.memory.reach.mean
        values = [_number(mean[lag]) if lag < len(mean) else "–" for lag in lags]
        rows.append([one.model.name, *values, _half_life(one.memory.reach.half_life)])
    table(headers, rows, terminal, right=headers[1:])
    words = {
        "norm": "of the gradient of the loss by the state k characters before, relative to k = 0; geometric mean",
        "halves every": f"this many characters, from k = {measured[0].memory.reach.tail} on",
    }
    _legend(terminal, words)


def _context_table(measured: Sequence[MeasuredModel], terminal: Terminal) -> None:
    from charrnn.display.tables import table

    lags = [n for n in SHOWN_CONTEXTS if any(n < len(one.memory.context.excess) for one in measured)]
    headers = ["bits lost, n =", *map(str, lags), "context"]
    rows = []
    for one in measured:
        excess, needed = one.memory.context.excess, one.memory.context.characters
        values = [_bits(excess[n]) if n < len(excess) else "–" for n in lags]
        rows.append([one.model.name, *values, f"> {len(excess) - 1}" if needed is None else f"{needed}"])
    table(headers, rows, terminal, right=headers[1:])
    words = {
        "bits lost": "per character, with all but the last n characters replaced by other text",
        "context": "the n from which on less than .01 bit is lost",
    }
    _legend(terminal, words)


def _share_table(measured: Sequence[MeasuredModel], terminal: Terminal) -> None:
    """Show the cells with the largest share, of several runs one each, and from how many positions it comes."""
    from charrnn.display.tables import fit, table

    number = SHARES_SHOWN if len(measured) == 1 else 1
    lags = measured[0].memory.share.lags
    headers = ["gradient share, k =", "cell", *map(str, lags), "typical", "half from", "tracks"]
    rows = []
    for one in measured:
        share = one.memory.share
        for cell in share.largest(number, LEAST_SHARE):
            column = share.cells.index(cell)
            claim = one.model.claim(cell, one.text)
            name = claim.property_name if claim is not None and claim.verdict == "tracks" else ""
            values = [_percent(float(value)) for value in (*share.shares[:, column], share.per_position[-1, column])]
            fewest = f"{share.half_from[-1]:,} of {share.positions[-1]:,}"
            rows.append([one.model.name, str(cell), *values, fewest, name])
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    if rows:
        headers, rows = fit(headers, rows, terminal, [*SHARE_COLUMNS])
        table(headers, rows, terminal, right=[name for name in headers[1:] if name != "tracks"])
        positions = f"{measured[0].memory.reach.positions} positions"
        read = amount(len(measured[0].text), "character") if len(measured) == 1 else "each text"
        meaning = f"the cell's share of the squared gradient k characters back, over {positions} of {read}"
        shown = {name: text.format(lag=lags[-1]) for name, text in SHARE_COLUMNS.items() if name in headers}
        _legend(terminal, {"gradient share": meaning, **shown})
    else:
        terminal.paragraph(f"no cell carries {100 * LEAST_SHARE:.0f} % of the gradient over {lags[0]} characters")


def _number(value: float) -> str:
    """Format a norm: `1.2`, `.053`, `8e-10`, `0`."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.2g}".replace("e-0", "e-").replace("0.", ".", 1) if value else "0"


def _bits(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.2g}".replace("0.", ".", 1) if value >= 0.0995 else f"{max(value, 0.0):.3f}".replace("0.", ".", 1)


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %" if value >= 0.0005 else "0"


def _half_life(characters: float) -> str:
    if math.isnan(characters):
        return "–"
    return "never" if math.isinf(characters) else f"{characters:.2g}" if characters < 10 else f"{characters:,.0f}"
