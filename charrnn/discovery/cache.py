"""Cached findings: a search that was made before is not repeated.

    checkpoints/NAME/findings/SUBJECT-QUESTION.json

SUBJECT is a hash of the weights and the text. QUESTION is a hash of everything else that the findings depend on: the
properties and their code, the language, the training text and the effort. A file that cannot be read counts as missing.

The built-in run is read-only, and its held-out text is the standard library of this Python, which differs between
versions. It comes with findings/WEIGHTS-packaged.json, from when it was packaged. They hold no text: excerpts are
computed on this machine. Other findings about it are kept in the user's folder (`results_folder`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from charrnn.discovery.evidence import Evidence
from charrnn.discovery.excerpts import typical_excerpts
from charrnn.discovery.findings import Findings
from charrnn.discovery.inputs import characters_of, language_of, training_ids
from charrnn.discovery.report import cells_shown
from charrnn.discovery.scores import CellSummary
from charrnn.discovery.search import discover
from charrnn.discovery.study import MIN_CHARACTERS, Effort, Split
from charrnn.errors import CharrnnError
from charrnn.files import (
    atomic_file,
    from_json_bytes,
    is_real_folder,
    make_folder,
    read_bounded,
    to_json_bytes,
    write_and_sync,
)
from charrnn.inspection.recorded_trace import as_cell
from charrnn.inspection.trace import all_cells
from charrnn.model.built_in import RESULTS_FOLDER, is_built_in
from charrnn.model.lookup import results_folder
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.progress import StageProgress, no_progress
from charrnn.properties import catalog
from charrnn.properties.catalog import CATALOG, Property, property_titled, searchable
from charrnn.settings import SEARCHED_CHARACTERS
from charrnn.text.encoded_text import EncodedText

FORMAT = 7
"""Increase it when a search measures something else, to invalidate older findings."""
MAX_BYTES = 64_000_000
MAX_FILES = 20
MAX_JSON_PARTS = 1_000_000
FOLDER = "findings"
EXCERPT_CHARACTERS = 30_000
"""Characters of the held-out text, at most, that the excerpts of packaged findings are chosen from."""
T = TypeVar("T")


def search_run(
    run: Run,
    network: CharRNN,
    text: EncodedText,
    properties: Sequence[Property] = (),
    *,
    language: str | None = None,
    corpus: str | None = None,
    effort: Effort | None = None,
    again: bool = False,
    progress: StageProgress = no_progress,
) -> Findings:
    """Search a run's network for cells that track properties, or return the findings of the same search made before.

    properties: none: the whole catalog. language: of the text; None: guessed. corpus: the run's corpus; None: looked
    for in corpora/. again: repeat a search that was made before. progress: not called where the findings are cached.
    """
    is_usual = not properties and language is None and corpus is None and effort in (None, Effort())
    effort, properties = effort or Effort(), list(properties) or searchable()
    language = language_of(run, language)
    fitted_on = training_ids(run, corpus)
    subject, text = subject_key(network, text), text[: effort.characters]
    question = question_key(text, properties, language, fitted_on, effort)
    file = None if question is None else results_folder(run.path) / FOLDER / f"{subject}-{question}.json"
    findings = None if file is None or again else load_findings(file, network)
    if findings is None and is_usual and not again:
        packaged = packaged_findings(run, network, text)
        findings = None if packaged is None else _with_excerpts(packaged, run, network, text)
    if findings is None:
        findings = discover(
            network,
            text,
            characters_of(run.vocabulary, text.ids, language),
            properties,
            symbols=run.vocabulary.symbols,
            training=None if fitted_on is None else (fitted_on, characters_of(run.vocabulary, fitted_on, language)),
            effort=effort,
            progress=progress,
        )
        if file is not None:
            save_json(file, findings.to_json())
    return findings


def earlier_findings(run: Run, network: CharRNN, text: EncodedText) -> list[Findings]:
    """Return all cached findings about a network and a text, the latest first, and then the packaged ones."""
    files = latest_files(results_folder(run.path) / FOLDER, network, text)[:MAX_FILES]
    loaded = [load_findings(file, network) for file in files] + [packaged_findings(run, network, text)]
    return [findings for findings in loaded if findings is not None]


def latest_files(folder: Path, network: CharRNN, text: EncodedText) -> list[Path]:
    """Return the files of a folder about a network and a text, the latest first."""
    files = folder.glob(f"{subject_key(network, text)}-*.json") if is_real_folder(folder) else ()
    return sorted(files, key=lambda file: -file.lstat().st_mtime)


def packaged_findings(run: Run, network: CharRNN, text: EncodedText) -> Findings | None:
    """Return what a search found when the built-in run was packaged, without excerpts.

    None for another run, other weights, or a text that is not the held-out text.
    """
    if not is_about_packaged(run, text):
        return None
    findings = load_findings(packaged_file(run.path / FOLDER, network), network)
    return None if findings is None else dataclasses.replace(findings, packaged_with=run.settings.origin.python)


def is_about_packaged(run: Run, text: EncodedText) -> bool:
    """Return whether the run is the built-in one, and the text the start of its held-out text."""
    return is_built_in(run.path) and np.array_equal(text.ids, run.held_out_text().ids[: len(text)])


def packaged_file(folder: Path, network: CharRNN, name: str = "") -> Path:
    """Return the file of packaged results about these weights. name: of one result among several."""
    weights = hash_of([repr(network.settings), _weights_digest(network)])
    return folder / f"{weights}-packaged{name}.json"


def _with_excerpts(findings: Findings, run: Run, network: CharRNN, text: EncodedText) -> Findings:
    """Return packaged findings with excerpts of the first EXCERPT_CHARACTERS of a text for the cells that are shown."""
    text = text[:EXCERPT_CHARACTERS]
    known = [(one, titled) for one in cells_shown([*findings]) if (titled := property_titled(one.property_name))]
    asked = [(as_cell(one.cell, network), one.signal, titled) for one, titled in known]
    characters = characters_of(run.vocabulary, text.ids, language_of(run))
    split = Split.of(len(text)) if len(text) >= MIN_CHARACTERS else None
    excerpts = typical_excerpts(network, text, characters, asked, run.vocabulary.symbols, split)
    shown = {id(one): excerpt for (one, _), excerpt in zip(known, excerpts, strict=True)}
    evidence = (dataclasses.replace(one, excerpt=shown.get(id(one))) for one in findings.evidence)
    return dataclasses.replace(findings, evidence=tuple(evidence))


def subject_key(network: CharRNN, text: EncodedText) -> str:
    """Return the hash of a network's weights and of the first characters of a text."""
    return hash_of([repr(network.settings), _weights_digest(network), *_parts(text[:SEARCHED_CHARACTERS])])


