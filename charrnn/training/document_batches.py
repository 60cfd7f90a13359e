"""Batches of documents: each is read from its start in a zero state, beside others of similar length.

A document of up to T characters is one row of one window, which has as many rows as fit into B · T characters with
padding. Longer documents are read in groups of B, window after window with the state carried, until the longest ends.
Padding is not counted. Very long documents are split into pieces, each read from a zero state.

An epoch reads the text block by block, in random order, so that only one block at a time has to be sorted by length.
The characters that a step reads are a function of the seed and the step's number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from charrnn.model.network import Shard
from charrnn.text.encoded_text import EncodedText
from charrnn.training.batches import NOT_COUNTED, Window, derived_seed

BLOCK = 1 << 23  # characters whose documents are sorted at a time
WINDOWS_PER_PIECE = 256
LENGTH_NOISE = 0.25  # relative; lengths are sorted with noise, so that the rows of a window differ between epochs


class DocumentBatches:
    """The windows of documents, epoch after epoch."""

    def __init__(
        self,
        documents: EncodedText,
        batch_size: int,
        seq_length: int,
        seed: int,
        device: torch.device,
        rows: Callable[[int], slice] | None = None,
        min_rows: int = 1,
        block: int = BLOCK,
        windows_per_piece: int = WINDOWS_PER_PIECE,
    ):
        """rows: maps a number of rows to those of this process; None is all. min_rows: of a window, with padding.

        block: characters whose documents are sorted at a time. windows_per_piece: of the longest piece.
        """
        self._longest_piece = windows_per_piece * seq_length
        self._documents, self._batch_size, self._seq_length = documents, batch_size, seq_length
        self._seed, self._device, self._rows, self._min_rows = seed, device, rows, min_rows
        self._starts_of_blocks = np.searchsorted(documents.starts, np.arange(0, len(documents), block)).tolist()
        self._windows_of_blocks: dict[int, int] = {}
        self._last_plan: tuple[tuple[int, int], _Plan] | None = None

    @cached_property
    def windows_per_epoch(self) -> int:
        """The steps of an epoch."""
        return sum(self._windows_of(block) for block in range(len(self._starts_of_blocks)))

    def window(self, step: int) -> Window:
        """Return the window of step number `step` (from 0)."""
        epoch, block, index = self._place(step)
        if self._last_plan is None or self._last_plan[0] != (epoch, block):
            generator = np.random.default_rng(derived_seed(self._seed, f"documents of block {block}", epoch))
            pieces = self._pieces(block)
            self._last_plan = (epoch, block), _Plan.of(pieces, self._batch_size, self._seq_length, generator)
        return self._window(self._last_plan[1], index)

    def _place(self, step: int) -> tuple[int, int, int]:
        """Return the epoch, the block, and the window's index in that block."""
        if len(self._starts_of_blocks) == 1:
            epoch, index = divmod(step, self._windows_of(0))
            return epoch, 0, index
        epoch = 0
        if len(self._windows_of_blocks) == len(self._starts_of_blocks):
            epoch, step = divmod(step, self.windows_per_epoch)
        while True:
            for block in self._order(epoch):
                if step < self._windows_of(block):
                    return epoch, block, step
                step -= self._windows_of(block)
            epoch, step = epoch + 1 + step // self.windows_per_epoch, step % self.windows_per_epoch

    def _order(self, epoch: int) -> list[int]:
        generator = np.random.default_rng(derived_seed(self._seed, "blocks", epoch))
        order: list[int] = generator.permutation(len(self._starts_of_blocks)).tolist()
        return order

    def _windows_of(self, block: int) -> int:
        """Return the number of windows of a block, which is the same in every epoch."""
        if block not in self._windows_of_blocks:
            windows = _groups(np.sort(self._pieces(block).lengths), self._batch_size, self._seq_length)[1]
            self._windows_of_blocks[block] = int(windows.sum())
        return self._windows_of_blocks[block]

    def _pieces(self, block: int) -> _Pieces:
        """Return the pieces of the documents that start in a block."""
        first, after = (*self._starts_of_blocks, len(self._documents.starts))[block : block + 2]
        bounds = np.append(self._documents.starts[first : after + 1], len(self._documents))[: after - first + 1]
        starts, lengths = bounds[:-1], np.diff(bounds)
        longest = self._longest_piece
        count = -(-lengths // longest)
        number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        begun = number * longest
        return _Pieces(
            np.repeat(starts, count) + begun, np.minimum(np.repeat(lengths, count) - begun, longest), number == 0
        )

    def _window(self, plan: _Plan, index: int) -> Window:
        pieces, number, count = plan.at(index)
        start, documents = number * self._seq_length, self._documents
        columns = np.arange(start, min(start + self._seq_length, int(pieces.lengths.max())))
        pieces = pieces.filled_up(self._batch_size if count > 1 else self._min_rows)
        counted = int(np.clip(pieces.lengths - start, 0, len(columns)).sum())
        shard = None if self._rows is None else Shard(len(pieces.firsts), self._rows(len(pieces.firsts)))
        if shard is not None:
            pieces = pieces.part(shard.rows)
        places = pieces.firsts[:, None] + columns
        real = columns < pieces.lengths[:, None]
        ids = documents.ids[np.where(real, places, 0)].astype(np.int64)
        before = documents.ids[np.where(real[:, 0], np.maximum(places[:, 0] - 1, 0), 0)]
        before = np.where(pieces.open_a_document & (number == 0), documents.opening, before).astype(np.int64)

        def on_device(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(self._device, non_blocking=True)

        return Window(
            inputs=on_device(np.concatenate([before[:, None], ids[:, :-1]], axis=1)),
            targets=on_device(np.where(real, ids, NOT_COUNTED)),
            begins=number == 0,
            continues=number + 1 < count,
            weight=counted / (self._batch_size * self._seq_length),
            shard=shard,
        )


@dataclass(frozen=True)
class _Pieces:
    """Pieces (P,) of documents: first character, length, and whether it is the first of its document."""

    firsts: np.ndarray
    lengths: np.ndarray
    open_a_document: np.ndarray

    def part(self, which: slice | np.ndarray) -> _Pieces:
        return _Pieces(self.firsts[which], self.lengths[which], self.open_a_document[which])

    def filled_up(self, rows: int) -> _Pieces:
        """Return at least this many pieces, with empty ones at the end."""
        missing = max(0, rows - len(self.firsts))
        return _Pieces(*(np.pad(part, (0, missing)) for part in (self.firsts, self.lengths, self.open_a_document)))


@dataclass(frozen=True)
class _Plan:
    """The groups of pieces that are read together in a block, and their order.

    pieces: sorted by group. bounds: (G + 1,) of the groups. windows: (G,) number of each group. order: (G,) in which
    groups are read. ends: (G,) cumulative number of windows, in that order.
    """

    pieces: _Pieces
    bounds: np.ndarray
    windows: np.ndarray
    order: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, pieces: _Pieces, batch_size: int, seq_length: int, generator: np.random.Generator) -> _Plan:
        # Noise does not change the number of windows that a piece takes.
        noisy = generator.random(len(pieces.lengths))
        windows_alone = -(-pieces.lengths // seq_length)
        noisy = np.where(windows_alone == 1, pieces.lengths * (1 + LENGTH_NOISE * noisy), noisy)
        bounds, windows = _groups(np.sort(pieces.lengths), batch_size, seq_length)
        order = generator.permutation(len(windows))
        return cls(pieces.part(np.lexsort((noisy, windows_alone))), bounds, windows, order, np.cumsum(windows[order]))

    def at(self, index: int) -> tuple[_Pieces, int, int]:
        """Return the group of a window of the block, the window's index within the group, and the group's windows."""
        place = int(np.searchsorted(self.ends, index, side="right"))
        group = self.order[place]
        count = int(self.windows[group])
        return self.pieces.part(slice(*self.bounds[group : group + 2])), index - int(self.ends[place]) + count, count


def _groups(lengths: np.ndarray, batch_size: int, seq_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Group pieces of ascending lengths (P,). Return bounds (G + 1,) and the number of windows (G,) of the groups.

    A group fits into a window in every order that `_Plan.of` draws: the k-th piece of that order is at most as long as
    the k-th of these with all the noise.
    """
    capacity = batch_size * seq_length
    short = int(np.searchsorted(lengths, seq_length, side="right"))
    longest = np.minimum(lengths * (1 + LENGTH_NOISE), seq_length).astype(int)
    bounds = [0]
    while bounds[-1] < short:
        first = bounds[-1]
        fit, too_many = 1, min(short - first, capacity // int(longest[first])) + 1
        while too_many - fit > 1:
            middle = (fit + too_many) // 2
            if middle * int(longest[first + middle - 1]) <= capacity:
                fit = middle
            else:
                too_many = middle
        bounds.append(first + fit)
    bounds += [*range(short + batch_size, len(lengths), batch_size), len(lengths)] if short < len(lengths) else []
    return np.array(bounds), -(-lengths[np.array(bounds[1:], int) - 1] // seq_length)
