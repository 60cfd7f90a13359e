"""Steering: generate text with a cell held at several values, and measure what changes in it.

Every text continues 100 characters of held-out text. All conditions draw with the same noise, so a text differs from
that of another condition only where the hold changes a choice. Two baselines (AxBench, Wu et al. 2025, arXiv
2501.17148): texts that continue a place where the property holds, or does not, without a hold; and the difference of
the class means added to h of the whole layer. It is added with the factor that moves the cell from its mean to the
mean of the class. The cell itself is held at class medians (see `levels`). Fluency is the cross-entropy of the
generated text under the network as it was.

Shapes: N texts, P characters of a prime, T generated characters, H hidden size.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from charrnn.bootstrap import bootstrap_weights, mean_and_interval
from charrnn.causal.clamp import Clamp, clamped
from charrnn.causal.levels import Levels, classes_of, measure_levels
from charrnn.causal.reading import advance
from charrnn.causal.steered import KINDS, Condition, Estimate, FrequencyChange, Steering
from charrnn.discovery.inputs import characters_of
from charrnn.errors import CharrnnError
from charrnn.inspection.gates import warm_up
from charrnn.inspection.trace import Cell
from charrnn.model.gate_weights import gate_weights
from charrnn.model.network import CharRNN, State
from charrnn.progress import FractionProgress, StageProgress, no_progress
from charrnn.properties.catalog import Property, Text
from charrnn.sampling.generate import generate
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import SEARCH_SEED, STEERED_CHARACTERS, STEERED_TEXTS
from charrnn.text.documents import DocumentSeparator
from charrnn.text.encoded_text import EncodedText, Streams
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import percent

PRIME = 100
RESAMPLES = 2_000
SCORED_AT_ONCE = 250
CHANGES_SHOWN = 6
DOSES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles at which a cell without a property is held."""
STEPS = {-0.5: "{0}+", 0.0: "{0}", 0.5: "between", 1.0: "{1}", 1.5: "{1}+"}
"""Share of the way from the median outside to the median inside → name of the dose."""


@dataclass(frozen=True, eq=False)
class _Primes:
    """Held-out text that the texts continue: ids (N, P), and the state before their last characters."""

    ids: np.ndarray
    state: State


@dataclass(frozen=True, eq=False)
class _Setup:
    """What all conditions share. weights: of the bootstrap."""

    network: CharRNN
    text: EncodedText
    vocabulary: Vocabulary
    documents: DocumentSeparator | None
    language: str | None
    tracked: Property | None
    length: int
    seed: int
    weights: np.ndarray


def steer(
    network: CharRNN,
    text: EncodedText,
    cell: Cell,
    tracked: Property | None,
    *,
    signal: str,
    vocabulary: Vocabulary,
    language: str | None = None,
    documents: DocumentSeparator | None = None,
    texts: int = STEERED_TEXTS,
    length: int = STEERED_CHARACTERS,
    seed: int = SEARCH_SEED,
    progress: StageProgress = no_progress,
) -> Steering:
    """Generate texts with a cell held at five values, and measure them. text: held-out text, for levels and primes.

    tracked: the property to measure; without one the cell is held at its quantiles, and there are no baselines.
    Raises CharrnnError where the text is too short, or the property never changes in it.
    """
    truth = None if tracked is None else tracked.of(characters_of(vocabulary, text.ids, language))
    levels = measure_levels(network, text, cell, signal, truth, "" if tracked is None else tracked.title)
    draw = np.random.default_rng(seed)
    everywhere = _primes(network, text, np.ones(len(text), bool), texts, draw)
    weights = bootstrap_weights(texts, RESAMPLES, seed)
    setup = _Setup(network, text, vocabulary, documents, language, tracked, length, seed, weights)
    names = ("outside", "inside") if tracked is None or tracked.kind == "binary" else ("low", "high")
    planned = [(Condition("not held", "free", None, True), network, everywhere)]
    for condition, value in _doses(levels, names, network.recurrence.state_parts[signal]):
        planned.append((condition, clamped(network, [Clamp(cell, value, signal)])[0], everywhere))
    if truth is not None:
        planned += _baselines(setup, cell.layer, levels, names, truth, everywhere)
    measured, frequencies = [], []
    for place, (condition, edited, primes) in enumerate(planned):

        def report(share: float, place: int = place) -> None:
            progress("generating", (place + share) / len(planned))

        ids = _generate(setup, edited, primes, report)
        measured.append(_measure(setup, condition, primes, ids))
        frequencies.append(np.stack([np.bincount(row, minlength=len(vocabulary)) for row in ids]) * 1000 / length)
    low, high = (1, len(STEPS)) if tracked is None else (2, 4)
    return Steering(
        cell=str(cell),
        signal=signal,
        property_name=None if tracked is None else tracked.title,
        kind=None if tracked is None else tracked.kind,
        names=names,
        language=language,
        range=(levels.quantiles[0.01], levels.quantiles[0.99]),
        conditions=tuple(sorted(measured, key=lambda one: KINDS.index(one.kind))),
        low=low,
        high=high,
        frequencies=_changes(frequencies[low], frequencies[high], vocabulary, weights),
        texts=texts,
        length=length,
        seed=seed,
    )


