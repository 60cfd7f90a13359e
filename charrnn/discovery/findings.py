"""The findings of a search, and their summary: what each named cell does, on a text, and what else there is."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from charrnn.discovery import report
from charrnn.discovery.checked import CellName, Count, Share, from_json
from charrnn.discovery.evidence import Evidence, Verdict
from charrnn.discovery.match_summary import MatchSummary
from charrnn.discovery.probe import Probe
from charrnn.discovery.report import (
    correlates_words,
    gradient_shares,
    measure,
    number,
    sentence,
    short_name,
    signed_score,
    together,
)
from charrnn.discovery.scores import CellSummary
from charrnn.display.activations import legend
from charrnn.display.fragment import html_fragment
from charrnn.display.page import html_text
from charrnn.display.palettes import Paint
from charrnn.display.terminal import Terminal, safe_text
from charrnn.extras import import_extra
from charrnn.inspection.gradients import SHARE_LAGS
from charrnn.units import amount, count

if TYPE_CHECKING:
    import pandas

INTERVALS = ("interval", "plain_interval", "beyond_kgram", "beyond_untrained", "beyond_linear_memory")
VERDICTS = get_args(Verdict)
CORRELATES_SHOWN = 12
MIN_GRADIENT_SHARE = 0.05
"""The least share of the gradient with which a cell is said to carry memory."""


BLOCKS_SHOWN = 8
"""Named cells that are shown with an excerpt; the best of each property always is."""
CARRIERS_SHOWN = 6
SIGNS = {" ": "space", "\\n": "newline", "\\t": "tab"}
BAR = 10  # columns
INDENT = "  "
BOLD = "1"


class Cause(NamedTuple):
    """What an ablation shows of a cell: stars, and the effect in words."""

    stars: int
    words: str


@dataclass(frozen=True, repr=False)
class Findings:
    """The result of a search. Iterating yields the evidence about the named cells, the best first.

    cells: how many were searched. characters: of the text read; half: of the CONFIRM half. fitted_on: the text that
    the k-gram baseline is fitted on. testable: titles of the properties searched for; not_testable: title → reason.
    controls: titles of the control labels. evidence: of every candidate. left_out: title → number of further cells that
    were not judged. probes: of each layer and property. matches: of properties outside the catalog. detectors: cell →
    the character that it reacts to, of cells without a name. gradient_shares: cell → share of the squared gradient of
    the loss that it carries back over 30 and 100 characters (`GradientShare`), of named cells and of those with 2 % or
    more. summaries: of every cell. kept: whether they were read from the run's folder, as an earlier search, or whoever
    the run came from, left them. packaged_with: the version of Python whose standard library was searched when the
    model was packaged; empty for any other search.
    """

    cells: Count
    bits_per_character: float
    characters: Count
    half: Count
    fitted_on: Literal["training text", "the SELECT half"]
    seed: int
    testable: tuple[str, ...]
    not_testable: dict[str, str]
    controls: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    left_out: dict[str, Count]
    probes: tuple[Probe, ...]
    matches: tuple[MatchSummary, ...]
    detectors: dict[CellName, str]
    gradient_shares: dict[CellName, tuple[Share | None, ...]]
    summaries: tuple[CellSummary, ...]
    kept: bool = field(default=False, compare=False)
    packaged_with: str = field(default="", compare=False)

    def claims(self, verdict: Verdict | None = None) -> list[Evidence]:
        """Return the best evidence about each candidate cell, the best first. verdict: only those with this one.

        Control labels do not count.
        """
        meaningful = (one for one in self.evidence if one.property_name not in self.controls)
        ordered = sorted(meaningful, key=lambda one: (VERDICTS.index(one.verdict), -one.rank_correlation))
        best: dict[str, Evidence] = {}
        for one in ordered:
            best.setdefault(one.cell, one)
        return [one for one in best.values() if verdict in (None, one.verdict)]

    def claim_about(self, cell: str) -> Evidence | None:
        """Return the evidence that a cell tracks a property or correlates with one; None if it does neither."""
        return next((one for one in self.claims() if one.cell == cell and one.verdict != "none"), None)

    def best_for(self, property_name: str) -> Evidence | None:
        """Return the evidence about the cell that fits a property best: by verdict, then by score."""
        found = [one for one in self.evidence if one.property_name == property_name]
        return min(found, key=lambda one: (VERDICTS.index(one.verdict), -one.rank_correlation), default=None)

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self.claims("tracks"))

    def __len__(self) -> int:
        return len(self.claims("tracks"))

    def __bool__(self) -> bool:
        """Findings are true even where no cell is named."""
        return True

    def __getitem__(self, name: str) -> list[Evidence]:
        """Return the evidence about a cell (`"1:42"`) or a property."""
        found = [one for one in self.evidence if name in (one.cell, one.property_name)]
        if not found and name not in {*self.testable, *self.not_testable, *(one.cell for one in self.summaries)}:
            raise KeyError(name)
        return found

    def __repr__(self) -> str:
        return (
            f"<Findings: {len(self)} of {self.cells:,} cells named, {len(self.claims('correlates'))} correlate, "
            f"{len(self.testable)} properties, {count(self.characters)} characters>"
        )

    def heading(self, text_name: str = "this text") -> str:
        """Return what was searched, in one line."""
        return f"{self.bits_per_character:.2f} bits/char on {text_name}"

    def table(self) -> list[list[str]]:
        """Return a row for each named cell, for `report.CLAIM_HEADERS`."""
        return [report.claim_row(one, self.gradient_shares.get(one.cell, ())) for one in self]

    def cell_table(self, layer: int | None = None) -> list[list[str]]:
        """Return a row for every cell, or for those of one layer, for `report.CELL_HEADERS`."""
        verdicts = {one.cell: one.verdict for one in self.claims() if one.verdict != "none"}
        return [
            report.cell_row(one, verdicts.get(one.cell, ""), self.detectors.get(one.cell, ""))
            for one in self.summaries
            if layer is None or one.cell.startswith(f"{layer}:")
        ]

    def caveats(self) -> list[str]:
        """Return how names were earned, which conditions fail, and what was not judged or not testable."""
        half = count(self.half)
        named = {one.property_name for one in self.evidence if one.verdict == "tracks"} & {*self.controls}
        lines = [
            f"cells were chosen on {half} characters (SELECT) and judged on {half} others (CONFIRM); meaningless "
            f"labels that earned a name: {len(named)} of {len(self.controls)}; 5-gram fitted on {self.fitted_on}"
        ]
        claims = self.claims("correlates")
        lines += [report.correlates_line(one) for one in claims[:CORRELATES_SHOWN]]
        lines += [f"… and {len(claims) - CORRELATES_SHOWN} more"] if len(claims) > CORRELATES_SHOWN else []
        if self.left_out:
            lines.append("more cells than were judged: " + ", ".join(f"{k} {n:,}" for k, n in self.left_out.items()))
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.not_testable.items():
            by_reason.setdefault(reason, []).append(name)
        if by_reason:
            reasons = (f"{', '.join(names)} ({reason})" for reason, names in by_reason.items())
            lines.append("not testable: " + "; ".join(reasons))
        return lines

    def lines(
        self, terminal: Terminal, heading: str | None = None, causes: Mapping[tuple[str, str], Cause] | None = None
    ) -> Iterator[str]:
        """Yield the findings as styled lines that fit a terminal. causes: cell and property → what ablation shows."""
        return summary_lines(self, terminal, heading or self.heading(), causes or {})

    def __str__(self) -> str:
        return "\n".join(self.lines(Terminal(is_terminal=False, colors="none", width=80, unicode=True)))

    def _repr_html_(self) -> str:
        return summary_html(self)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the evidence for every candidate as a pandas DataFrame, with the columns of `columns_of`.

        Raises CharrnnError where pandas is not installed.
        """
        names, rows = columns_of(self.evidence)
        frame: pandas.DataFrame = import_extra("pandas", "to_dataframe()").DataFrame(rows, columns=names)
        return frame

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Findings:
        """Read what `to_json` returned. Raises ValueError for anything else."""
        findings: Findings = from_json(cls, data)
        for one in findings.evidence:
            binary_only = (one.threshold, one.balanced_accuracy, one.mean_inside, one.mean_outside)
            if any((value is None) != (one.kind == "graded") for value in binary_only):
                raise ValueError("a value of a binary property is missing")
        return findings


