"""Interchange of one cell between minimal pairs: does the cell store the property?

A pair is a text and its copy without the character that opens an episode. Both are read on; the property holds in one
and not in the other. After the first character that follows, the state of one cell is copied from the second text to
the first, once (Geiger et al. 2021, arXiv 2106.02997). The share of the difference between the predictions of the two
texts that the copy brings about, k characters later, says how much of it this cell stores.

Shapes: E pairs, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from charrnn.causal.contrast import Contrast
from charrnn.causal.effects import Stored
from charrnn.causal.reading import Places, Reading, advance
from charrnn.discovery.study import Split
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN, State
from charrnn.properties.catalog import Property, Text
from charrnn.text.encoded_text import Streams

PAIRS = 64
MIN_PAIRS = 10
MIN_DIFFERENCE = 0.01
"""Least mean difference between the predictions of a pair, summed over the characters."""
BEFORE, AFTER = 2000, 201
DISTANCES = (1, 5, 20, 50, 100, 200)


def interchange(
    reading: Reading, split: Split, characters: Text, one: Property, cell: Cell, contrast: Contrast
) -> tuple[Stored, ...]:
    """Return the share of the difference that comes back after 1…200 characters; nothing without minimal pairs.

    A distance counts the pairs in which the property still differs. It is left out where fewer than 10 do, or where the
    predictions hardly differ.
    """
    openings = [kind for kind in contrast.kinds if not kind.natural and kind.symbol is not None]
    if one.kind != "binary" or not openings:
        return ()
    places = openings[0].places
    starts = split.starts[places.rows] - split.gap + places.columns  # of the events in the text
    inside_end = places.columns + AFTER + 2 <= len(reading.streams)
    places, starts = Places(places.rows[inside_end], places.columns[inside_end]), starts[inside_end]
    differs = [_differs(characters, one, start) for start in starts[:PAIRS].tolist()]
    kept = np.array([k for k, found in enumerate(differs) if found], int)
    if len(kept) < MIN_PAIRS:
        return ()
    places, lasting = Places(places.rows[kept], places.columns[kept]), np.array([differs[k] for k in kept])
    return tuple(_compare(reading, places, lasting, cell))


def _differs(characters: Text, one: Property, event: int) -> int:
    """Return for how many characters after the opening one the property holds with it and not without it."""
    start, opening = max(0, event - BEFORE), event + 1
    snippet = characters.characters[start : opening + 1 + AFTER]
    cut = opening - start
    whole, removed = (one.of(Text(text, characters.language)) for text in (snippet, snippet[:cut] + snippet[cut + 1 :]))
    different = whole[cut + 1 :] & ~removed[cut:]
    return int(np.argmin(np.append(different, False)))


def _compare(reading: Reading, places: Places, lasting: np.ndarray, cell: Cell) -> Sequence[Stored]:
    network, opening = reading.network, Places(places.rows, places.columns + 1)
    after = Places(places.rows, places.columns + 2)
    with_it, without_it = reading.state_before(after), reading.state_before(opening)
    first, rest = reading.window(after, 1), reading.window(Places(after.rows, after.columns + 1), AFTER - 1)
    _, with_it = advance(network, first, with_it)
    _, without_it = advance(network, first, without_it)
    swapped = tuple(tuple(part.clone() for part in layer) for layer in with_it)
    for part, other in zip(swapped[cell.layer - 1], without_it[cell.layer - 1], strict=True):
        part[:, cell.index] = other[:, cell.index]
    found = [_predictions(network, rest, state) for state in (with_it, without_it, swapped)]
    shares = []
    for distance in DISTANCES:
        usable = torch.from_numpy(lasting > distance)
        if int(usable.sum()) >= MIN_PAIRS:
            base, other, changed = (one[usable, distance - 1] for one in found)
            if float((other - base).abs().sum(dim=1).mean()) < MIN_DIFFERENCE:
                continue
            share = ((changed - base) * (other - base)).sum() / (other - base).square().sum()
            shares.append(Stored(distance, float(share), int(usable.sum())))
    return shares


@torch.inference_mode()
def _predictions(network: CharRNN, streams: Streams, state: State) -> Tensor:
    """Return probabilities (E, T, V) of the characters after each."""
    hidden, _ = advance(network, streams, state)
    return torch.softmax(network.output(hidden), dim=-1)
