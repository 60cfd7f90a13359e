"""The findings of a search: evidence, verdicts, and what could not be tested."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from charrnn.discovery import report
from charrnn.discovery.checked import CellName, Count, from_json
from charrnn.discovery.evidence import Evidence
from charrnn.discovery.naming import Claim, verdict
from charrnn.discovery.scores import CellSummary
from charrnn.extras import import_extra
from charrnn.units import count

if TYPE_CHECKING:
    import pandas

INTERVALS = ("interval", "plain_interval", "beyond_kgram", "beyond_untrained")
_ORDER = {"tracks": 0, "related": 1, "none": 2}


@dataclass(frozen=True, repr=False)
class Findings:
    """The result of a search. Iterating yields the claims of the named cells, the best first.

    cells: how many were searched. characters: of the text read; half: of the CONFIRM half. fitted_on: the text that
    the k-gram baseline is fitted on. testable: titles of the properties searched for; not_testable: title → reason.
    controls: titles of the control labels. evidence: of every candidate. detectors: cell → the character that it
    reacts to. summaries: of every cell.
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
    detectors: dict[CellName, str]
    summaries: tuple[CellSummary, ...]

    def verdicts(self) -> list[Claim]:
        """Return the best claim about each candidate cell, the best first."""
        best: dict[str, Claim] = {}
        for evidence in sorted(self.evidence, key=lambda one: -one.rank_correlation):
            claim = Claim(evidence, verdict(evidence))
            known = best.get(evidence.cell)
            if known is None or _ORDER[claim.verdict.kind] < _ORDER[known.verdict.kind]:
                best[evidence.cell] = claim
        return sorted(best.values(), key=lambda one: (_ORDER[one.verdict.kind], -one.evidence.rank_correlation))

    def of_kind(self, kind: str) -> list[Claim]:
        """Return the claims with the verdict "tracks", "related" or "none"."""
        return [claim for claim in self.verdicts() if claim.verdict.kind == kind]

    def claim_about(self, cell: str) -> Claim | None:
        """Return the claim about a cell that tracks or is related to a property; control labels do not count."""
        for claim in self.verdicts():
            if claim.evidence.cell == cell and claim.verdict.kind != "none":
                return None if claim.evidence.property_name in self.controls else claim
        return None

    def __iter__(self) -> Iterator[Claim]:
        return iter(self.of_kind("tracks"))

    def __len__(self) -> int:
        return len(self.of_kind("tracks"))

    def __bool__(self) -> bool:
        """Findings are true even where no cell is named."""
        return True

    def __getitem__(self, name: str) -> list[Claim]:
        """Return the claims about a cell (`"1:42"`), or the cells that track or are related to a property."""
        found = [
            Claim(evidence, verdict(evidence))
            for evidence in self.evidence
            if name in (evidence.cell, evidence.property_name)
        ]
        if not found and name not in {*self.testable, *self.not_testable, *(one.cell for one in self.summaries)}:
            raise KeyError(name)
        return found

    def __repr__(self) -> str:
        return (
            f"<Findings: {len(self)} of {self.cells:,} cells named, {len(self.of_kind('related'))} related, "
            f"{len(self.testable)} properties, {count(self.characters)} characters>"
        )

    def heading(self, text_name: str = "this text") -> str:
        """Return what was searched, in one line."""
        half, asked = count(self.half), len(self.testable) + len(self.not_testable)
        return (
            f"{self.bits_per_character:.2f} bits/char on {text_name} · chosen on {half}, confirmed on {half} "
            f"characters · {len(self.testable)} of {asked} properties testable"
        )

    def table(self) -> list[list[str]]:
        """Return a row for each named cell, for `report.CLAIM_HEADERS`."""
        return [report.claim_row(claim.evidence) for claim in self]

    def cell_table(self, layer: int | None = None) -> list[list[str]]:
        """Return a row for every cell, or for those of one layer, for `report.CELL_HEADERS`."""
        kinds = {claim.evidence.cell: claim.verdict.kind for claim in self.verdicts() if claim.verdict.kind != "none"}
        return [
            report.cell_row(one, kinds.get(one.cell, ""), self.detectors.get(one.cell, ""))
            for one in self.summaries
            if layer is None or one.cell.startswith(f"{layer}:")
        ]

    def related_lines(self) -> list[str]:
        """Return a line for each related cell."""
        return [report.related_line(claim) for claim in self.of_kind("related")]

    def closing_lines(self) -> list[str]:
        """Return the counts, the properties not found, those not testable, and the legend."""
        tracks, related = self.of_kind("tracks"), self.of_kind("related")
        controls = sum(claim.evidence.property_name in self.controls for claim in tracks)
        lines = [
            f"named: {len(tracks) - controls} of {self.cells:,} cells · related: {len(related)} · detectors of one "
            f"character: {len(self.detectors)}{report.detectors_shown(self.detectors)} · control labels named: "
            f"{controls} of {len(self.controls)}"
        ]
        found = {claim.evidence.property_name for claim in tracks + related}
        nothing = [name for name in self.testable if name not in found]
        if nothing:
            lines.append("nothing found: " + ", ".join(nothing))
        if self.not_testable:
            lines.append(report.not_testable_line(self.not_testable))
        return [*lines, report.legend(self.fitted_on)]

    def __str__(self) -> str:
        rows = self.table()
        shown = [*report.text_table(report.CLAIM_HEADERS, rows), ""] if rows else []
        return "\n".join([self.heading(), "", *shown, *self.related_lines(), *self.closing_lines()])

    def _repr_html_(self) -> str:
        head, *rows = (
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
            for tag, row in (("th", report.CLAIM_HEADERS), *(("td", row) for row in self.table()))
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        shown = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
        before, after = (
            "".join(f"<p>{html.escape(line)}</p>" for line in lines)
            for lines in ([self.heading()], [*self.related_lines(), *self.closing_lines()])
        )
        return before + shown + after

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
    """Return the column names of evidence as a table, and a row for each. Tuples become several columns."""
    rows = []
    for one in evidence:
        judged = verdict(one)
        row: dict[str, Any] = {"verdict": judged.kind, "failed": "; ".join(judged.failed)}
        for name, value in dataclasses.asdict(one).items():
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
