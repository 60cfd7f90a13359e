"""Scores of every cell for every property, and the best scores that any cell reaches for meaningless labels.

Two permutation baselines: the segments of a property's values in another order, and its runs in another order.

Shapes: N characters, P properties, S signals, C cells, R responses (see `_responses`), V characters of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.discovery import stages
from charrnn.discovery.activations import Recordings, cell_groups
from charrnn.discovery.checked import CellName, Correlation
from charrnn.discovery.competition import SegmentSums
from charrnn.discovery.confounds import Moments, unique_r_squared
from charrnn.discovery.detectors import find_detectors
from charrnn.discovery.permutations import episodes, permutation_null, pseudo_label_null, segment_count
from charrnn.discovery.ranks import Ranked, ranked
from charrnn.discovery.statistics import permutable_rank_correlation, rank_correlation
from charrnn.discovery.study import Study
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN
from charrnn.model.recurrences.base import Recurrence
from charrnn.progress import StageProgress, part
from charrnn.properties.catalog import Kind

MIN_SEGMENTS = 20


@dataclass(frozen=True, eq=False)
class Scores:
    """Rank correlations of all cells.

    select, confirm: (P, S, C) on each half, within the current character. comparable: as `confirm`, measured as the
    permutation baselines are. unique, unique_select: unique R² (P, R, C) on CONFIRM, and on SELECT, which it is fitted
    on. segment_sums: of `select`, for resamples of it. permuted, pseudo: the best |rank correlation| of any cell for
    permuted segments (P, permutations) and for pseudo-labels (P, pseudo_labels). segments: how many segments were
    permuted, (P,). detectors: cells that react to one character → its id.
    """

    cells: tuple[Cell, ...]
    signals: tuple[str, ...]
    select: np.ndarray
    confirm: np.ndarray
    comparable: np.ndarray
    unique: np.ndarray
    unique_select: np.ndarray
    segment_sums: SegmentSums
    permuted: np.ndarray
    pseudo: np.ndarray
    segments: list[int]
    detectors: dict[Cell, int]
    bits_per_character: float

    @classmethod
    def joined(cls, groups: Sequence[Scores]) -> Scores:
        """Return the scores of groups of cells as those of all cells."""
        by_cell: dict[str, Any] = {
            name: np.concatenate([getattr(one, name) for one in groups], axis=2)
            for name in ("select", "confirm", "comparable", "unique", "unique_select")
        }
        return replace(
            groups[0],
            cells=tuple(cell for one in groups for cell in one.cells),
            segment_sums=SegmentSums.joined([one.segment_sums for one in groups]),
            permuted=np.maximum.reduce([one.permuted for one in groups]),
            pseudo=np.maximum.reduce([one.pseudo for one in groups]),
            detectors={cell: character for one in groups for cell, character in one.detectors.items()},
            **by_cell,
        )

    def response(self, signal: int, kind: str) -> int:
        """Return the index in `unique` of the response that a property of this kind explains.

        A graded property explains how much a cell holds, c; a binary one how far it is switched, tanh(c).
        """
        has_tanh = self.unique.shape[1] > len(self.signals)
        return len(self.signals) if has_tanh and signal == 0 and kind == "binary" else signal


@dataclass(frozen=True)
class CellSummary:
    """The property that a cell fits best on SELECT, and the rank correlation on SELECT and on CONFIRM."""

    cell: CellName
    signal: str
    property_name: str
    kind: Kind
    selected: Correlation
    rank_correlation: Correlation


def score_cells(recordings: Recordings) -> Scores:
    """Score every cell, in groups whose recordings fit into memory."""
    orders = _segment_orders(recordings.study)
    groups = cell_groups(recordings.network, recordings.study)
    scored = []
    for turn, cells in enumerate(groups):
        scored.append(_score_group(recordings, cells, orders, part(recordings.progress, turn, len(groups))))
    return Scores.joined(scored)


def _score_group(
    recordings: Recordings, cells: Sequence[Cell], orders: Sequence[np.ndarray], progress: StageProgress
) -> Scores:
    """Score a group of cells. Large arrays are released as early as possible."""
    network, study = recordings.network, recordings.study
    signals = network.recurrence.state_signals
    values = recordings.read(cells, stages.READING, progress, bits=True)
    select, confirm, bits_per_character = values.select, values.confirm, values.bits_per_character
    del values
    shape = (len(study.properties), len(signals), len(cells))
    unique_select, unique = _unique(study, network.recurrence, select, confirm, len(cells))
    progress(stages.COMPARING, 0.5)
    detectors = _detectors(network, study, cells, select, confirm)
    (within,) = ranked(select, study.select.by_character)
    on_select = rank_correlation(within, study.select.labels)
    segment_sums = SegmentSums.of(within, study.select.labels, len(signals))
    del select, within
    (within,) = ranked(confirm, study.confirm.by_character)
    del confirm
    on_confirm = rank_correlation(within, study.confirm.labels)
    progress(stages.COMPARING, 1.0)
    permuted, pseudo = _permutation_baselines(study, within, orders, progress)
    return Scores(
        cells=tuple(cells),
        signals=signals,
        select=on_select.reshape(shape),
        confirm=on_confirm.reshape(shape),
        comparable=permutable_rank_correlation(within, study.confirm.permutable).reshape(shape),
        unique=unique,
        unique_select=unique_select,
        segment_sums=segment_sums,
        permuted=permuted,
        pseudo=pseudo,
        segments=[order.shape[1] for order in orders],
        detectors=detectors,
        bits_per_character=bits_per_character or 0.0,
    )


def _unique(study: Study, recurrence: Recurrence, select: np.ndarray, confirm: np.ndarray, cells: int) -> np.ndarray:
    """Return the unique R² of every property on SELECT and on CONFIRM, (2, P, R, cells); 0 of control labels."""
    halves = [
        (half.design, Moments.of(half.design, *_responses(recurrence, values)))
        for half, values in ((study.select, select), (study.confirm, confirm))
    ]
    shares = unique_r_squared(halves, [study.properties[k].family for k in study.meaningful])
    unique = np.zeros((len(halves), len(study.properties), shares.shape[2] // cells, cells))
    unique[:, list(study.meaningful)] = shares.reshape(*shares.shape[:2], -1, cells)
    return unique


def _detectors(
    network: CharRNN, study: Study, cells: Sequence[Cell], select: np.ndarray, confirm: np.ndarray
) -> dict[Cell, int]:
    """Return the cells that react to one character, by the values (N/2, S · C) of both halves."""
    detectors: dict[Cell, int] = {}
    for place, signal in enumerate(network.recurrence.state_signals):
        columns = slice(place * len(cells), (place + 1) * len(cells))
        halves = [network.recurrence.displayed(signal, half[:, columns]) for half in (select, confirm)]
        found = find_detectors(study, halves[0], halves[1], len(network.embedding.weight))
        detectors = {cells[column]: character for column, character in found.items()} | detectors
    return detectors


def segments_to_permute(values: np.ndarray) -> int:
    """Return into how many segments values (N/2,) are cut for the permutation baseline: 20 to 40.

    A segment is five times as long as the longest run. Where that leaves fewer than 20 segments, the 95th percentile of
    run lengths replaces the longest.
    """
    lengths = episodes(values)
    number = segment_count(int(lengths.max()), len(values))
    if number >= MIN_SEGMENTS:
        return number
    return max(MIN_SEGMENTS, segment_count(int(np.quantile(lengths, 0.95)), len(values)))


def _segment_orders(study: Study) -> list[np.ndarray]:
    """Return permutations of the segments of each property, (permutations, segments) each.

    Properties with equally many segments share them.
    """
    draw = np.random.default_rng(study.effort.seed)
    segments = [segments_to_permute(values) for values in study.confirm.values]
    orders = {
        number: draw.permuted(np.tile(np.arange(number), (study.effort.permutations, 1)), axis=1)
        for number in sorted(set(segments))
    }
    return [orders[number] for number in segments]


def _permutation_baselines(
    study: Study, within: Ranked, orders: Sequence[np.ndarray], progress: StageProgress
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best scores of these columns for permuted segments and for pseudo-labels; 0 if not searched for."""
    effort = study.effort
    permuted = np.zeros((len(study.properties), effort.permutations))
    pseudo = np.zeros((len(study.properties), effort.pseudo_labels))
    for place, k in enumerate(study.searched):
        progress(stages.CHANCE, place / len(study.searched))
        labels, values = study.confirm.permutable.only(k), study.confirm.values[k]
        permuted[k] = permutation_null(within, labels, orders[k])[0]
        pseudo[k] = pseudo_label_null(within, values, labels.numbers[0], effort.pseudo_labels, effort.seed + k)
    progress(stages.CHANCE, 1.0)
    return permuted, pseudo


def _responses(recurrence: Recurrence, values: np.ndarray) -> list[np.ndarray]:
    """Return the regressions' responses: every signal (N, S · cells), and tanh(c) where the recurrence has c."""
    signals = recurrence.state_signals
    if signals[0] not in recurrence.tanh_signals:
        return [values]
    return [values, np.tanh(values[:, : values.shape[1] // len(signals)])]


def summarize_cells(study: Study, scores: Scores) -> tuple[CellSummary, ...]:
    """Return the property that each cell fits best."""
    searched = [k for k in study.searched if not study.properties[k].control]
    summaries, fits = [], np.abs(scores.select[searched])
    for place, cell in enumerate(scores.cells):
        table = fits[:, :, place]
        row, signal = np.unravel_index(int(table.argmax()), table.shape)
        k = searched[int(row)]
        summaries.append(
            CellSummary(
                cell=str(cell),
                signal=scores.signals[signal],
                property_name=study.properties[k].title,
                kind=study.properties[k].kind,
                selected=float(scores.select[k, signal, place]),
                rank_correlation=float(scores.confirm[k, signal, place]),
            )
        )
    return tuple(summaries)
