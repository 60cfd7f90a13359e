"""The findings of a search, and their summary: what each named cell does, on a text, and what else there is."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from charrnn.discovery import report
from charrnn.discovery.checked import CellName, Count, Share, from_json
from charrnn.discovery.evidence import Evidence, Verdict
from charrnn.discovery.match_summary import MatchSummary
from charrnn.discovery.probe import Probe
from charrnn.discovery.report import MIN_GRADIENT_SHARE, SHOWN, Cause, cells_shown, filled, gradient_shares, short_name
from charrnn.discovery.scores import CellSummary
from charrnn.display.activations import legend
from charrnn.display.fragment import html_fragment
from charrnn.display.page import html_text
from charrnn.display.terminal import Terminal
from charrnn.extras import import_extra
from charrnn.inspection.gradients import SHARE_LAGS
from charrnn.units import amount, count

if TYPE_CHECKING:
    import pandas

    from charrnn.model.run import Run

INTERVALS = ("interval", "plain_interval", "beyond_kgram", "beyond_untrained", "beyond_linear_memory")
VERDICTS = get_args(Verdict)
CORRELATES_SHOWN = 12
CARRIERS_SHOWN = 6


@dataclass(frozen=True, repr=False)
class Findings:
    """The result of a search. Iterating yields the evidence about the named cells, the best first.

    cells: how many were searched. characters: of the text read; half: of the CONFIRM half. fitted_on: the text that
    the k-gram baseline is fitted on. testable: titles of the properties searched for; not_testable: title → reason.
    controls: titles of the control labels. evidence: of every candidate. left_out: title → number of further cells that
    were not judged. probes: of each layer and property. matches: of properties outside the catalog. detectors: cell →
    the character that it reacts to, of cells without a name. gradient_shares: cell → share of the squared gradient of
    the loss that it carries back over 30 and 100 characters (`GradientShare`), of named cells and of those with 5 % or
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

    @property
    def named_controls(self) -> list[str]:
        """The control labels that a cell earned the name of."""
        return sorted({one.property_name for one in self.evidence if one.verdict == "tracks"} & {*self.controls})

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
        """Return what was searched, and its loss, in one line."""
        return f"{self.bits_per_character:.2f} bits/char on {amount(self.characters, 'character')} of {text_name}"

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
        lines = [
            f"cells were chosen on {half} characters (SELECT) and judged on {half} others (CONFIRM); meaningless "
            f"labels that earned a name: {len(self.named_controls)} of {len(self.controls)}; "
            f"5-gram fitted on {self.fitted_on}"
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

    def shown_with_causes(self, causes: Mapping[tuple[str, str], Cause]) -> list[tuple[Evidence, Cause | None]]:
        """Return the named cells to show in full, those with more stars first. causes: as for `lines`."""
        pairs = [(one, causes.get((one.cell, one.property_name))) for one in cells_shown([*self])]
        return sorted(pairs, key=lambda pair: -pair[1].stars if pair[1] else 0)

    def lines(
        self,
        terminal: Terminal,
        heading: str | None = None,
        causes: Mapping[tuple[str, str], Cause] | None = None,
        rows: int | None = None,
    ) -> Iterator[str]:
        """Yield the findings as styled lines that fit a terminal, cells with more stars first.

        causes: cell and property → what ablation shows. rows: where a cell is named, show no more of the named cells
        than fit into these rows, at least one, and only list the others; None shows all that was found.
        """
        with_causes = self.shown_with_causes(causes or {})
        head = [*self._head(terminal, heading, causes or {}, with_causes)]
        blocks = [
            ["", *report.cell_lines(one, self.gradient_shares.get(one.cell, ()), terminal, terminal.paint, cause)]
            for one, cause in with_causes
        ]
        if rows is not None and blocks:
            named = [*self]
            for number in range(len(blocks), 0, -1):
                shown = [one for one, _ in with_causes[:number]]
                rest = [line for words in named_as_well(named, shown) for line in ("", *filled(words, terminal))]
                lines = [*head, *itertools.chain(*blocks[:number]), *rest]
                if len(lines) <= rows:
                    break
            yield from lines
            return
        yield from itertools.chain(head, *blocks)
        for paragraph in paragraphs(self):
            yield ""
            yield from filled(paragraph, terminal)

    def _head(
        self,
        terminal: Terminal,
        heading: str | None,
        causes: Mapping[tuple[str, str], Cause],
        with_causes: Sequence[tuple[Evidence, Cause | None]],
    ) -> Iterator[str]:
        """Yield what was searched, the legend, and what properties outside the catalog match."""
        for line in (heading or self.heading(), *headlines(self)):
            yield from filled(line, terminal)
        shown = [one for one, _ in with_causes]
        best = [found for one in self.matches if (found := self.best_for(one.property_name)) is not None]
        pictured = [(one.kind, one.excerpt.view()) for one in [*shown, *best] if one.excerpt is not None]
        if pictured:
            yield ""
            kinds = {kind for kind, _ in pictured}
            view = replace(pictured[0][1].part(0, 0), title="the cell after each character")
            yield from legend(view, terminal, report.focus_legend(kinds))
            yield from filled(report.score_legend(shown, causes), terminal)
        for matches in self.matches:
            yield ""
            yield from report.match_lines(matches, self.best_for(matches.property_name), terminal, terminal.paint)

    def __str__(self) -> str:
        return "\n".join(self.lines(Terminal.plain()))

    def _repr_html_(self) -> str:
        parts = [f"<p>{html_text(line)}</p>" for line in (self.heading(), *headlines(self))]
        for matches in self.matches:
            head, examples, verdict = report.match_words(matches, self.best_for(matches.property_name))
            parts.append(f"<p>{html_text(' · '.join([head, *examples, verdict]))}</p>")
        for one in cells_shown([*self]):
            name = f"{one.cell} {report.sentence(one)}"
            if one.excerpt is None:
                parts.append(f"<p><b>{html_text(name)}</b></p>")
            else:
                parts.append(html_fragment([replace(one.excerpt.view(), name=name)], {}))
            memory = report.memory_words(self.gradient_shares.get(one.cell, ()))
            parts.append(f"<p>{html_text(' · '.join(filter(None, [report.score_words(one), memory])))}</p>")
        return "".join([*parts, *(f"<p>{html_text(paragraph)}</p>" for paragraph in paragraphs(self))])

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


def search_command(run: Run) -> str:
    """Return the command that searches a run, which needs a text where the run has none."""
    return f"charrnn inspect {run.name}{'' if run.has_held_out_text else ' --text FILE'}"


def why_unknown(cell: str, searches: Sequence[Findings]) -> str:
    """Return why no property of the catalog is known of a cell. searches: all earlier ones."""
    if not searches:
        return f"no search has found what cell {cell} tracks"
    claim = next((claim for found in searches if (claim := found.claim_about(cell)) is not None), None)
    if claim is None:
        return f"the search found no property for cell {cell}"
    return f"the search found {claim.property_name!r} for cell {cell}, which is not in the catalog"


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


def named_as_well(named: Sequence[Evidence], shown: Sequence[Evidence]) -> Iterator[str]:
    """Yield a paragraph about the named cells that are not shown, if there are any."""
    rest = [one for one in named if one not in shown]
    if rest:
        yield f"Named as well: {report.correlates_words(rest)}."


def paragraphs(findings: Findings) -> Iterator[str]:
    """Yield what else was found, a short paragraph each."""
    named, correlate = list(findings), findings.claims("correlates")
    found = {one.property_name for one in named + correlate}
    denied: dict[str, Evidence] = {}
    for one in findings.claims("none"):
        if one.fails_only_baselines and one.property_name not in found:
            denied.setdefault(one.property_name, one)
    yield from named_as_well(named, cells_shown(named))
    if correlate:
        yield f"Correlate, but miss a condition for a name: {report.correlates_words(correlate)}."
    if denied:
        yield f"Score high, but not above every baseline: {report.correlates_words(denied.values())}."
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
            f"Carry memory, but have no name (share of the gradient that reaches back {lags} characters, at places "
            f"spread over the {amount(findings.characters, 'character')} searched): {', '.join(listed)}{more}."
        )
    found |= denied.keys()
    nothing = [name for name in findings.testable if name not in found]
    told = report.together(findings.probes, nothing)
    if told:
        words = ", ".join(f"{short_name(name)} {score}" for name, score in told.items())
        yield f"In no single cell, but in all cells of a layer together (linear probe): {words}."
    missing = [short_name(name) for name in nothing if name not in told]
    if missing:
        yield f"Not found: {', '.join(missing)}."
    if findings.detectors:
        signs = [report.symbol_name(sign) for sign in sorted(set(findings.detectors.values()))]
        more = " …" if len(signs) > SHOWN else ""
        number_of = len(findings.detectors)
        who = "One cell reacts" if number_of == 1 else f"{number_of:,} cells react"
        yield f"{who} to a single character: {' '.join(signs[:SHOWN])}{more}"
    if findings.named_controls:
        yield f"Caution: cells also earned the name of meaningless labels: {', '.join(findings.named_controls)}."