def _weights_digest(network: CharRNN) -> bytes:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def question_key(
    text: EncodedText, properties: Sequence[Property], language: str | None, training: np.ndarray | None, effort: Effort
) -> str | None:
    """Return the hash of what a search asks, or None where the code of a property is unknown.

    It covers the whole catalog, because all properties serve as confounds.
    """
    involved = [*properties, *CATALOG.values()]
    if any(one.code is None for one in involved):
        return None
    described = [(one.name, one.kind, one.definition, one.code) for one in involved]
    trained_on = b"" if training is None else training.tobytes()
    # Searches of documents that were made before the linear memory started again in each have other keys.
    restarts = ["the linear memory starts again in each document"] if text.has_documents else []
    asked = repr((len(properties), described, language, effort))
    return hash_of([_package_code(), asked, trained_on, *restarts, *_parts(text)])


def _parts(text: EncodedText) -> list[bytes]:
    return [text.ids.tobytes(), text.starts.tobytes()]


def _package_code() -> bytes:
    """Return the hash of the source of all built-in properties."""
    sources = sorted(Path(catalog.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in sources)).digest()


def hash_of(parts: Iterable[str | bytes]) -> str:
    """Return a hash of the parts and of `FORMAT`, 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in (str(FORMAT), *parts):
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:32]


def load_findings(file: Path, network: CharRNN) -> Findings | None:
    """Return cached findings about a network, or None where there are none or they are damaged."""
    findings = read_result(file, Findings.from_json)
    if findings is None:
        return None
    cells, signals = set(map(str, all_cells(network))), network.recurrence.signals
    named: list[Evidence | CellSummary] = [*findings.evidence, *findings.summaries]
    known = all(one.cell in cells and one.signal in signals for one in named)
    return dataclasses.replace(findings, kept=True) if known else None


def read_result(file: Path, from_json: Callable[[Any], T]) -> T | None:
    """Return what `from_json` makes of a file, or None where there is none, it is damaged, or its folder is a link."""
    if not is_real_folder(file.parent):
        return None
    try:
        return from_json(from_json_bytes(read_bounded(file, MAX_BYTES), str(file), MAX_JSON_PARTS))
    except (CharrnnError, ValueError):
        return None


def save_json(file: Path, data: Any) -> None:
    """Write a file of a run, unless its folder cannot be written to or is a link, which may lead out of the run."""
    with contextlib.suppress(OSError):
        if RESULTS_FOLDER in file.parts:  # of the built-in run, which is elsewhere
            make_folder(file.parent.parent)
        file.parent.mkdir(exist_ok=True)
        if is_real_folder(file.parent):
            with atomic_file(file) as temporary:
                write_and_sync(temporary, to_json_bytes(data))