def columns_of(evidence: Sequence[Evidence]) -> tuple[list[str], list[list[Any]]]:
    """Return the column names of evidence as a table, and a row for each.

    Tuples become several columns; excerpts are left out.
    """
    rows = []
    for one in evidence:
        row: dict[str, Any] = {"verdict": one.verdict, "failed": "; ".join(one.failed)}
        for name, value in dataclasses.asdict(one).items():
            if name == "excerpt":
                continue
            if name in ("kgram", "kgram_plain"):
                row |= {f"{name}_{k}": part for k, part in enumerate(value, start=1)}
            elif name in INTERVALS:
                low, high = (None, None) if value is None else value
                row |= {f"{name}_low": low, f"{name}_high": high}
            else:
                row[name] = value
        rows.append(row)
    names = list(rows[0]) if rows else []
    return names, [[row[name] for name in names] for row in rows]


def summary_lines(
    findings: Findings, terminal: Terminal, heading: str, causes: Mapping[tuple[str, str], Cause]
) -> Iterator[str]:
    """Yield styled lines that fit the width. causes: cell and property → what an ablation shows."""
    paint = Paint(terminal.colors, terminal.background)
    yield from filled(heading, terminal)
    named = list(findings)
    shown = cells_shown(named)
    for line in headlines(findings):
        yield from filled(line, terminal)
    best = [found for one in findings.matches if (found := findings.best_for(one.property_name)) is not None]
    views = [one.excerpt.view() for one in [*shown, *best] if one.excerpt is not None]
    if views:
        yield ""
        yield from legend(replace(views[0].part(0, 0), title="the cell after each character"), terminal)
        yield from filled(score_legend(shown, causes), terminal)
    for matches in findings.matches:
        yield ""
        yield from _match_lines(matches, findings.best_for(matches.property_name), terminal, paint)
    for one in shown:
        yield ""
        yield from _cell_lines(one, findings, terminal, paint, causes.get((one.cell, one.property_name)))
    for paragraph in paragraphs(findings):
        yield ""
        yield from filled(paragraph, terminal)


