"""The tables of `charrnn evaluate`: the score of a run, and those of other models of the same text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charrnn.display.tables import key_values, table
from charrnn.display.terminal import Terminal
from charrnn.units import bits, count, perplexity

if TYPE_CHECKING:
    from charrnn.scoring.baselines import Baseline

MODES = {"dynamic": "weights learn from the text", "mix": "mixed with an n-gram"}
NONE = "–"


def print_score(result: dict[str, Any], terminal: Terminal) -> None:
    """Print the scores of lines, if there are any, and of the text."""
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


def _adaptive_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    if "mode" not in result:
        return []
    nats, rate = result["frozen_nats_per_character"], result["characters"] / result["seconds"]
    return [
        ("scored", "; ".join(MODES[name] for name in result["mode"].split(" + "))),
        ("frozen", f"{nats:.4f} nats per character, {bits(nats):.4f} bits"),
        ("speed", f"{count(round(rate))} characters per second, preparation included"),
    ]


def print_baselines(result: dict[str, Any], baselines: Sequence[Baseline], terminal: Terminal) -> None:
    """Print the bits per character of the run beside those of other models, or why there are none."""
    terminal.write("\n")
    if not baselines:
        terminal.paragraph(result["baselines_note"])
        return
    headers = ("bits per character", "", "frozen", "adaptive")
    frozen = bits(result.get("frozen_nats_per_character", result["nats_per_character"]))
    adaptive = bits(result["nats_per_character"]) if "mode" in result else None
    rows = [[result["run"], result.get("mode", ""), _bits(frozen), _bits(adaptive)]]
    rows += [[one.name, one.missing or one.about, _bits(one.frozen), _bits(one.adaptive)] for one in baselines]
    table(headers, rows, terminal, right=headers[2:])
    terminal.write("\n")
    terminal.paragraph(result["baselines_note"])


def _bits(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"