def _baselines(
    setup: _Setup, layer: int, levels: Levels, names: tuple[str, str], truth: np.ndarray, everywhere: _Primes
) -> Iterator[tuple[Condition, CharRNN, _Primes]]:
    """Yield texts that continue each class, and texts with the difference of class means added to the layer."""
    for name, where, mean in zip(names, classes_of(truth)[::-1], levels.means, strict=True):
        difference = levels.means[1] - levels.means[0]
        shift = (mean - levels.mean) / difference if difference else 0.0  # a constant cell needs no shift
        moved = _shifted(setup.network, layer, shift * levels.direction)
        draw = np.random.default_rng(setup.seed)
        primes = _primes(setup.network, setup.text, where, len(everywhere.ids), draw)
        yield Condition(f"primed {name}", "primed", None, True), setup.network, primes
        yield Condition(f"moved {name}", "moved", None, True), moved, everywhere


def _doses(levels: Levels, names: tuple[str, str], bounds: tuple[float, float]) -> Iterator[tuple[Condition, float]]:
    low, high = levels.quantiles[0.01], levels.quantiles[0.99]
    if np.isnan(levels.inside):
        for share in DOSES:
            name, value = f"at its {percent(share)}", levels.quantiles[share]
            yield Condition(name, "held", value, True), value
        return
    for step, name in STEPS.items():
        value = float(np.clip(levels.outside + step * (levels.inside - levels.outside), *bounds))
        yield Condition(f"held {name.format(*names)}", "held", value, low <= value <= high), value


