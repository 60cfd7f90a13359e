"""The findings of a search: evidence, verdicts, and what could not be tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from charrnn.discovery import report
from charrnn.discovery.checked import CellName, Count, Share, from_json
from charrnn.discovery.evidence import Evidence, Verdict
from charrnn.discovery.match_summary import MatchSummary
from charrnn.discovery.probe import Probe
from charrnn.discovery.scores import CellSummary
from charrnn.discovery.summary import Cause, summary_html, summary_lines
from charrnn.display.terminal import Terminal
from charrnn.extras import import_extra
from charrnn.units import count

if TYPE_CHECKING:
    import pandas

INTERVALS = ("interval", "plain_interval", "beyond_kgram", "beyond_untrained", "beyond_linear_memory")
VERDICTS = get_args(Verdict)
CORRELATES_SHOWN = 12
MIN_GRADIENT_SHARE = 0.02
"""The least share of the gradient with which a cell is said to carry memory."""


@dataclass(frozen=True, repr=False)
class Findings:
    """The result of a search. Iterating yields the evidence about the named cells, the best first.

    cells: how many were searched. characters: of the text read; half: of the CONFIRM half. fitted_on: the text that
    the k-gram baseline is fitted on. testable: titles of the properties searched for; not_testable: title → reason.
    controls: titles of the control labels. evidence: of every candidate. left_out: title → number of further cells that
    were not judged. probes: of each layer and property. matches: of properties outside the catalog. detectors: cell →
    the character that it reacts to, of cells without a name. gradient_shares: cell → share of the squared gradient of
    the loss that it carries back over 30 and 100 characters (`GradientShare`), of named cells and of those with 2 % or
    more. summaries: of every cell.
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
        """Return how names were earned, which conditions fail, what was not judged or not testable, and the legend."""
        half = count(self.half)
        named = {one.property_name for one in self.evidence if one.verdict == "tracks"} & {*self.controls}
        lines = [
            f"cells were chosen on {half} characters and judged on {half} others; control labels named: "
            f"{len(named)} of {len(self.controls)}"
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
        return [*lines, report.LEGEND.format(fitted_on=self.fitted_on)]

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