def headlines(findings: Findings) -> list[str]:
    """Return how many cells earned a name, and whether the findings are those of an earlier search."""
    asked = len(findings.testable) + len(findings.not_testable)
    named = f"{len(findings):,}" if len(findings) else "none"
    tested = f"{len(findings.testable)} of {asked} properties can be tested in this text"
    lines = [f"{named} of {amount(findings.cells, 'cell')} earned a name; {tested}"]
    if findings.packaged_with:
        lines.append(
            f"The names were found in the library of Python {findings.packaged_with}; the excerpts are from yours. "
            "--again searches yours."
        )
    elif findings.kept:
        lines.append("From an earlier search, kept with the run; --again repeats it.")
    return lines


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
        cell
        for cell, shares in findings.gradient_shares.items()
        if cell not in names and any(share and share >= MIN_GRADIENT_SHARE for share in shares)
    ]
    if carriers:
        listed = [f"{cell} ({gradient_shares(findings.gradient_shares[cell])})" for cell in carriers[:CARRIERS_SHOWN]]
        more = f", and {len(carriers) - CARRIERS_SHOWN} more" if len(carriers) > CARRIERS_SHOWN else ""
        lags = " and ".join(map(str, SHARE_LAGS))
        yield (
            f"Carry memory, but have no name (share of the gradient that reaches back {lags} characters): "
            f"{', '.join(listed)}{more}."
        )
    found = {one.property_name for one in named + correlate}
    nothing = [name for name in findings.testable if name not in found]
    told = together(findings.probes, nothing)
    if told:
        words = ", ".join(f"{short_name(name)} {score}" for name, score in told.items())
        yield f"In no single cell, but in all cells of a layer together (linear probe): {words}."
    missing = [short_name(name) for name in nothing if name not in told]
    if missing:
        yield f"Not found: {', '.join(missing)}."
    if findings.detectors:
        signs = [SIGNS.get(sign, sign) for sign in sorted(set(findings.detectors.values()))]
        more = " …" if len(signs) > BLOCKS_SHOWN else ""
        number_of = len(findings.detectors)
        who = "One cell reacts" if number_of == 1 else f"{number_of:,} cells react"
        yield f"{who} to a single character: {' '.join(signs[:BLOCKS_SHOWN])}{more}"
    controls = {one.property_name for one in findings.evidence if one.verdict == "tracks"} & {*findings.controls}
    if controls:
        yield f"Caution: cells also earned the name of meaningless labels: {', '.join(sorted(controls))}."


