"""The search for interpretable cells: cells whose values follow a property of the text.

Almost any cell correlates with almost any property of the same text. A cell is therefore chosen on one half of the text
and judged on the other. It has to beat seven baselines: permuted labels, pseudo-labels, untrained networks, a 5-gram,
a linear memory, competing properties, and control labels without meaning, which must not be named.

    study → scores → baselines → candidates → findings
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Sequence

import numpy as np

from charrnn.discovery import stages
from charrnn.discovery.activations import Recordings
from charrnn.discovery.baselines import Baselines, kgram_baselines, linear_memory_baselines, untrained_baselines
from charrnn.discovery.candidates import choose_candidates, gather_evidence
from charrnn.discovery.findings import Findings
from charrnn.discovery.match_summary import summarize_matches
from charrnn.discovery.probe import probe_layers
from charrnn.discovery.report import MIN_GRADIENT_SHARE
from charrnn.discovery.scores import score_cells, summarize_cells
from charrnn.discovery.study import Effort, prepare_study
from charrnn.inspection.gradients import GradientShare, gradient_share
from charrnn.model.network import CharRNN
from charrnn.progress import StageProgress, no_progress, overall
from charrnn.properties.catalog import CATALOG, Property, Text
from charrnn.text.encoded_text import EncodedText


def discover(
    network: CharRNN,
    text: EncodedText,
    characters: Text,
    properties: Sequence[Property],
    *,
    symbols: Sequence[str],
    training: tuple[np.ndarray, Text] | None = None,
    effort: Effort | None = None,
    progress: StageProgress = no_progress,
) -> Findings:
    """Search for cells that track one of these properties.

    characters: the text as characters, one for each id. symbols: printable form of each id. training: ids and text that
    the k-gram baseline is fitted on; the SELECT half where this is None, or its source code cannot be lexed.

    The rest of the catalog serves as confounds, and the control labels always take part.

    Raises CharrnnError where the text is too short, or where none of the properties can be tested in it.
    """
    effort, progress = effort or Effort(), overall(progress, stages.SECONDS)
    progress(stages.PROPERTIES, 0.0)
    study = prepare_study(text, characters, properties, effort)
    progress(stages.PROPERTIES, 1.0)
    if training is not None and study.characters.has_tokens and not training[1].has_tokens:
        training = None
    recordings = Recordings.of(network, study, progress)
    scores = score_cells(recordings)
    candidates, left_out = choose_candidates(study, scores)
    baselines = Baselines(
        kgram_baselines(study, training, progress),
        untrained_baselines(network, study, progress),
        linear_memory_baselines(study, progress),
    )
    evidence = gather_evidence(recordings, scores, candidates, baselines, symbols)
    named = {one.cell for one in evidence if one.verdict == "tracks"}
    report = functools.partial(progress, stages.GRADIENTS)
    share = gradient_share(network, study.text, positions=effort.gradient_positions, progress=report)
    return Findings(
        cells=len(scores.cells),
        bits_per_character=scores.bits_per_character,
        characters=len(study.text),
        half=len(study.confirm.ids),
        fitted_on="training text" if training is not None else "the SELECT half",
        seed=effort.seed,
        testable=study.titles(control=False),
        not_testable=study.not_testable,
        controls=study.titles(control=True),
        evidence=evidence,
        left_out=left_out,
        probes=probe_layers(recordings, named),
        matches=tuple(
            summarize_matches(study, k, symbols) for k in study.searched if study.properties[k].name not in CATALOG
        ),
        detectors={str(cell): symbols[one] for cell, one in scores.detectors.items() if str(cell) not in named},
        gradient_shares=_carriers(share, named),
        summaries=summarize_cells(study, scores),
    )


def _carriers(share: GradientShare, named: Collection[str]) -> dict[str, tuple[float | None, ...]]:
    """Return cell → share at each lag, of the named cells and of those that carry much, the largest first."""
    ordered = map(str, share.largest(len(share.cells), MIN_GRADIENT_SHARE))
    cells = {str(cell): cell for cell in share.cells}
    return {
        name: tuple(None if math.isnan(value) else value for value in share.of(cells[name]).values())
        for name in dict.fromkeys([*ordered, *sorted(named)])
    }
