"""Scores and cells in words, as tables and sentences show them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from charrnn.discovery.evidence import MIN_CORRELATE, Evidence
from charrnn.discovery.match_summary import MatchSummary
from charrnn.discovery.probe import Probe
from charrnn.discovery.scores import CellSummary
from charrnn.discovery.statistics import auc
from charrnn.display.palettes import Paint
from charrnn.display.terminal import Terminal, safe_line, wrap_words
from charrnn.inspection.gradients import SHARE_LAGS
from charrnn.properties.catalog import property_titled
from charrnn.units import amount, decimal

MIN_GRADIENT_SHARE = 0.05
"""The least share of the gradient with which a cell is said to carry memory."""
SHOWN = 8
"""Named cells that are shown with an excerpt; the best of each property always is."""
BAR = 10  # columns
INDENT = "  "
BOLD = "1"

MIN_COUNTER = 0.9
"""The least Pearson correlation with which a cell is said to count."""
SCORES = ("score [95 %]", "all", "shift", "name in", "gradient", "5-gram", "untrained", "episodes")
CLAIM_HEADERS = ("cell", "tracks", *SCORES)
OPTIONAL = ("episodes", "all", "name in", "shift", "untrained", "5-gram", "gradient")
"""Columns of named cells that a narrow terminal leaves out, the first of them first."""
CELL_HEADERS = ("cell", "fits best", "", "SELECT", "CONFIRM", "verdict", "detects")
NUMERIC = (*SCORES, "SELECT", "CONFIRM")
"""Headers of the columns that are aligned to the right."""
GLOSSARY = {
    "cell": "−c, −h: low where the property holds",
    "score [95 %]": "AUC or ρ among places with the same current character, on the CONFIRM half",
    "all": "the same over all characters",
    "shift": "difference of the mean color inside and outside, from −2 to 2",
    "name in": "share of resamples of the text in which no other property fits better",
    "gradient": "share of the squared gradient that the cell carries back over 30, 100 characters of the searched text",
    "5-gram": "score of a prediction from the last five characters",
    "untrained": "score of the best cell of untrained networks",
}
"""Column of `CLAIM_HEADERS` → what it shows."""


class Cause(NamedTuple):
    """What an ablation shows of a cell: stars, and the effect in words."""

    stars: int
    words: str


def symbol_name(symbol: str) -> str:
    """Return the printable form of a character, or the name of white space."""
    return {" ": "space", "\\n": "newline", "\\t": "tab"}.get(symbol, symbol)


def measure(evidence: Evidence | CellSummary) -> str:
    """Return the name of the score: AUC for a binary property, ρ for a graded one."""
    return "AUC" if evidence.kind == "binary" else "ρ"


def signed_score(evidence: Evidence, rank_correlation: float) -> float:
    """Return AUC, or ρ with the sign of the cell."""
    return evidence.as_score(rank_correlation) * (1 if evidence.kind == "binary" else evidence.sign)


def score_in_words(evidence: Evidence, digits: int = 2) -> str:
    """Format a score with its name: `AUC .98`, `ρ −.96`."""
    return f"{measure(evidence)} {decimal(signed_score(evidence, evidence.rank_correlation), digits)}"


def score_with_interval(evidence: Evidence) -> str:
    """Format a score and its 95 % interval, if it has one: `.984 [.979, .988]`, `−.963 [−.970, −.951]`."""
    score = decimal(signed_score(evidence, evidence.rank_correlation), 3)
    if evidence.interval is None:
        return score
    low, high = sorted(signed_score(evidence, bound) for bound in evidence.interval)
    return f"{score} [{decimal(low, 3)}, {decimal(high, 3)}]"


def cell_and_signal(evidence: Evidence) -> str:
    """Format a cell and its signal: `1:42 c`, or `1:42 −c` if it is low where a binary property holds."""
    negative = evidence.kind == "binary" and evidence.sign < 0
    return f"{evidence.cell} {'−' if negative else ''}{evidence.signal}"


def claim_row(evidence: Evidence, shares: Sequence[float | None]) -> list[str]:
    """Return the row of a named cell, for `CLAIM_HEADERS`. shares: of the gradient, at two lags."""
    return [
        cell_and_signal(evidence),
        evidence.property_name,
        f"{measure(evidence)} {score_with_interval(evidence)}",
        decimal(signed_score(evidence, evidence.plain), 3),
        decimal(evidence.difference, 2),
        f"{100 * evidence.stability:.0f} %",
        gradient_shares(shares),
        decimal(evidence.as_score(evidence.kgram[4]), 2),
        decimal(evidence.as_score(evidence.untrained), 2),
        f"{evidence.episodes:,}",
    ]


def gradient_shares(shares: Sequence[float | None]) -> str:
    """Format shares of the gradient at two lags: `95, 100 %`."""
    return ", ".join("–" if share is None else f"{100 * share:.0f}" for share in shares) + " %" if shares else ""


def cell_row(summary: CellSummary, verdict: str, detects: str) -> list[str]:
    """Return the row of any cell, for `CELL_HEADERS`."""
    selected, confirmed = summary.selected, summary.rank_correlation
    if summary.kind == "binary":
        selected, confirmed = auc(abs(selected)), auc(confirmed if selected >= 0 else -confirmed)
    name = f"{summary.cell} {summary.signal}"
    scores = decimal(selected, 3), decimal(confirmed, 3)
    return [name, summary.property_name, measure(summary), *scores, verdict, detects]


def sentence(evidence: Evidence) -> str:
    """Say what a cell does: `is high inside quotes`, `counts the position in the line`."""
    known = property_titled(evidence.property_name)
    if evidence.kind == "binary":
        where = f"where {evidence.property_name} holds" if known is None else known.phrase
        return f"is {'high' if evidence.sign > 0 else 'low'} {where}"
    what = evidence.property_name if known is None else known.phrase
    if (evidence.pearson or 0.0) >= MIN_COUNTER:
        return f"counts {what}"
    return f"{'rises' if evidence.sign > 0 else 'falls'} with {what}"


def short_name(title: str) -> str:
    """Return the name of a property without the mark of those that look ahead."""
    return title.removesuffix(" [next]")


def correlates_words(claims: Iterable[Evidence]) -> str:
    """List cells and their scores by property: `inside “…” 1:4 .93, 1:7 .91; line position 1:9 −.82`."""
    by_property: dict[str, list[str]] = {}
    for one in claims:
        shown = f"{one.cell} {decimal(signed_score(one, one.rank_correlation), 2)}"
        by_property.setdefault(short_name(one.property_name), []).append(shown)
    return "; ".join(f"{name} {', '.join(cells)}" for name, cells in by_property.items())


def correlates_line(evidence: Evidence) -> str:
    """Return the line about a cell that correlates with a property, with the conditions that fail."""
    what = f"{cell_and_signal(evidence)} {evidence.property_name}, {score_in_words(evidence, 3)}"
    return f"correlates: {what}: {'; '.join(evidence.failed)}"


def together(probes: Sequence[Probe], names: Sequence[str]) -> dict[str, str]:
    """Return what a linear probe reaches for these properties, in the layer that tells most: title → score in words."""
    best: dict[str, Probe] = {}
    for one in sorted(probes, key=lambda one: -one.score):
        if one.property_name in names and one.score >= MIN_CORRELATE:
            best.setdefault(one.property_name, one)
    layers = len({one.layer for one in probes})
    return {name: decimal(one.score, 2) + (f" (layer {one.layer})" if layers > 1 else "") for name, one in best.items()}


def cells_shown(named: list[Evidence]) -> list[Evidence]:
    """Return the named cells to show in full: the best of each property, and then the best of all."""
    first = {one.property_name: one for one in reversed(named)}
    ordered = [*first.values(), *(one for one in named if one not in first.values())]
    kept = ordered[: max(SHOWN, len(first))]
    return [one for one in named if one in kept]


def focus_legend(kinds: Collection[str]) -> str:
    """Return what the marked character of an excerpt is. kinds: of the properties shown."""
    if "graded" not in kinds:
        return "where the property begins or ends"
    return f"where the property {'begins, ends or ' if 'binary' in kinds else ''}crosses its median"


def score_legend(shown: Sequence[Evidence], causes: Mapping[tuple[str, str], Cause]) -> str:
    """Return what the scores and stars of these cells mean."""
    kinds = {one.kind for one in shown}
    chance = ", ".join(["AUC .5"] * ("binary" in kinds) + ["ρ 0"] * ("graded" in kinds))
    words = [f"{chance}: chance; 1: perfect"] if kinds else []
    if any(cause.stars for cause in causes.values()):
        words.append("★ the model needs the cell, ★★ at both ends")
    return " · ".join(words)


def memory_words(shares: Sequence[float | None]) -> str:
    """Say how much of the gradient a cell carries over the most characters; empty below 5 %."""
    carried = [
        (lag, share) for lag, share in zip(SHARE_LAGS, shares, strict=False) if share and share >= MIN_GRADIENT_SHARE
    ]
    if not carried:
        return ""
    lag, share = carried[-1]
    return f"carries {100 * share:.0f} % of the gradient that reaches back {lag} characters"


def score_words(evidence: Evidence) -> str:
    """Return the score of a named cell, and how stable its name is."""
    share = 100 * evidence.stability
    return f"{score_in_words(evidence)} · the name holds in {share:.0f} % of resamples of the text"


def match_words(matches: MatchSummary, best: Evidence | None) -> tuple[str, list[str], str]:
    """Return what a user's property matches, examples, and how well the best cell fits it."""
    share, places = f"{100 * matches.share:.1f} % of the text", amount(matches.episodes, "place", exact=True)
    holds = "holds" if best is None or best.kind == "binary" else "differs from its most common value"
    head = f"{short_name(matches.property_name)} {holds} in {share}, in {places}, as in"
    examples = [f"{before}«{inside}»{after}" for before, inside, after in matches.examples]
    if best is None:
        return head, examples, "No cell was judged."
    if best.verdict == "tracks":
        return head, examples, f"The best cell, {best.cell}, earned its name ({score_in_words(best)})."
    failed = "; ".join(best.failed) or "its score is too low"
    cell = f"{best.cell} ({score_in_words(best)})"
    return head, examples, f"No cell earned its name. The best one, {cell}, fails: {failed}."


