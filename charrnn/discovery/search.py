"""The search for cells that follow something: chosen on one half of a text, judged on the other, against six rivals.

Almost any cell goes along with almost any property of the same text, so that the best of all correlations says nothing.
A name is earned (see `naming`) by a score on text that did not select the cell, better than labels moved to other
places (1), than labels without meaning (2), than untrained networks (3), than the last five characters (4), and not
explained by other properties (5); labels that mean nothing go through the same mill and must come out nameless (6).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.discovery.confounds import Design, Moments, unique_shares
from charrnn.discovery.findings import CellSummary, Findings
from charrnn.discovery.naming import RELATED, Evidence
from charrnn.discovery.statistics import (
    Labels,
    Ranked,
    Strata,
    auc,
    balanced_accuracy,
    best_threshold,
    bootstrap_weights,
    episodes,
    holm,
    interval,
    movable_rank_correlation,
    p_value,
    pearson,
    permutation_null,
    pseudo_null,
    rank_correlation,
    ranked,
    resampled_rank_correlation,
    segment_count,
)
from charrnn.errors import CharrnnError
from charrnn.inspection.trace import Cell, all_cells, trace_streams
from charrnn.model.network import CharRNN
from charrnn.properties.catalog import CATALOG, Property, Text
from charrnn.settings import SEARCH_SEED, SEARCHED_CHARACTERS
from charrnn.text.contexts import Contexts
from charrnn.text.encoded_text import EncodedText
from charrnn.units import NATS_PER_BIT

FEWEST_CHARACTERS = 10_000
FEWEST_EPISODES = 30
FEWEST_SEGMENTS = 20
PREVALENCE = (0.01, 0.99)
CANDIDATES = 3  # of each property that go from SELECT to CONFIRM
REACTS = 0.95  # AUC from which a cell counts as the detector of a character
INTERVAL_SEGMENTS = 40
NUMBERS_AT_A_TIME = 1 << 27
CLEARLY = 0.005  # by how much a property must fit a cell better than its same_family
KGRAM = 5  # characters of the rival that a cell has to beat
UNTRAINED_THINNING = 3  # every third block of SELECT chooses the best cell of an untrained network

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Effort:
    """How much is spent. characters: of the text, at most. seed: of everything random."""

    characters: int = SEARCHED_CHARACTERS
    permutations: int = 10_000
    pseudo_labels: int = 100
    resamples: int = 2_000
    untrained: int = 5
    seed: int = SEARCH_SEED


@dataclass(frozen=True)
class Plan:
    """Contiguous blocks of a text, in turn SELECT and CONFIRM, each after a gap in which the network warms up.

    starts: the first character (number,) of each block. block, gap: characters.
    """

    starts: np.ndarray
    block: int
    gap: int

    @classmethod
    def of(cls, length: int) -> Plan:
        """Twenty blocks with gaps of 1,000 characters; fewer and narrower ones in a short text.

        Raises CharrnnError where a text has fewer than 10,000 characters.
        """
        if length < FEWEST_CHARACTERS:
            raise CharrnnError(
                f"a search needs a text of {FEWEST_CHARACTERS:,} characters or more, and this one has {length:,}",
                "give a longer one with --text",
            )
        number = 20 if length >= 60_000 else 10
        gap = min(1000, length // (3 * number))
        block = length // number - gap
        return cls(gap + np.arange(number) * (gap + block), block, gap)

    def select(self, values: np.ndarray) -> np.ndarray:
        """Of values (N, …) at each character those of the SELECT half, one block after the other."""
        return self._blocks(values, 0)

    def confirm(self, values: np.ndarray) -> np.ndarray:
        """As `select`, of the CONFIRM half."""
        return self._blocks(values, 1)

    def _blocks(self, values: np.ndarray, first: int) -> np.ndarray:
        return np.concatenate([values[start : start + self.block] for start in self.starts[first::2]])

    def streams(self, ids: np.ndarray) -> np.ndarray:
        """The blocks with their gaps, one beside the other."""
        return np.stack([ids[start - self.gap : start + self.block] for start in self.starts])


@dataclass(frozen=True)
class Half:
    """One half of the text as the search needs it. labels: ranked within characters; movable: over all positions."""

    values: list[np.ndarray]
    labels: Labels
    movable: Labels
    ids: np.ndarray
    by_character: Strata
    design: Design


def discover(
    network: CharRNN,
    read: EncodedText,
    text: Text,
    searched: Sequence[Property],
    *,
    symbols: Sequence[str],
    training: tuple[np.ndarray, Text] | None = None,
    effort: Effort | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Looks for cells that follow one of these properties.

    read: ids (N,), or documents. text: the same as characters, one for one. searched: what is looked for; the
    rest of the catalog still serves as confounds, and the controls always take part. symbols: id → sign. training:
    ids and text that the k-gram rival is fitted on; None is the SELECT half. progress: called with a stage's name and
    the share of it that is done.

    Raises CharrnnError where the text is too short, or none of the properties searched for can be tested in it.
    """
    effort, progress = effort or Effort(), progress or (lambda *_: None)
    return _Search(network, read, text, searched, symbols, training, effort, progress).run()


