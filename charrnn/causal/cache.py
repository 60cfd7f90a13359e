"""Cached ablations: one that was made before is not repeated.

    checkpoints/NAME/ablations/SUBJECT-QUESTION.json

SUBJECT is a hash of the weights and the text. QUESTION is a hash of everything else that an ablation depends on. A file
that cannot be read counts as missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from charrnn.causal.ablation import ablate
from charrnn.causal.effects import Ablation
from charrnn.discovery.cache import (
    hash_of,
    is_about_packaged,
    latest_files,
    packaged_file,
    question_key,
    read_result,
    save_json,
    subject_key,
)
from charrnn.discovery.findings import Findings
from charrnn.discovery.inputs import characters_of, language_of
from charrnn.discovery.study import Effort
from charrnn.errors import CharrnnError
from charrnn.inspection.trace import Cell, all_cells
from charrnn.model.lookup import results_folder
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.progress import StageProgress, no_progress
from charrnn.properties.catalog import Property, property_titled
from charrnn.settings import CONTROLS
from charrnn.text.encoded_text import EncodedText

FORMAT = 2
"""Increase it when an ablation measures something else, to invalidate older ones."""
FOLDER = "ablations"
MAX_FILES = 200


def ablate_run(
    run: Run,
    network: CharRNN,
    text: EncodedText,
    cell: Cell,
    one: Property,
    *,
    signal: str,
    language: str | None = None,
    controls: int = CONTROLS,
    effort: Effort | None = None,
    again: bool = False,
    progress: StageProgress = no_progress,
) -> Ablation:
    """Ablate a cell of a run's network (see `ablate`), or return the same ablation made before.

    language: of the text; None: guessed. effort: characters to read, and the seed. again: repeat an ablation that
    was made before. progress: not called where the ablation is cached.
    """
    is_usual = language is None and controls == CONTROLS and effort in (None, Effort())
    effort, language = effort or Effort(), language_of(run, language)
    subject, text = subject_key(network, text), text[: effort.characters]
    asked = question_key(text, [one], language, None, effort)
    file = None
    if asked is not None:
        question = hash_of([asked, str((FORMAT, str(cell), signal, controls))])
        file = results_folder(run.path) / FOLDER / f"{subject}-{question}.json"
    ablation = None if file is None or again else load_ablation(file, network)
    if ablation is None and is_usual and not again:
        same = (str(cell), one.title, signal)
        packaged = packaged_ablations(run, network, text)
        ablation = next((each for each in packaged if (each.cell, each.property_name, each.signal) == same), None)
    if ablation is None:
        ablation = ablate(
            network,
            text,
            characters_of(run.vocabulary, text.ids, language),
            cell,
            one,
            signal=signal,
            symbols=run.vocabulary.symbols,
            controls=controls,
            seed=effort.seed,
            progress=progress,
        )
        if file is not None:
            save_json(file, ablation.to_json())
    return ablation


def load_ablation(file: Path, network: CharRNN) -> Ablation | None:
    """Return a cached ablation, or None where there is none or it is damaged."""
    ablation = read_result(file, Ablation.from_json)
    if ablation is None:
        return None
    known = ablation.cell in set(map(str, all_cells(network))) and ablation.signal in network.recurrence.signals
    return dataclasses.replace(ablation, kept=True) if known else None


def earlier_ablations(run: Run, network: CharRNN, text: EncodedText) -> list[Ablation]:
    """Return all cached ablations of a network on a text, the latest first, and then the packaged ones."""
    files = latest_files(results_folder(run.path) / FOLDER, network, text)[:MAX_FILES]
    loaded = [ablation for file in files if (ablation := load_ablation(file, network)) is not None]
    return loaded + packaged_ablations(run, network, text)


def packaged_ablations(run: Run, network: CharRNN, text: EncodedText) -> list[Ablation]:
    """Return the ablations made when the built-in run was packaged; none for another run, text or weights."""
    if not is_about_packaged(run, text):
        return []
    first = packaged_file(run.path / FOLDER, network)
    files = sorted(first.parent.glob(f"{first.stem}*.json"))
    loaded = [ablation for file in files if (ablation := load_ablation(file, network)) is not None]
    return [dataclasses.replace(each, packaged_with=run.settings.origin.python) for each in loaded]


def fitted_property(searches: Sequence[Findings], cell: Cell) -> Property:
    """Return the property of the catalog that searches claim of a cell, or else the one that the cell fits best.

    Raises CharrnnError where there is none.
    """
    claims = [claim for found in searches if (claim := found.claim_about(str(cell))) is not None]
    titles = [one.property_name for one in claims]
    titles += [one.property_name for found in searches for one in found.summaries if one.cell == str(cell)]
    known = next((one for title in titles if (one := property_titled(title)) is not None), None)
    if known is None:
        raise CharrnnError(f"no property of the catalog fits cell {cell}", "name one with `property`")
    return known
