"""Findings in the order of a reader: what each named cell does, on a piece of text, and what else was found."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from charrnn.discovery.evidence import Evidence
from charrnn.discovery.match_summary import MatchSummary
from charrnn.discovery.report import (
    correlates_words,
    explain_share,
    measure,
    number,
    sentence,
    short_name,
    signed_score,
    together,
)
from charrnn.display.activations import legend
from charrnn.display.fragment import html_fragment
from charrnn.display.page import html_text
from charrnn.display.palettes import Paint
from charrnn.display.terminal import Terminal, safe_text
from charrnn.inspection.gradients import SHARE_LAGS
from charrnn.units import amount

if TYPE_CHECKING:
    from charrnn.discovery.findings import Findings

BLOCKS_SHOWN = 8
"""Named cells that are shown with an excerpt; the best of each property always is."""
MIN_SHARE = 0.02
"""The least share of the gradient that is worth a word."""
BAR = 10  # columns
INDENT = "  "
BOLD = "1"


class Cause(NamedTuple):
    """What an ablation shows of a cell: stars, and the effect in words."""

    stars: int
    words: str


def summary_lines(
    findings: Findings, terminal: Terminal, heading: str, causes: Mapping[tuple[str, str], Cause]
) -> Iterator[str]:
    """Yield styled lines that fit the width. causes: cell and property → what an ablation shows."""
    paint = Paint(terminal.colors, terminal.background)
    yield from _filled(heading, terminal)
    named = list(findings)
    shown = cells_shown(named)
    yield from _filled(headline(findings), terminal)
    best = [found for one in findings.matches if (found := findings.best_for(one.property_name)) is not None]
    views = [one.excerpt.view() for one in [*shown, *best] if one.excerpt is not None]
    if views:
        yield ""
        yield from legend(replace(views[0].part(0, 0), title="the cell after each character"), terminal)
    for matches in findings.matches:
        yield ""
        yield from _match_lines(matches, findings.best_for(matches.property_name), terminal, paint)
    for one in shown:
        yield ""
        yield from _cell_lines(one, findings, terminal, paint, causes.get((one.cell, one.property_name)))
    for paragraph in paragraphs(findings):
        yield ""
        yield from _filled(paragraph, terminal)


def headline(findings: Findings) -> str:
    """Return how many cells earned a name."""
    asked = len(findings.testable) + len(findings.not_testable)
    named = f"{len(findings):,}" if len(findings) else "none"
    tested = f"{len(findings.testable)} of {asked} properties can be tested in this text"
    return f"{named} of {amount(findings.cells, 'cell')} earned a name; {tested}"


def cells_shown(named: list[Evidence]) -> list[Evidence]:
    """Return the named cells to show in full: the best of each property, and then the best of all."""
    first = {one.property_name: one for one in reversed(named)}
    ordered = [*first.values(), *(one for one in named if one not in first.values())]
    kept = ordered[: max(BLOCKS_SHOWN, len(first))]
    return [one for one in named if one in kept]


def paragraphs(findings: Findings) -> Iterator[str]:
    """Yield what else was found, a short paragraph each."""
    named, correlate = list(findings), findings.claims("correlates")
    shown = cells_shown(named)
    rest = [one for one in named if one not in shown]
    if rest:
        yield f"Named as well: {correlates_words(rest)}."
    if correlate:
        yield f"Correlate, but miss a condition for a name: {correlates_words(correlate)}."
    names = {one.cell for one in named}
    carriers = [
        f"{cell} ({explain_share(shares)})" for cell, shares in findings.gradient_shares.items() if cell not in names
    ]
    if carriers:
        yield f"Carry memory, but have no name: {'; '.join(carriers)}."
    found = {one.property_name for one in named + correlate}
    nothing = [name for name in findings.testable if name not in found]
    if nothing:
        words = together(findings.probes, nothing)
        probe = f" All cells of a layer together (a linear probe) still tell {words}." if words else ""
        yield f"Nothing found in any single cell: {', '.join(map(short_name, nothing))}.{probe}"
    if findings.detectors:
        signs = sorted(set(findings.detectors.values()))
        more = " …" if len(signs) > BLOCKS_SHOWN else ""
        number_of = amount(len(findings.detectors), "cell")
        yield f"React to one character: {number_of} ({' '.join(signs[:BLOCKS_SHOWN])}{more})."
    controls = {one.property_name for one in findings.evidence if one.verdict == "tracks"} & {*findings.controls}
    if controls:
        yield f"Caution: cells also earned the name of meaningless labels: {', '.join(sorted(controls))}."


def claim_words(evidence: Evidence, shares: Sequence[float | None]) -> str:
    """Say what a named cell does, and how much of the gradient it carries over the most characters."""
    words = f"{evidence.cell} {sentence(evidence)}"
    carried = [(lag, share) for lag, share in zip(SHARE_LAGS, shares, strict=False) if share and share >= MIN_SHARE]
    if not carried:
        return words
    lag, share = carried[-1]
    return f"{words}; carries {100 * share:.0f} % of gradients over {lag} characters"


def score_words(evidence: Evidence) -> str:
    """Return the score of a named cell, and how stable its name is."""
    score = f"{measure(evidence)} {number(signed_score(evidence, evidence.rank_correlation), 2)}"
    return f"{score} · the name holds in {100 * evidence.stability:.0f} % of resamples of the text"


def match_words(matches: MatchSummary, best: Evidence | None) -> tuple[str, list[str], str]:
    """Return what a user's property matches, examples, and how well the best cell fits it."""
    places = "" if matches.episodes == 1 else "s"
    head = (
        f"{matches.property_name} holds in {100 * matches.share:.1f} % of the text, in {matches.episodes:,} "
        f"place{places}, as in"
    )
    examples = [f"{before}«{inside}»{after}" for before, inside, after in matches.examples]
    if best is None:
        return head, examples, "No cell was judged."
    score = f"{measure(best)} {number(signed_score(best, best.rank_correlation), 2)}"
    if best.verdict == "tracks":
        return head, examples, f"The best cell, {best.cell}, earned its name ({score})."
    failed = "; ".join(best.failed) or "its score is too low"
    return head, examples, f"No cell earned its name. The best one, {best.cell} ({score}), fails: {failed}."