def match_lines(matches: MatchSummary, best: Evidence | None, terminal: Terminal, paint: Paint) -> Iterator[str]:
    """Yield `match_words` as styled lines, with an excerpt where the property has no named cell."""
    head, examples, verdict = match_words(matches, best)
    yield from filled(head, terminal)
    for example in examples:
        yield from (INDENT + line for line in filled(example, terminal, 2 * len(INDENT)))
    yield from filled(verdict, terminal)
    if best is not None and best.verdict != "tracks":
        yield from _excerpt(best, terminal, paint)


def cell_lines(
    evidence: Evidence, shares: Sequence[float | None], terminal: Terminal, paint: Paint, cause: Cause | None
) -> Iterator[str]:
    """Yield what a named cell does as styled lines. shares: of the gradient. cause: what an ablation shows of it."""
    stars = "★" * cause.stars + " " if cause and cause.stars else ""
    for line in filled(f"{stars}{evidence.cell} {sentence(evidence)}", terminal):
        yield paint.styled(line, BOLD)
    margin = len(INDENT) + BAR + 1
    first, *more = filled(score_words(evidence), terminal, margin)
    yield f"{INDENT}{_score_bar(evidence, terminal, paint)} {first}"
    yield from (" " * margin + line for line in more)
    for words in (cause.words if cause else "", memory_words(shares)):
        if words:
            yield from (INDENT + line for line in filled(words, terminal, len(INDENT)))
    yield from _excerpt(evidence, terminal, paint)


def _score_bar(evidence: Evidence, terminal: Terminal, paint: Paint) -> str:
    """Return a bar from AUC .5, or ρ 0, to 1."""
    full, empty = ("━", "─") if terminal.unicode else ("#", "-")
    columns = round(BAR * min(max(evidence.rank_correlation, 0.0), 1.0))
    return full * columns + paint.styled(empty * (BAR - columns), paint.faint)


def _excerpt(evidence: Evidence, terminal: Terminal, paint: Paint) -> Iterator[str]:
    if evidence.excerpt is not None:
        rows, width = 2 if paint.colored else 1, terminal.width - len(INDENT)
        yield from (f"{INDENT}{line}".rstrip() for line in evidence.excerpt.lines(terminal, width=width, rows=rows))


def filled(text: str, terminal: Terminal, margin: int = 0, indent: str = "") -> list[str]:
    """Wrap text at words, in a pipe too. indent: of later lines."""
    return wrap_words(safe_line(text), max(terminal.width - margin, 10), indent, terminal.program)
