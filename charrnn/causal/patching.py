"""Interchange of one cell between minimal pairs: does the cell store the property?

A pair is a text and its copy without the character that opens an episode, or with that character flipped: replaced by
the one that closes, or, where both are the same, moved to the other side of the space before it (`a "b` and `a" b`).
Both are read on; the property holds in one and not in the other. After the first character that follows, the state of
one cell is copied from the second text to the first, once (Geiger et al. 2021, arXiv 2106.02997). The share of the
difference between the predictions of the two texts that the copy brings about, k characters later, says how much of it
this cell stores.

Shapes: E pairs, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from charrnn.causal.contrast import Contrast
from charrnn.causal.effects import Stored
from charrnn.causal.reading import Places, Reading, advance
from charrnn.discovery.study import Split
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN, State, map_state
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
    closing = next((kind.symbol for kind in contrast.kinds if kind.natural), None)
    places = openings[0].places
    starts = split.starts[places.rows] - split.gap + places.columns  # of the events in the text
    inside_end = places.columns + AFTER + 2 <= len(reading.streams)
    places, starts = places.take(inside_end), starts[inside_end]
    differs = [_differs(characters, one, start) for start in starts[:PAIRS].tolist()]
    kept = np.array([k for k, found in enumerate(differs) if found], int)
    if len(kept) < MIN_PAIRS:
        return ()
    places, lasting = places.take(kept), np.array([differs[k] for k in kept])
    after_space = np.array([characters.characters[k].isspace() for k in starts[kept].tolist()])
    is_replaced = closing is not None and closing != openings[0].symbol
    flippable = np.ones(len(kept), bool) if is_replaced else after_space
    texts = _PairedTexts(reading, places, cell)
    removed = texts.shares(texts.without_mark(), lasting)
    flipped = texts.shares(texts.with_flipped_mark(closing if is_replaced else None), np.where(flippable, lasting, 0))
    return tuple(
        Stored(distance, share, flipped[distance][0] if distance in flipped else None, pairs)
        for distance, (share, pairs) in removed.items()
    )


def _differs(characters: Text, one: Property, event: int) -> int:
    """Return for how many characters after the opening one the property holds with it and not without it."""
    start, opening = max(0, event - BEFORE), event + 1
    snippet = characters.characters[start : opening + 1 + AFTER]
    cut = opening - start
    whole, removed = (one.of(Text(text, characters.language)) for text in (snippet, snippet[:cut] + snippet[cut + 1 :]))
    different = whole[cut + 1 :] & ~removed[cut:]
    return int(np.argmin(np.append(different, False)))


class _PairedTexts:
    """Texts with an opening character, (E,) places before it, and their copies without it or with it flipped."""

    def __init__(self, reading: Reading, places: Places, cell: Cell):
        self._reading, self._places, self._cell = reading, places, cell
        after = Places(places.rows, places.columns + 2)
        self._first = reading.window(after, 1)
        self._rest = reading.window(Places(after.rows, after.columns + 1), AFTER - 1)
        self._state = self._one_on(reading.state_before(after))
        self._base = _predictions(reading.network, self._rest, self._state)

    def without_mark(self) -> State:
        """Return the states (E, H) after the first character behind the opening one, if that is left out."""
        return self._one_on(self._reading.state_before(Places(self._places.rows, self._places.columns + 1)))

    def with_flipped_mark(self, closing: int | None) -> State:
        """Return the same states if the opening character is replaced; None: if it precedes the character before it."""
        both = self._reading.window(self._places, 2)
        before, opening = both.ids.T
        ids = np.stack([opening, before] if closing is None else [before, np.full_like(opening, closing)], axis=1)
        changed = Streams(ids, both.begins, both.opening)
        _, state = advance(self._reading.network, changed, self._reading.state_before(self._places))
        return self._one_on(state)

    def shares(self, other: State, lasting: np.ndarray) -> dict[int, tuple[float, int]]:
        """Return, at each distance, the share that comes back if the cell's state is copied from `other`, and of pairs.

        lasting: for how many characters the property differs, (E,).
        """
        swapped = map_state(Tensor.clone, self._state)
        layer, index = self._cell.layer - 1, self._cell.index
        for part, copied in zip(swapped[layer], other[layer], strict=True):
            part[:, index] = copied[:, index]
        difference, change = (
            _predictions(self._reading.network, self._rest, state) - self._base for state in (other, swapped)
        )
        shares = {}
        for distance in DISTANCES:
            usable = torch.from_numpy(lasting > distance)
            whole, part = difference[usable, distance - 1], change[usable, distance - 1]
            if len(whole) >= MIN_PAIRS and float(whole.abs().sum(dim=1).mean()) >= MIN_DIFFERENCE:
                shares[distance] = float((part * whole).sum() / whole.square().sum()), len(whole)
        return shares

    def _one_on(self, state: State) -> State:
        return advance(self._reading.network, self._first, state)[1]


@torch.inference_mode()
def _predictions(network: CharRNN, streams: Streams, state: State) -> Tensor:
    """Return probabilities (E, T, V) of the characters after each."""
    hidden, _ = advance(network, streams, state)
    return torch.softmax(network.output(hidden), dim=-1)
