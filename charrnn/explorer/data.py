"""Everything that the explorer shows of a network, as data for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from charrnn.causal.effects import Ablation
from charrnn.discovery.findings import Findings, headlines, paragraphs
from charrnn.explorer.arrays import encoded, encoded_ids, encoded_shares
from charrnn.explorer.cells import cells_data, choose_cells
from charrnn.explorer.weights import network_data, states_data
from charrnn.inspection.recorded_trace import Trace
from charrnn.inspection.trace import all_cells
from charrnn.model.run_settings import RunSettings
from charrnn.progress import FractionProgress
from charrnn.properties.catalog import Text

LARGEST_PAGE = 4_950_000
"""Bytes of a page, at most, where its text and cells allow the network inside."""
OTHER_PARTS = 250_000
"""Bytes of a page for scripts, styles and all that is not estimated."""
BITS_STEP = 1 / 12
"""Surprise is stored in these parts of a bit, up to 21 bits."""
UNKNOWN_BITS = 255
PROFILE_SHARE = 0.8


def explorer_data(
    trace: Trace,
    characters: Text,
    settings: RunSettings,
    findings: Findings,
    ablations: Iterable[Ablation],
    *,
    cells: int,
    passages: int,
    progress: FractionProgress,
) -> dict[str, Any]:
    """Return what the page shows: facts, a text with its predictions, cells, and the network if it fits.

    trace: of the text. characters: one for each of its ids. settings: of the run. ablations: the latest first. cells:
    how many, at most. passages: of each kind. progress: called with the share that is done.
    """
    network, vocabulary, text = trace.network, trace.vocabulary, trace.part
    rows = cells_data(
        network,
        text,
        characters,
        findings,
        choose_cells(findings, network, cells),
        ablations,
        passages=passages,
        progress=lambda share: progress(PROFILE_SHARE * share),
    )
    recurrence = network.recurrence
    signal = recurrence.find_signal("auto")
    data: dict[str, Any] = {
        "facts": trace.described(),
        "signal": signal,
        "signalName": recurrence.display_name(signal),
        "gates": list(recurrence.sigmoid_gates),
        "layers": network.settings.layers,
        "cellsOfLayer": network.settings.hidden_size,
        "cellCount": len(all_cells(network)),
        "bytes": vocabulary.kind == "bytes",
        "symbols": list(vocabulary.characters) if vocabulary.kind == "characters" else [],
        "normalize": settings.corpus.normalize,
        "text": encoded_ids(text.ids),
        "predictions": _predictions(trace),
        "cells": rows,
        "findings": [*headlines(findings), *paragraphs(findings)],
        "caveats": findings.caveats(),
    }
    limit = LARGEST_PAGE - OTHER_PARTS - _size(data)
    data["network"], data["networkNote"] = network_data(network, vocabulary, settings.training.documents, text, limit)
    if data["network"] is not None:
        data["states"] = states_data(network, text, limit - _size(data["network"]))
    progress(1.0)
    return data


def _predictions(trace: Trace) -> dict[str, Any]:
    """Return the likeliest next characters, their probabilities, and the surprise of the true one."""
    found = trace.predictions
    steps = np.round(np.clip(np.nan_to_num(found.surprise, nan=0.0) / BITS_STEP, 0, UNKNOWN_BITS - 1))
    return {
        "number": found.likeliest.shape[1],
        "likeliest": encoded_ids(found.likeliest),
        "probabilities": encoded_shares(found.probabilities),
        "surprise": encoded(np.where(np.isnan(found.surprise), UNKNOWN_BITS, steps).astype(np.uint8)),
        "bitsStep": BITS_STEP,
        "unknownBits": UNKNOWN_BITS,
    }


def _size(part: Any) -> int:
    """Return about how many bytes a part takes as JSON."""
    if isinstance(part, str):
        return len(part)
    if isinstance(part, Mapping):
        return sum(len(name) + 6 + _size(value) for name, value in part.items())
    if isinstance(part, list | tuple):
        return sum(2 + _size(value) for value in part)
    return 20
