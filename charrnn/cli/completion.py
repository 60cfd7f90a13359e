"""Values that a shell completes: runs, corpora, properties and cells. PyTorch is not loaded."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from charrnn.errors import CharrnnError

LARGEST_FINDINGS = 64_000_000  # bytes


def complete_run(incomplete: str) -> list[str]:
    """Return the names of runs, the one trained last first."""
    from charrnn.model.lookup import run_names, runs_folder

    return [name for name in run_names(runs_folder()) if name.startswith(incomplete)]


def complete_corpus(incomplete: str) -> list[str]:
    """Return the names in the catalog and in the corpora folder."""
    from charrnn.text import catalog
    from charrnn.text.sources import corpora_folder, list_texts

    names = dict.fromkeys([*catalog.CORPORA, *(path.name for path in list_texts(corpora_folder()))])
    return [name for name in names if name.startswith(incomplete)]


def complete_property(incomplete: str) -> list[tuple[str, str]]:
    """Return the names and definitions of properties."""
    from charrnn.properties.catalog import searchable

    return [(one.name, one.definition) for one in searchable() if one.name.startswith(incomplete)]


def complete_cell(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the cells that the last search of the run found candidates for, with the property of each."""
    run = context.params.get("run") or next(iter(context.args), None)  # not parsed where an option lacks its value
    try:
        found = dict(_candidates(run))
    except (CharrnnError, OSError, ValueError, LookupError, TypeError):  # no run, no search, or a damaged file
        return []
    return [(cell, title) for cell, title in found.items() if cell.startswith(incomplete)]


def _candidates(run: str | None) -> Iterator[tuple[str, str]]:
    """Yield cell and property of the latest findings, the best last."""
    from charrnn.files import from_json_bytes, read_bounded
    from charrnn.model.lookup import run_names, runs_folder

    folder = runs_folder() / (run or run_names(runs_folder())[0]) / "findings"
    latest = max(folder.glob("*.json"), key=lambda file: file.lstat().st_mtime)
    findings = from_json_bytes(read_bounded(latest, LARGEST_FINDINGS), str(latest), LARGEST_FINDINGS)
    for one in sorted(findings["evidence"], key=lambda one: float(one["rank_correlation"])):
        yield str(one["cell"]), str(one["property_name"])