def _primes(network: CharRNN, text: EncodedText, where: np.ndarray, number: int, draw: np.random.Generator) -> _Primes:
    """Draw places of a text, (N,), at which a mask holds, and read what precedes them. Documents keep their starts."""
    begins = text.begins()
    usable = where & ~begins
    usable[: PRIME + warm_up(len(text)) // 2] = False
    places = np.flatnonzero(usable)
    if not len(places):
        raise CharrnnError(f"the text has no {PRIME} characters to continue", "give a longer text")
    ends = draw.choice(places, number, replace=len(places) < number)
    columns = ends[:, None] + np.arange(1 - PRIME, 1)
    ids = text.ids[columns].astype(np.int64)
    streams = Streams(ids[:, :-1], begins[columns][:, :-1], text.opening)
    return _Primes(ids, advance(network, streams, network.initial_state(number))[1])


def _generate(setup: _Setup, network: CharRNN, primes: _Primes, report: FractionProgress) -> np.ndarray:
    """Return ids (N, T) that continue primes."""
    settings = SampleSettings(length=setup.length, num=len(primes.ids), seed=setup.seed, temperature=1.0)
    drawn = generate(
        network,
        settings,
        primes.ids[:, -1:],
        vocabulary=setup.vocabulary,
        state=network.hold(primes.state),
        documents=setup.documents,
    )
    ids = np.empty((len(primes.ids), setup.length), np.int64)
    for place, one in enumerate(drawn):
        ids[:, place] = one
        if place % 50 == 0:
            report(place / setup.length)
    return ids


def _shifted(network: CharRNN, layer: int, added: np.ndarray) -> CharRNN:
    """Return a network in which a vector (H,) is added to h of a layer wherever h is read."""
    moved = copy.deepcopy(network)
    vector = torch.from_numpy(added).to(moved.output.weight)
    with torch.no_grad():
        own = gate_weights(moved.recurrences[layer - 1])
        own.hidden_bias.add_(own.hidden @ vector)
        if layer < network.settings.layers:
            following = gate_weights(moved.recurrences[layer])
            following.input_bias.add_(following.input @ vector)
        else:
            moved.output.bias.add_(moved.output.weight @ vector)
    return moved


# Measures


def _measure(setup: _Setup, condition: Condition, primes: _Primes, ids: np.ndarray) -> Condition:
    """Return a condition with its measures, from generated ids (N, T)."""
    whole = np.concatenate([primes.ids, ids], axis=1)
    texts = [characters_of(setup.vocabulary, row, setup.language) for row in whole]
    rows = [_text_measures(setup, one) for one in texts]

    def estimate(values: np.ndarray) -> Estimate:
        return Estimate(*mean_and_interval(values, setup.weights))

    measures = {name: estimate(np.array([row[name] for row in rows])) for name in rows[0]}
    shown = setup.vocabulary.text(ids[0, :400])
    return replace(condition, measures=measures, nats=estimate(_nats(setup, primes, ids)), sample=shown)


def _text_measures(setup: _Setup, text: Text) -> dict[str, float]:
    """Measure what follows the prime; counts are per 1,000 characters."""
    generated = text.characters[PRIME:]
    per_thousand = 1000 / len(generated)
    found: dict[str, float] = {}
    if setup.tracked is not None:
        values = setup.tracked.of(text)
        now, before = values[PRIME:], values[PRIME - 1 : -1]
        found["property"] = float(now.mean())
        if now.dtype == bool:
            opened, closed = now & ~before, before & ~now
            breaks = text.newline[PRIME:]
            found["opening"] = float(opened.sum()) * per_thousand
            found["closing"] = float((closed & ~breaks).sum()) * per_thousand
            found["unclosed"] = float((closed & breaks).sum()) * per_thousand
    found["?!"] = (generated.count("?") + generated.count("!")) * per_thousand
    lines = [line for line in generated.split("\n") if line.strip()]
    found["line length"] = float(np.mean([len(line) for line in lines])) if lines else 0.0
    found["indentation"] = float(np.mean([len(line) - len(line.lstrip()) for line in lines])) if lines else 0.0
    return found


@torch.inference_mode()
def _nats(setup: _Setup, primes: _Primes, ids: np.ndarray) -> np.ndarray:
    """Return the nats per character of generated ids (N, T) under the network as it was, (N,)."""
    network = setup.network
    begins = np.zeros(ids.shape, bool)
    if setup.documents is not None:
        whole = np.concatenate([primes.ids, ids], axis=1)
        begins = np.stack([setup.documents.separate(row, setup.vocabulary).begins()[PRIME:] for row in whole])
    read = np.concatenate([primes.ids[:, -1:], ids], axis=1)
    starts = np.concatenate([np.zeros((len(ids), 1), bool), begins], axis=1)
    state, total = primes.state, torch.zeros(len(ids), dtype=torch.float64)
    for start in range(0, ids.shape[1], SCORED_AT_ONCE):
        columns = slice(start, min(start + SCORED_AT_ONCE, ids.shape[1]))
        streams = Streams(read[:, columns], starts[:, columns], setup.text.opening)
        hidden, state = advance(network, streams, state)
        logs = torch.log_softmax(network.output(hidden).float(), dim=-1)
        targets = torch.from_numpy(ids[:, columns]).to(logs.device)
        lost = -logs.gather(2, targets[:, :, None])[:, :, 0].double().cpu()
        total += (lost * torch.from_numpy(~begins[:, columns])).sum(dim=1)
    return np.asarray(total.numpy() / np.maximum((~begins).sum(axis=1), 1))


def _changes(
    low: np.ndarray, high: np.ndarray, vocabulary: Vocabulary, weights: np.ndarray
) -> tuple[FrequencyChange, ...]:
    """Return the characters whose frequency differs most between two holds, in standard errors. low, high: (N, V)."""
    difference = high - low
    error = difference.std(axis=0) / np.sqrt(len(difference))
    ranked = np.argsort(-np.abs(difference.mean(axis=0)) / np.maximum(error, 0.05), kind="stable")
    return tuple(
        FrequencyChange(
            vocabulary.symbols[one],
            float(low[:, one].mean()),
            float(high[:, one].mean()),
            Estimate(*mean_and_interval(difference[:, one], weights)),
        )
        for one in ranked[:CHANGES_SHOWN]
    )