def score_legend(shown: Sequence[Evidence], causes: Mapping[tuple[str, str], Cause]) -> str:
    """Return what the scores and stars of these cells mean."""
    kinds = {one.kind for one in shown}
    words = ["AUC: .5 is chance, 1 perfect"] * ("binary" in kinds) + ["ρ: 0 is chance, 1 perfect"] * ("graded" in kinds)
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
    score = f"{measure(evidence)} {number(signed_score(evidence, evidence.rank_correlation), 2)}"
    return f"{score} · the name holds in {100 * evidence.stability:.0f} % of resamples of the text"


def match_words(matches: MatchSummary, best: Evidence | None) -> tuple[str, list[str], str]:
    """Return what a user's property matches, examples, and how well the best cell fits it."""
    places = "" if matches.episodes == 1 else "s"
    head = (
        f"{short_name(matches.property_name)} holds in {100 * matches.share:.1f} % of the text, "
        f"in {matches.episodes:,} place{places}, as in"
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
    yield from filled(head, terminal)
    for example in examples:
        yield from (INDENT + line for line in filled(example, terminal, 2 * len(INDENT)))
    yield from filled(verdict, terminal)
    if best is not None and best.verdict != "tracks":
        yield from _excerpt(best, terminal, paint)


def _cell_lines(
    one: Evidence, findings: Findings, terminal: Terminal, paint: Paint, cause: Cause | None
) -> Iterator[str]:
    stars = "★" * cause.stars + " " if cause and cause.stars else ""
    for line in filled(f"{stars}{one.cell} {sentence(one)}", terminal):
        yield paint.styled(line, BOLD)
    bar = score_bar(one, terminal, paint)
    margin = len(INDENT) + BAR + 1
    first, *more = filled(score_words(one), terminal, margin)
    yield f"{INDENT}{bar} {first}"
    yield from (" " * margin + line for line in more)
    for words in (cause.words if cause else "", memory_words(findings.gradient_shares.get(one.cell, ()))):
        if words:
            yield from (INDENT + line for line in filled(words, terminal, len(INDENT)))
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


def filled(text: str, terminal: Terminal, margin: int = 0) -> list[str]:
    """Wrap text at words, in a pipe too."""
    safe = safe_text(text, keep_newlines=False, keep_tabs=False)
    return textwrap.wrap(safe, max(terminal.width - margin, 10), break_on_hyphens=False) or [""]


def summary_html(findings: Findings) -> str:
    """Return the same as HTML for a notebook."""
    named = list(findings)
    parts = [f"<p>{html_text(line)}</p>" for line in (findings.heading(), *headlines(findings))]
    for matches in findings.matches:
        head, examples, verdict = match_words(matches, findings.best_for(matches.property_name))
        parts.append(f"<p>{html_text(' · '.join([head, *examples, verdict]))}</p>")
    for one in cells_shown(named):
        name = f"{one.cell} {sentence(one)}"
        if one.excerpt is None:
            parts.append(f"<p><b>{html_text(name)}</b></p>")
        else:
            parts.append(html_fragment([replace(one.excerpt.view(), name=name)], {}))
        memory = memory_words(findings.gradient_shares.get(one.cell, ()))
        parts.append(f"<p>{html_text(' · '.join(filter(None, [score_words(one), memory])))}</p>")
    parts += [f"<p>{html_text(paragraph)}</p>" for paragraph in paragraphs(findings)]
    return "".join(parts)