class _Search:
    def __init__(
        self,
        network: CharRNN,
        passage: EncodedText,
        text: Text,
        searched: Sequence[Property],
        symbols: Sequence[str],
        training: tuple[np.ndarray, Text] | None,
        effort: Effort,
        progress: Progress,
    ):
        if len(text) != len(passage):
            raise ValueError(f"{len(passage)} ids and {len(text)} characters are not one for one")
        self.network, self.symbols, self.training = network, symbols, training
        self.effort, self.progress = effort, progress
        length = min(len(passage), effort.characters)
        self.passage = passage[:length]
        self.ids = self.passage.ids
        self.text = text if length == len(text) else Text(text.characters[:length], text.language)
        self.plan = Plan.of(length)
        self.signals = list(network.recurrence.state_signals)
        self.cells = all_cells(network)
        self.not_testable: dict[str, str] = {}
        self._choose_properties(searched)

    def _choose_properties(self, searched: Sequence[Property]) -> None:
        """The testable properties, those searched for first, and both halves of the text."""
        self.progress("properties", 0)
        names = [p.name for p in searched]
        others = [p for p in CATALOG.values() if p.name not in names]
        self.properties, values = [], []
        for one in [*searched, *others]:
            wanted = one.name in names
            if self.text.kind not in one.applies:
                if wanted:
                    self.not_testable[one.title] = "not a property of this kind of text"
                continue
            found = one.of(self.text)
            reason = next((r for half in (self.plan.select, self.plan.confirm) if (r := untestable(half(found)))), None)
            if reason is None:
                self.properties.append(one)
                values.append(found)
            elif wanted:
                self.not_testable[one.title] = reason
        self.asked = [k for k, one in enumerate(self.properties) if one.name in names or one.control]
        if all(self.properties[k].control for k in self.asked):
            raise CharrnnError(
                "none of the properties can be tested in this text: "
                + "; ".join(f"{name}: {reason}" for name, reason in self.not_testable.items()),
                "give a longer text, or one in which they occur",
            )
        before = np.concatenate([self.ids[:1], self.ids[:-1]])
        meaningful = [k for k, one in enumerate(self.properties) if not one.control]
        self.meaningful = meaningful
        halves: list[Half] = []
        for take in (self.plan.select, self.plan.confirm):
            own = [take(one) for one in values]
            shown = take(self.ids)
            design = Design.of([own[k] for k in meaningful], shown, take(before), halves[0].design if halves else None)
            strata = Strata.by(shown)
            movable = Labels.of(own, Strata.single(len(shown)))
            halves.append(Half(own, Labels.of(own, strata), movable, shown, strata, design))
        self.selecting, self.confirming = halves

    def run(self) -> Findings:
        self._score_all_cells()
        candidates = self._candidates()
        rivals = self._kgram(sorted({k for k, _, _ in candidates}))
        untrained = self._untrained()
        evidence = self._evidence(candidates, rivals, untrained)
        return Findings(
            cells=len(self.cells),
            bits_per_character=self.bits,
            characters=len(self.ids),
            half=len(self.confirming.ids),
            fitted_on="training text" if self.training is not None else "the half that selects",
            seed=self.effort.seed,
            testable=tuple(self.properties[k].title for k in self.asked if not self.properties[k].control),
            not_testable=self.not_testable,
            controls=tuple(self.properties[k].title for k in self.asked if self.properties[k].control),
            evidence=tuple(evidence),
            reacts=self.reacts,
            summaries=tuple(self._summaries()),
        )

    # Reading

    def _read(
        self,
        network: CharRNN,
        stage: str,
        cells: Sequence[Cell],
        signals: Sequence[str],
        bits: bool = False,
        every: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values of both halves (N/2, signals × cells), signal by signal; of SELECT every so many blocks only."""
        plan = self.plan
        rows = np.arange(len(plan.starts))
        chosen, judged = rows[0::2][::every], rows[1::2]
        order = np.concatenate([chosen, judged])
        streams = self.passage.streams(lambda values: plan.streams(values)[order])
        parts = (slice(0, len(chosen)), slice(len(chosen), None))
        width = len(signals) * len(cells)
        halves = [np.empty((len(part), plan.block, width), np.float32) for part in (chosen, judged)]
        nats, counted = 0.0, 0
        for chunk in trace_streams(network, streams, signals=signals, cells=cells, predictions=bits):
            size = chunk.signals[signals[0]].shape[1]
            start, stop = chunk.start - plan.gap, chunk.start - plan.gap + size
            skipped = max(0, -start)
            for place, name in enumerate(signals):
                columns = slice(place * len(cells), (place + 1) * len(cells))
                for part, half in zip(parts, halves, strict=True):
                    half[:, max(0, start) : max(0, stop), columns] = chunk.signals[name][part, skipped:]
            if bits and chunk.start + 1 < len(streams):
                following = streams[chunk.start + 1 : chunk.start + 1 + size]
                ids = following.ids.astype(np.int64)
                logs = np.take_along_axis(chunk.log_probabilities[:, : len(following)], ids[:, :, None], 2)[:, :, 0]
                told = ~following.begins[:, skipped:]  # the end of one document tells nothing of the next
                nats -= float(logs[:, skipped:][told].sum())
                counted += int(told.sum())
            self.progress(stage, min(1.0, (chunk.start + size) / len(streams)))
        if bits:
            self.bits = nats / max(counted, 1) / NATS_PER_BIT
        return halves[0].reshape(-1, width), halves[1].reshape(-1, width)

    def _passes(self, network: CharRNN, signals: Sequence[str]) -> Iterator[list[Cell]]:
        """The cells in groups whose values fit into memory."""
        size = max(1, NUMBERS_AT_A_TIME // (len(self.ids) * len(signals)))
        cells = all_cells(network)
        return (cells[start : start + size] for start in range(0, len(cells), size))

    # Scores of all cells

    def _score_all_cells(self) -> None:
        """SELECT and CONFIRM strengths of every cell, signal and property; both nulls; regressions; reactions."""
        draw = np.random.default_rng(self.effort.seed)
        halves = (self.selecting, self.confirming)
        self.segments = [_segments(self.confirming.values[k]) for k in range(len(self.properties))]
        orders = {
            number: draw.permuted(np.tile(np.arange(number), (self.effort.permutations, 1)), axis=1)
            for number in sorted(set(self.segments))
        }
        self.permuted = np.zeros((len(self.properties), self.effort.permutations))
        self.pseudo = np.zeros((len(self.properties), self.effort.pseudo_labels))
        found: list[list[np.ndarray]] = [[], [], [], []]
        moments: tuple[list[Moments], list[Moments]] = ([], [])
        self.reacts = {}
        passes = list(self._passes(self.network, self.signals))
        for turn, cells in enumerate(passes):
            stage = "reading" if len(passes) == 1 else f"reading {turn + 1}/{len(passes)}"
            select, confirm = self._read(self.network, stage, cells, self.signals, bits=turn == 0)
            for half, values, kept in zip(halves, (select, confirm), moments, strict=True):
                kept.append(Moments.of(half.design, _responses(values, self.signals)))
            self.progress("ranking", 0.0)
            means = _character_means(select, self.selecting.by_character)
            (chosen,) = ranked(select, self.selecting.by_character)
            found[0].append(rank_correlation(chosen, self.selecting.labels))
            del select, chosen
            plain, within = ranked(confirm, Strata.single(len(confirm)), self.confirming.by_character)
            del confirm
            found[1].append(rank_correlation(within, self.confirming.labels))
            found[2].append(rank_correlation(plain, self.confirming.movable))
            found[3].append(movable_rank_correlation(within, self.confirming.movable))
            self._note_reactions(cells, means, plain)
            del plain
            self._chance(within, orders)
        self.selected, self.confirmed, self.plain, self.comparable = (
            self._by_cell(np.concatenate(parts, axis=1), passes) for parts in found
        )
        shares = unique_shares(
            self.selecting.design,
            Moments.joined(moments[0]),
            self.confirming.design,
            Moments.joined(moments[1]),
            [self.properties[k].family for k in self.meaningful],
        )
        self.unique = np.zeros((len(self.properties), shares.shape[1] // len(self.cells), len(self.cells)))
        self.unique[self.meaningful] = self._by_cell(shares, passes)

    def _by_cell(self, joined: np.ndarray, passes: list[list[Cell]]) -> np.ndarray:
        """(P, columns) in the order they were read → (P, signals, cells)."""
        parts, start = [], 0
        each = joined.shape[1] // len(self.cells)
        for cells in passes:
            width = len(cells) * each
            parts.append(joined[:, start : start + width].reshape(len(joined), each, len(cells)))
            start += width
        return np.concatenate(parts, axis=2)

    def _chance(self, within: Ranked, orders: dict[int, np.ndarray]) -> None:
        """Raises both nulls to the best of these columns."""
        half = self.confirming
        for place, k in enumerate(self.asked):
            self.progress("chance", place / len(self.asked))
            labels, number = half.movable.only(k), self.segments[k]
            null = permutation_null(within, labels, number, orders[number])[0]
            np.maximum(self.permuted[k], null, out=self.permuted[k])
            null = pseudo_null(
                within, half.values[k], labels.numbers[0], self.effort.pseudo_labels, self.effort.seed + k
            )
            np.maximum(self.pseudo[k], null, out=self.pseudo[k])
        self.progress("chance", 1.0)

    def _note_reactions(self, cells: Sequence[Cell], means: np.ndarray, plain: Ranked) -> None:
        """Cells that are detectors of one character, chosen by means on SELECT (V, U), judged by AUC on CONFIRM."""
        strata = self.confirming.by_character
        sizes = strata.sizes.astype(np.float64)
        names = _names_of(strata, self.confirming.ids)
        sums = strata.sums(plain.ranks)
        areas = {}
        for place, character in enumerate(names):
            spread_of_it = sizes[place] * (len(strata.of) - sizes[place]) / len(strata.of)
            areas[character] = auc(np.abs(2 * sums[:, place] / max(spread_of_it, 1e-9)))
        chosen = _names_of(self.selecting.by_character, self.selecting.ids)
        for column in range(len(plain.ranks)):
            character = chosen[int(np.argmax(means[:, column]))]
            cell = str(cells[column % len(cells)])
            if character in areas and areas[character][column] >= REACTS:
                self.reacts.setdefault(cell, self.symbols[character])

    # Candidates and rivals

    def _candidates(self) -> list[tuple[int, int, int]]:
        """(property, signal, cell): of each property the best three cells on SELECT, each by its better signal."""
        chosen = []
        for k in self.asked:
            best = np.abs(self.selected[k])
            signal = best.argmax(axis=0)
            for cell in np.argsort(-best.max(axis=0), kind="stable")[:CANDIDATES]:
                chosen.append((k, int(signal[cell]), int(cell)))
        return chosen

    def _kgram(self, wanted: Sequence[int]) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each property strengths of the k-grams (8,) within characters and over all, and the 5-gram's values."""
        plan = self.plan
        if self.training is None:
            ids, text = self.selecting.ids, None
        else:
            ids, text = self.training
        contexts = Contexts(ids, self.ids)
        single = Strata.single(len(self.confirming.ids))
        found = {}
        for place, k in enumerate(wanted):
            self.progress("last characters", place / len(wanted))
            values = self.selecting.values[k] if text is None else self.properties[k].of(text)
            columns = np.stack([plan.confirm(one) for one in contexts.expectations(values)], axis=1)
            within, plain = ranked(columns.astype(np.float32), self.confirming.by_character, single)
            own, movable = self.confirming.labels.only(k), self.confirming.movable.only(k)
            found[k] = (rank_correlation(within, own)[0], rank_correlation(plain, movable)[0], columns[:, KGRAM - 1])
        self.progress("last characters", 1.0)
        return found

    def _untrained(self) -> dict[int, tuple[float, np.ndarray]]:
        """For each property rank_correlation and CONFIRM values (N/2,) of the best cell of networks that never learned."""
        best: dict[int, tuple[float, np.ndarray]] = {}
        networks = list(_unlearned(self.network, self.effort))
        strata = Strata.by(self._subsampled(self.selecting.ids))
        labels = Labels.of([self._subsampled(one) for one in self.selecting.values], strata)
        for turn, network in enumerate(networks):
            chosen: dict[int, tuple[float, np.ndarray]] = {}
            for cells in self._passes(network, self.signals):
                stage = f"untrained {turn + 1}/{len(networks)}"
                select, confirm = self._read(network, stage, cells, self.signals, every=UNTRAINED_THINNING)
                (scores,) = (rank_correlation(one, labels) for one in ranked(select, strata))
                for k in self.asked:
                    column = int(np.abs(scores[k]).argmax())
                    if k not in chosen or abs(scores[k, column]) > abs(chosen[k][0]):
                        chosen[k] = (float(scores[k, column]), np.sign(scores[k, column]) * confirm[:, column])
            (judged,) = ranked(np.stack([chosen[k][1] for k in self.asked], axis=1), self.confirming.by_character)
            strengths = rank_correlation(judged, self.confirming.labels)
            for place, k in enumerate(self.asked):
                if k not in best or strengths[k, place] > best[k][0]:
                    best[k] = (float(strengths[k, place]), chosen[k][1])
        return best

    def _subsampled(self, values: np.ndarray) -> np.ndarray:
        """Of values on SELECT (N/2,) those of the blocks that untrained networks are shown."""
        return values.reshape(-1, self.plan.block)[::UNTRAINED_THINNING].reshape(-1)

    # Evidence

    def _evidence(
        self,
        candidates: Sequence[tuple[int, int, int]],
        rivals: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]],
        untrained: dict[int, tuple[float, np.ndarray]],
    ) -> list[Evidence]:
        gate = self.network.recurrence.memory_gate
        cells = sorted({self.cells[cell] for _, _, cell in candidates})
        signals = [*self.signals, *([gate] if gate else [])]
        select, confirm = self._read(self.network, "candidates", cells, signals)
        at = {(signal, cell): s * len(cells) + c for s, signal in enumerate(signals) for c, cell in enumerate(cells)}
        p_values = np.array(
            [p_value(abs(self.comparable[k, signal, cell]), self.permuted[k]) for k, signal, cell in candidates]
        )
        found = []
        for place, (k, signal, cell) in enumerate(candidates):
            self.progress("intervals", place / len(candidates))
            column = at[self.signals[signal], self.cells[cell]]
            carried = confirm[:, at[gate, self.cells[cell]]] if gate else None
            found.append(
                self._evidence_of(
                    k,
                    signal,
                    cell,
                    (select[:, column], confirm[:, column]),
                    carried,
                    rivals[k],
                    untrained[k],
                    (p_values[place], holm(p_values)[place]),
                )
            )
        self.progress("intervals", 1.0)
        return found

    def _evidence_of(
        self,
        k: int,
        signal: int,
        cell: int,
        columns: tuple[np.ndarray, np.ndarray],
        carried: np.ndarray | None,
        rival: tuple[np.ndarray, np.ndarray, np.ndarray],
        untrained: tuple[float, np.ndarray],
        p: tuple[float, float],
    ) -> Evidence:
        one, truth = self.properties[k], self.confirming.values[k]
        sign = 1 if self.selected[k, signal, cell] >= 0 else -1
        along = [sign * column for column in columns]
        reached = sign * float(self.confirmed[k, signal, cell])
        binary = one.kind == "binary"
        intervals: dict[str, tuple[float, float] | None] = dict.fromkeys(
            ("interval", "plain_interval", "beyond_kgram", "beyond_untrained")
        )
        if reached >= (2 * RELATED - 1 if binary else RELATED):
            intervals = self._intervals(truth, along[1], rival[2], untrained[1])
        rivals = self._rivals(k, signal, cell)
        threshold = accuracy = None
        if binary:
            threshold, _ = best_threshold(along[0], self.selecting.values[k])
            accuracy = balanced_accuracy(along[1], truth, threshold)
        return Evidence(
            property_name=one.title,
            kind=one.kind,
            cell=str(self.cells[cell]),
            signal=self.signals[signal],
            sign=sign,
            selected=sign * float(self.selected[k, signal, cell]),
            rank_correlation=reached,
            plain=sign * float(self.plain[k, signal, cell]),
            **intervals,
            kgram=tuple(rival[0].tolist()),
            kgram_plain=tuple(rival[1].tolist()),
            untrained=untrained[0],
            p=float(p[0]),
            p_holm=float(p[1]),
            segments=self.segments[k],
            comparable=sign * float(self.comparable[k, signal, cell]),
            pseudo=float(np.quantile(self.pseudo[k], 0.95)),
            unique=float(self.unique[k, self._response(k, signal), cell]),
            rival=rivals[0],
            rival_unique=rivals[1],
            better_in_family=rivals[2],
            pearson=float(pearson(columns[1][:, None], truth)[0]) if one.counter else None,
            threshold=None if threshold is None else sign * threshold,
            balanced_accuracy=accuracy,
            mean_inside=float(columns[1][truth].mean()) if binary else None,
            mean_outside=float(columns[1][~truth].mean()) if binary else None,
            memory=None if carried is None else memory(carried),
            episodes=len(episodes(truth)),
        )

    def _intervals(
        self, truth: np.ndarray, column: np.ndarray, kgram: np.ndarray, untrained: np.ndarray
    ) -> dict[str, tuple[float, float] | None]:
        """Intervals of strengths, and of differences of strengths over the same draws."""
        length = len(truth)
        segments = np.arange(length) * INTERVAL_SEGMENTS // length
        weights = bootstrap_weights(INTERVAL_SEGMENTS, self.effort.resamples, self.effort.seed)
        strata = self.confirming.by_character
        own, five, unlearned = (
            resampled_rank_correlation(one, truth, strata, segments, weights) for one in (column, kgram, untrained)
        )
        plain = resampled_rank_correlation(column, truth, Strata.single(length), segments, weights)
        return {
            "interval": interval(own),
            "plain_interval": interval(plain),
            "beyond_kgram": interval(own - five),
            "beyond_untrained": interval(own - unlearned),
        }

    def _rivals(self, k: int, signal: int, cell: int) -> tuple[str | None, float, str | None]:
        """The property of another family that explains most of a cell, what it explains, and one of its own family that
        fits the cell better than property k: by score where both are of a kind, else by variance explained."""
        mine = self.properties[k]
        unique = self.unique[:, self._response(k, signal), cell]
        rival, explained, better, best = None, 0.0, None, CLEARLY
        for other in self.meaningful:
            one = self.properties[other]
            if other == k:
                continue
            if one.family is not None and one.family == mine.family:
                scores = np.abs(self.confirmed[:, signal, cell]) if one.kind == mine.kind else unique
                lead = scores[other] - scores[k]
                if lead > best:
                    better, best = one.title, lead
            elif unique[other] > explained:
                rival, explained = one.title, float(unique[other])
        return rival, explained, better

    def _response(self, k: int, signal: int) -> int:
        """Which response of a cell property k is to explain: see `_responses`."""
        switched = self.signals[signal] == "c" and self.properties[k].kind == "binary"
        return len(self.signals) if switched else signal

    def _summaries(self) -> list[CellSummary]:
        asked = [k for k in self.asked if not self.properties[k].control]
        summaries = []
        for cell, name in enumerate(self.cells):
            table = np.abs(self.selected[asked][:, :, cell])
            place, signal = np.unravel_index(int(table.argmax()), table.shape)
            k = asked[place]
            summaries.append(
                CellSummary(
                    str(name),
                    self.signals[signal],
                    self.properties[k].title,
                    self.properties[k].kind,
                    float(self.selected[k, signal, cell]),
                    float(self.confirmed[k, signal, cell]),
                )
            )
        return summaries