def _match_lines(matches: MatchSummary, best: Evidence | None, terminal: Terminal, paint: Paint) -> Iterator[str]:
    head, examples, verdict = match_words(matches, best)
    yield from _filled(head, terminal)
    for example in examples:
        yield from (INDENT + line for line in _filled(example, terminal, 2 * len(INDENT)))
    yield from _filled(verdict, terminal)
    if best is not None and best.verdict != "tracks":
        yield from _excerpt(best, terminal, paint)


def _cell_lines(
    one: Evidence, findings: Findings, terminal: Terminal, paint: Paint, cause: Cause | None
) -> Iterator[str]:
    stars = "★" * cause.stars + " " if cause and cause.stars else ""
    words = claim_words(one, findings.gradient_shares.get(one.cell, ()))
    for line in _filled(stars + words, terminal):
        yield paint.styled(line, BOLD)
    bar = score_bar(one, terminal, paint)
    margin = len(INDENT) + BAR + 1
    first, *more = _filled(score_words(one), terminal, margin)
    yield f"{INDENT}{bar} {first}"
    yield from (" " * margin + line for line in more)
    if cause is not None:
        yield from (INDENT + line for line in _filled(cause.words, terminal, len(INDENT)))
    yield from _excerpt(one, terminal, paint)


def _excerpt(one: Evidence, terminal: Terminal, paint: Paint) -> Iterator[str]:
    if one.excerpt is not None:
        rows = 2 if paint.colored else 1
        width = terminal.width - len(INDENT)
        yield from (f"{INDENT}{line}".rstrip() for line in one.excerpt.lines(terminal, width=width, rows=rows))


def score_bar(one: Evidence, terminal: Terminal, paint: Paint) -> str:
    """Return a bar from AUC .5, or ρ 0, to 1."""
    filled, empty = ("━", "─") if terminal.unicode else ("#", "-")
    columns = round(BAR * min(max(one.rank_correlation, 0.0), 1.0))
    return filled * columns + paint.styled(empty * (BAR - columns), paint.faint)


def _filled(text: str, terminal: Terminal, margin: int = 0) -> list[str]:
    """Wrap text at words, in a pipe too."""
    safe = safe_text(text, keep_newlines=False, keep_tabs=False)
    return textwrap.wrap(safe, max(terminal.width - margin, 10), break_on_hyphens=False) or [""]


def summary_html(findings: Findings) -> str:
    """Return the same as HTML for a notebook."""
    named = list(findings)
    parts = [f"<p>{html_text(line)}</p>" for line in (findings.heading(), headline(findings))]
    for matches in findings.matches:
        head, examples, verdict = match_words(matches, findings.best_for(matches.property_name))
        parts.append(f"<p>{html_text(' · '.join([head, *examples, verdict]))}</p>")
    for one in cells_shown(named):
        name = claim_words(one, findings.gradient_shares.get(one.cell, ()))
        if one.excerpt is None:
            parts.append(f"<p><b>{html_text(name)}</b></p>")
        else:
            parts.append(html_fragment([replace(one.excerpt.view(), name=name)], {}))
        parts.append(f"<p>{html_text(score_words(one))}</p>")
    parts += [f"<p>{html_text(paragraph)}</p>" for paragraph in paragraphs(findings)]
    return "".join(parts)
