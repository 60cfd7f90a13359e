"""Shell completion: of runs, corpora, properties and cells, and in bash. PyTorch is not loaded."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, MutableMapping, Sequence

import typer

from charrnn.errors import CharrnnError, UsageError

LARGEST_FINDINGS = 64_000_000  # bytes
FLAGS = ("--install-completion", "--show-completion")
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
IN_BASH = ("_CHARRNN_COMPLETE", "complete_bash")


def check_shell(arguments: Sequence[str]) -> None:
    """Raise UsageError where completion is to be shown or installed for an unknown shell."""
    flag = next((one for one in arguments if one in FLAGS), None)
    if flag is None:
        return
    import shellingham  # type: ignore[import-untyped]  # the library by which typer finds the shell

    try:
        shell = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        shell = None
    if shell not in SHELLS:
        found = "no shell was detected" if shell is None else f"{shell} has no completion"
        raise UsageError(f"{flag}: {found}", "run it from bash, zsh, fish or PowerShell")


@contextlib.contextmanager
def bash_words(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Join the words that bash split at colons, and print of each completion only what follows the last colon.

    Characters with a meaning in bash are escaped, unless a quote was opened.
    """
    words = environment["COMP_WORDS"].split("\n")[: int(environment["COMP_CWORD"]) + 1]
    joined = re.sub(r"\n(:+)(?:\n(?=.)|(?=\n|\Z))", r"\1", "\n".join(words)).split("\n")
    environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join(joined), str(len(joined) - 1)
    complete = joined[-1].removesuffix(words[-1].lstrip(":")) if joined[-1] != words[-1] else ""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            value = line.removeprefix(complete)
            print(value if joined[-1][:1] in ("'", '"') else re.sub(r"([^\w.:/+,@%=-])", r"\\\1", value))


def complete_run(incomplete: str) -> list[str]:
    """Return the names of runs, the one trained last first."""
    from charrnn.model.lookup import all_run_names

    return [name for name in all_run_names() if name.startswith(incomplete)]


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
    except (
        CharrnnError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ):  # no run, no search, or a damaged file
        return []
    return [(cell, title) for cell, title in found.items() if cell.startswith(incomplete)]


def _candidates(run: str | None) -> Iterator[tuple[str, str]]:
    """Yield cell and property of the latest findings, the best last."""
    from charrnn.files import from_json_bytes, read_bounded
    from charrnn.model.lookup import find_run, results_folder

    path = find_run(run)
    folders = {results_folder(path): None, path: None}  # of the built-in run two, the user's first
    files = [sorted((folder / "findings").glob("*.json"), key=lambda file: file.lstat().st_mtime) for folder in folders]
    latest = next((found[-1] for found in files if found), None)
    if latest is None:
        return
    findings = from_json_bytes(read_bounded(latest, LARGEST_FINDINGS), str(latest), LARGEST_FINDINGS)
    controls = findings.get("controls", [])
    for one in sorted(findings["evidence"], key=lambda one: float(one["rank_correlation"])):
        if one["property_name"] not in controls:
            yield str(one["cell"]), str(one["property_name"])