def untestable(values: np.ndarray) -> str | None:
    """Why a half with these values (N,) of a property cannot test it; None if it can."""
    length = len(values)
    if values.dtype == bool:
        share = float(values.mean()) if length else 0.0
    else:
        _, counts = np.unique(values, return_counts=True)
        share = 1 - counts.max() / length  # of characters not at the commonest value
    if share == 0:
        return "does not occur"
    low, high = PREVALENCE
    if share < low or (share > high and values.dtype == bool):
        return f"holds at {100 * share:.2f} % of the characters"
    number = len(episodes(values))
    return f"only {number} episodes in a half" if number < FEWEST_EPISODES else None


def _segments(values: np.ndarray) -> int:
    """Segments to permute: each five times the longest run, or, where one outlier would leave fewer than twenty, five
    times what all but a twentieth of the runs stay below; twenty in any case."""
    lengths = episodes(values)
    number = segment_count(int(lengths.max()), len(values))
    if number >= FEWEST_SEGMENTS:
        return number
    return max(FEWEST_SEGMENTS, segment_count(int(np.quantile(lengths, 0.95)), len(values)))


def _responses(values: np.ndarray, signals: Sequence[str]) -> np.ndarray:
    """What regressions are to explain: every signal (N, signals × cells), and tanh(c) beside c, as which it leaves the
    cell. A graded property is to explain how much c holds, a binary one which way it is switched."""
    if signals[0] != "c":
        return values
    return np.concatenate([values, np.tanh(values[:, : values.shape[1] // len(signals)])], axis=1)


def _character_means(columns: np.ndarray, strata: Strata) -> np.ndarray:
    """How far (V, U) the mean at each character lies from that of all, weighed by the root of its share."""
    means = strata.sums(np.ascontiguousarray(columns.T)).T / strata.sizes[:, None]
    return np.abs(means - columns.mean(axis=0)) * np.sqrt(strata.sizes[:, None] / len(columns))


def _names_of(strata: Strata, ids: np.ndarray) -> list[int]:
    """The id of each stratum; of one that several share, the first that occurs."""
    _, first = np.unique(strata.of, return_index=True)
    return ids[first].tolist()


def _unlearned(network: CharRNN, effort: Effort) -> Iterator[CharRNN]:
    """Fresh networks of the same shape, and the trained one with the entries of each matrix in another order."""
    for number in range(effort.untrained):
        fresh = copy.deepcopy(network).cpu()  # where a seed draws the same weights, whatever the device
        fresh.initialize(torch.Generator().manual_seed(effort.seed + number))
        yield fresh.to(network.output.weight.device)
    shuffled = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(effort.seed)
    with torch.no_grad():
        for parameter in shuffled.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    yield shuffled


def memory(carried: np.ndarray) -> float:
    """For how many characters a cell keeps what it holds, −1/median(ln f), from its forget gate (or a GRU's update
    gate) at each character. The median, as the mean is ruled by the few places where it forgets."""
    held = np.clip(carried.astype(np.float64), 1e-12, 1 - 1e-7)
    return float(-1 / np.median(np.log(held)))
