"""What a search brought to light, as data: it goes to JSON and back, and is kept beside the run it was made of.

    checkpoints/NAME/findings/SUBJECT-QUESTION.json

SUBJECT is a hash of weights and text, QUESTION one of what was searched for, with what effort and against which rival.
The files are a cache. One that does not read back as it was written, for whatever reason, counts as not there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

from charrnn.discovery.naming import Evidence, Verdict, verdict
from charrnn.errors import CharrnnError
from charrnn.files import atomic_file, from_json_bytes, read_bounded, to_json_bytes

FORMAT = 1  # counts up when what is measured changes, so that older findings are not taken for new ones
LARGEST = 64_000_000
MOST_FILES = 20
INTERVALS = ("interval", "plain_interval", "beyond_kgram", "beyond_untrained")


@dataclass(frozen=True)
class CellSummary:
    """Of one cell the property it went with best on SELECT, and how strongly it did there and on CONFIRM."""

    cell: str
    signal: str
    property_name: str
    kind: str
    selected: float
    rank_correlation: float


@dataclass(frozen=True)
class Findings:
    """What a search found, did not find, and could not ask.

    cells: how many were searched. characters: of the text read; half: of those the ones judged on. fitted_on: what the
    k-gram rival learned from. testable: titles of the properties searched for; not_testable: the others, with the
    reason. controls: names of the labels without meaning. evidence: of every candidate. reacts: cell → the character it
    detects. summaries: of every cell.
    """

    cells: int
    bits_per_character: float
    characters: int
    half: int
    fitted_on: str
    seed: int
    testable: tuple[str, ...]
    not_testable: dict[str, str]
    controls: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    reacts: dict[str, str]
    summaries: tuple[CellSummary, ...]

    def verdicts(self) -> list[tuple[Evidence, Verdict]]:
        """For each cell that is a candidate its best claim, best claims first."""
        best: dict[str, tuple[Evidence, Verdict]] = {}
        for evidence in sorted(self.evidence, key=lambda one: -one.rank_correlation):
            judged = verdict(evidence)
            held = best.get(evidence.cell)
            if held is None or _ORDER[judged.kind] < _ORDER[held[1].kind]:
                best[evidence.cell] = (evidence, judged)
        return sorted(best.values(), key=lambda pair: (_ORDER[pair[1].kind], -pair[0].rank_correlation))

    def of_kind(self, kind: str) -> list[tuple[Evidence, Verdict]]:
        """Of the verdicts those that say "tracks", "related" or "none"."""
        return [(evidence, judged) for evidence, judged in self.verdicts() if judged.kind == kind]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Findings:
        """What `to_json` gave. Raises ValueError for anything else."""
        return _made(cls, data)


_ORDER = {"tracks": 0, "related": 1, "none": 2}


def _made(kind: Any, data: Any) -> Any:
    """A value of a type from JSON's own types, every field checked. Raises ValueError where they do not fit."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if not isinstance(data, dict) or set(data) != set(hints):
            raise ValueError(f"not a {kind.__name__}")
        return kind(**{name: _made(hint, data[name]) for name, hint in hints.items()})
    if origin is UnionType:
        return None if data is None else _made(arguments[0], data)
    if origin is tuple:
        items = [arguments[0]] * len(data) if arguments[-1] is Ellipsis else list(arguments)
        if not isinstance(data, list | tuple) or len(items) != len(data):
            raise ValueError("not a list of the right length")
        return tuple(_made(item, value) for item, value in zip(items, data, strict=True))
    if origin is dict:
        if not isinstance(data, dict):
            raise ValueError("not an object")
        return {_made(arguments[0], name): _made(arguments[1], value) for name, value in data.items()}
    if type(data) is int and kind is float:
        return float(data)
    if type(data) is not kind or (kind is float and not math.isfinite(data)):
        raise ValueError(f"not a {kind.__name__}")
    return data


def key_of(*parts: str | bytes) -> str:
    """A name for what is made of all these, and of what is measured by this version: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in (str(FORMAT), *parts):
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:32]


def kept(folder: Path, subject: str, question: str) -> Findings | None:
    """The findings kept in a run's folder; None if there are none that read back."""
    return _read(folder / "findings" / f"{subject}-{question}.json")


def all_kept(folder: Path, subject: str) -> list[Findings]:
    """All findings about a subject, whatever the question, the latest first."""
    files = sorted((folder / "findings").glob(f"{subject}-*.json"), key=lambda file: -file.lstat().st_mtime)
    return [findings for file in files[:MOST_FILES] if (findings := _read(file)) is not None]


def _read(file: Path) -> Findings | None:
    try:
        return Findings.from_json(from_json_bytes(read_bounded(file, LARGEST), str(file)))
    except (CharrnnError, ValueError, TypeError):
        return None


def keep(folder: Path, subject: str, question: str, findings: Findings) -> None:
    """Keeps findings in a run's folder. A folder that cannot be written to is left as it is."""
    try:
        (folder / "findings").mkdir(exist_ok=True)
        with atomic_file(folder / "findings" / f"{subject}-{question}.json") as file:
            file.write_bytes(to_json_bytes(findings.to_json()))
    except OSError:
        return


def columns_of(evidence: Sequence[Evidence]) -> tuple[list[str], list[list[Any]]]:
    """Evidence as a table for other programs: the names of its columns, and a row for each; lists are spread out."""
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
