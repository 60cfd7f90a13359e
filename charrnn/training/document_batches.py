"""Cuts documents into windows: each is read from its beginning in a zero state, with others of about its length beside.

A document of up to T characters is a row of one window, beside as many others as there is room for in B · T places, the
empty ones after their ends among them. Of longer ones, B are read side by side, window after window, with the state
carried, until the longest of them ends. What is left of a row once its document has ended is not counted. Very long
documents are read in pieces, each from a zero state, as streams of one text are.

An epoch goes through the text block by block, in an order drawn anew, so that no more than one block has to be sorted
at a time. Which characters a step reads is a function of the seed and the step's number alone.
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

BLOCK = 1 << 23  # characters of a text whose documents are sorted at once
WINDOWS_IN_A_PIECE = 256
MIXTURE = 0.25  # how much longer a document may seem when they are sorted, so that not always the same are neighbors


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
    ):
        """rows: which of so many rows are read here, where others read the rest. min_rows: that a window has, some
        of them empty where there are not enough documents."""
        self._documents, self._batch_size, self._seq_length = documents, batch_size, seq_length
        self._seed, self._device, self._rows, self._min_rows = seed, device, rows, min_rows
        self._starts_of_blocks = np.searchsorted(documents.starts, np.arange(0, len(documents), BLOCK)).tolist()
        self._windows_of_blocks: dict[int, int] = {}
        self._last_epoch: tuple[int, np.ndarray] | None = None
        self._last_plan: tuple[tuple[int, int], _Plan] | None = None

    @cached_property
    def windows_per_epoch(self) -> int:
        return sum(self._windows_of(block) for block in range(len(self._starts_of_blocks)))

    def window(self, step: int) -> Window:
        """What step number `step` (from 0) reads."""
        epoch, block, index = self._place(step)
        if self._last_plan is None or self._last_plan[0] != (epoch, block):
            order = np.random.default_rng(derived_seed(self._seed, f"documents of block {block}", epoch))
            pieces = self._pieces(block)
            self._last_plan = (epoch, block), _Plan.of(pieces, self._batch_size, self._seq_length, order)
        return self._window(self._last_plan[1], index)

    def _place(self, step: int) -> tuple[int, int, int]:
        """Epoch, block, and the window's number in that block."""
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
        order = np.random.default_rng(derived_seed(self._seed, "blocks", epoch))
        return order.permutation(len(self._starts_of_blocks)).tolist()

    def _windows_of(self, block: int) -> int:
        """Known from lengths alone: the same in every epoch."""
        if block not in self._windows_of_blocks:
            windows = _groups(np.sort(self._pieces(block).lengths), self._batch_size, self._seq_length)[1]
            self._windows_of_blocks[block] = int(windows.sum())
        return self._windows_of_blocks[block]

    def _pieces(self, block: int) -> _Pieces:
        """What is read without a break of the documents that begin in a block."""
        first, after = (*self._starts_of_blocks, len(self._documents.starts))[block : block + 2]
        bounds = np.append(self._documents.starts[first : after + 1], len(self._documents))[: after - first + 1]
        starts, lengths = bounds[:-1], np.diff(bounds)
        longest = WINDOWS_IN_A_PIECE * self._seq_length
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
    """Stretches (P,) of a text: first character, length, and whether it is the first of its document."""

    firsts: np.ndarray
    lengths: np.ndarray
    open_a_document: np.ndarray

    def part(self, which: slice | np.ndarray) -> _Pieces:
        return _Pieces(self.firsts[which], self.lengths[which], self.open_a_document[which])

    def filled_up(self, rows: int) -> _Pieces:
        """At least so many, with empty ones after those there are."""
        missing = max(0, rows - len(self.firsts))
        return _Pieces(*(np.pad(part, (0, missing)) for part in (self.firsts, self.lengths, self.open_a_document)))


@dataclass(frozen=True)
class _Plan:
    """Which pieces are read side by side in a block, and when.

    pieces: in an order in which those side by side are neighbors. bounds: (G + 1,) of these groups. windows: (G,)
    that each takes. order: (G,) in which they are read. ends: (G,) windows that are over when the k-th has been.
    """

    pieces: _Pieces
    bounds: np.ndarray
    windows: np.ndarray
    order: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, pieces: _Pieces, batch_size: int, seq_length: int, draw: np.random.Generator) -> _Plan:
        # Within what takes as many windows the order is free: the number of windows does not change.
        seeming = draw.random(len(pieces.lengths))
        windows_alone = -(-pieces.lengths // seq_length)
        seeming = np.where(windows_alone == 1, pieces.lengths * (1 + MIXTURE * seeming), seeming)
        bounds, windows = _groups(np.sort(pieces.lengths), batch_size, seq_length)
        order = draw.permutation(len(windows))
        return cls(pieces.part(np.lexsort((seeming, windows_alone))), bounds, windows, order, np.cumsum(windows[order]))

    def at(self, index: int) -> tuple[_Pieces, int, int]:
        """The pieces that a window of the block reads, its number among their windows, and how many those are."""
        place = int(np.searchsorted(self.ends, index, side="right"))
        group = self.order[place]
        count = int(self.windows[group])
        return self.pieces.part(slice(*self.bounds[group : group + 2])), index - int(self.ends[place]) + count, count


def _groups(lengths: np.ndarray, batch_size: int, seq_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of ascending lengths (P,) → bounds (G + 1,) of those read side by side, and windows (G,) they take.

    In any order that `_Plan.of` draws, those between two bounds have room beside each other: in the k-th place of it
    stands none that seems longer, let alone is longer, than the k-th of these can seem.
    """
    room = batch_size * seq_length
    short = int(np.searchsorted(lengths, seq_length, side="right"))
    longest = np.minimum(lengths * (1 + MIXTURE), seq_length).astype(int)
    bounds = [0]
    while bounds[-1] < short:
        first = bounds[-1]
        fit, too_many = 1, min(short - first, room // int(longest[first])) + 1
        while too_many - fit > 1:
            middle = (fit + too_many) // 2
            if middle * int(longest[first + middle - 1]) <= room:
                fit = middle
            else:
                too_many = middle
        bounds.append(first + fit)
    bounds += [*range(short + batch_size, len(lengths), batch_size), len(lengths)] if short < len(lengths) else []
    return np.array(bounds), -(-lengths[np.array(bounds[1:], int) - 1] // seq_length)
