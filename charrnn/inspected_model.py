"""A trained language model whose cells can be inspected: traced, searched for properties, and held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from charrnn.causal.cache import ablate_run, earlier_ablations, fitted_property
from charrnn.causal.clamp import Clamp, clamped
from charrnn.causal.effects import Ablation
from charrnn.causal.holds import clampable_signal
from charrnn.causal.levels import LEVEL_CHARACTERS
from charrnn.causal.reach import Memory, measure_memory
from charrnn.causal.steered import Steering
from charrnn.causal.steering import steer
from charrnn.discovery.cache import search_run
from charrnn.discovery.evidence import Evidence
from charrnn.discovery.excerpts import Excerpt
from charrnn.discovery.findings import Findings
from charrnn.discovery.history import History
from charrnn.discovery.inputs import characters_of, language_of
from charrnn.discovery.profile import CellProfile, Contradiction
from charrnn.discovery.span_match import SpanMatch
from charrnn.discovery.study import Effort
from charrnn.discovery.subject import Subject
from charrnn.explorer.page import CELLS_DESCRIBED, Explorer, make_explorer
from charrnn.inspection.gates import GateSaturation, gate_saturation
from charrnn.inspection.gradients import POSITIONS, SHARE_LAGS, GradientShare, gradient_share
from charrnn.inspection.recorded_trace import CellName, Trace, as_cell
from charrnn.language_model import LanguageModel
from charrnn.progress import StageProgress, no_progress, span
from charrnn.properties.catalog import Property, Text, property_titled
from charrnn.properties.user_properties import find_property
from charrnn.reading_model import TextLike
from charrnn.settings import CONTROLS, SEARCH_SEED, SEARCHED_CHARACTERS, STEERED_CHARACTERS, STEERED_TEXTS
from charrnn.text.encoded_text import EncodedText
from charrnn.units import count

SEARCH_SHARE = 0.6
"""Share of the time that a search takes of a search with an ablation of one cell."""
GATE_CHARACTERS, HISTORY_CHARACTERS, PROFILE_CHARACTERS = 50_000, 100_000, 20_000
"""Characters of a text, at most, that `gates`, `history` and `profile` read."""


class Model(LanguageModel):
    """A trained language model whose cells can be traced, searched and held."""

    def trace(
        self,
        text: TextLike = None,
        *,
        start: int = 0,
        length: int | None = None,
        skip_unknown: bool = False,
        title: str | None = None,
    ) -> Trace:
        """Return every signal of every cell at each character of a text.

        start: the first character recorded; the network reads up to 10,000 characters before it. length: how many are
        recorded; None: all that follow. title: what the text is called.
        """
        read_title, encoded = self.read(text, skip_unknown=skip_unknown)
        stop = None if length is None else start + length
        facts = {"run": f"{self.name} (step {count(self.checkpoint.step)})", "model": self.shape}
        return Trace(self.network, self.vocabulary, encoded, start, stop, title or read_title, facts)

    # Intervention

    def clamp(self, cell: CellName, value: float, signal: str = "h") -> Model:
        """Return a copy of the model in which one cell is held at a value after every character.

        signal: "h", or "c" of an LSTM. Several cells can be held, one call for each. Raises UsageError for an unknown
        cell or signal, a value out of bounds, or a cell that is already held.
        """
        clamps = (*self.clamps, Clamp(as_cell(cell, self.network), value, signal))
        original = self.original or self.network
        network, _ = clamped(original, clamps)
        return replace(self, network=network, clamps=clamps, original=original)

    def ablate(
        self,
        cell: CellName,
        property: str | Property | None = None,
        *,
        text: TextLike = None,
        signal: str = "auto",
        language: str | None = None,
        characters: int = SEARCHED_CHARACTERS,
        controls: int = CONTROLS,
        seed: int = SEARCH_SEED,
        again: bool = False,
        progress: StageProgress = no_progress,
    ) -> Ablation:
        """Measure what holding a cell at the value of the opposite class costs where a property begins and ends.

        property: as for `discover`; None: what a search claims of the cell, else what the cell fits best there; without
        an earlier search one is made. signal: to hold, "c" of an LSTM or "h"; "auto": the former where there is one.
        controls: cells of the layer to compare with, at most. Other arguments as for `discover`.
        The ablation is kept beside the run. Raises UsageError for a cell or signal that does not exist, CharrnnError
        where the text has too few events.
        """
        tested, encoded = as_cell(cell, self.network), self.encode(text)
        signal = clampable_signal(self.network, signal)
        if property is None:
            searched = self.earlier_findings(encoded)
            if not searched:
                report = span(progress, 0, SEARCH_SHARE)
                searched = [self.discover((), encoded, language=language, progress=report)]
                progress = span(progress, SEARCH_SHARE, 1)
            property = fitted_property(searched, tested)
        return ablate_run(
            self.run,
            self.network,
            encoded,
            tested,
            find_property(property) if isinstance(property, str) else property,
            signal=signal,
            language=language,
            controls=controls,
            effort=Effort(characters=characters, seed=seed),
            again=again,
            progress=progress,
        )

    def prove(
        self,
        findings: Findings,
        number: int,
        text: TextLike = None,
        *,
        progress: StageProgress = no_progress,
        **details: Any,
    ) -> list[Ablation]:
        """Ablate the best `number` named cells of findings. text: that was searched. Others as for `ablate`."""
        encoded = self.encode(text)
        known = [(one.cell, property_titled(one.property_name)) for one in findings]
        chosen = [(cell, tested) for cell, tested in known if tested is not None][:number]
        found = []
        for place, (cell, tested) in enumerate(chosen):
            report = span(progress, place / len(chosen), (place + 1) / len(chosen), f"cell {cell}")
            found.append(self.ablate(cell, tested, text=encoded, progress=report, **details))
        return found

    def earlier_ablations(self, text: TextLike = None) -> list[Ablation]:
        """Return the ablations made on this text, the latest first."""
        return earlier_ablations(self.run, self.network, self.encode(text))

    def steer(
        self,
        cell: CellName,
        property: str | None = None,
        *,
        text: TextLike = None,
        signal: str = "auto",
        language: str | None = None,
        texts: int = STEERED_TEXTS,
        length: int = STEERED_CHARACTERS,
        seed: int = SEARCH_SEED,
        progress: StageProgress = no_progress,
    ) -> Steering:
        """Generate texts with a cell held at five values, and measure what changes in them.

        property: as for `discover`; None: what a search claims of the cell; without a claim there are no baselines.
        text: gives the values and what the texts continue. texts: for each value. Other arguments as for `ablate`.
        Raises UsageError for a cell or signal that does not exist, CharrnnError where the text is too short.
        """
        steered, subject = as_cell(cell, self.network), self._subject(text)
        return steer(
            self.network,
            subject.text[:LEVEL_CHARACTERS],
            steered,
            subject.property_of(steered, property),
            signal=clampable_signal(self.network, signal),
            vocabulary=self.vocabulary,
            language=language_of(self.run, language),
            documents=self.run.document_separator,
            texts=texts,
            length=length,
            seed=seed,
            progress=progress,
        )

    # Cells

    def discover(
        self,
        properties: Sequence[str] = (),
        text: TextLike = None,
        *,
        language: str | None = None,
        corpus: str | None = None,
        characters: int = SEARCHED_CHARACTERS,
        seed: int = SEARCH_SEED,
        again: bool = False,
        progress: StageProgress = no_progress,
    ) -> Findings:
        """Search for cells that track a property of the text. The findings are kept beside the run.

        properties: names from the catalog, NAME=REGEX, or FILE.py:function; none: the whole catalog. language: of the
        text, as Pygments calls it; None: guessed; "none": not source code. corpus: the run's corpus, which the 5-gram
        baseline is fitted on; None: looked for in corpora/. characters: of the text, at most. again: repeat a search
        that was made before. progress: called with the name of a stage and the
        share of it that is done, as `charrnn.progress_bar` draws it.
        Raises CharrnnError where the text is too short, or none of the properties can be tested in it.
        """
        return search_run(
            self.run,
            self.network,
            self.encode(text),
            [find_property(name) for name in properties],
            language=language,
            corpus=corpus,
            effort=Effort(characters=characters, seed=seed),
            again=again,
            progress=progress,
        )

    def claim(self, cell: CellName, text: TextLike = None) -> Evidence | None:
        """Return the evidence of the latest search of this text, else of the held-out text, that named a cell."""
        return self._subject(text).claim(as_cell(cell, self.network))

    def earlier_findings(self, text: TextLike = None) -> list[Findings]:
        """Return the findings of earlier searches of this text, the latest first."""
        return self._subject(text).findings()

    def known_findings(self, text: TextLike = None) -> list[Findings]:
        """Return the findings of earlier searches of this text, and then of the held-out text, the latest first."""
        return [*self._subject(text).known_findings()]

    def gates(self, text: TextLike = None, *, characters: int = GATE_CHARACTERS) -> list[GateSaturation]:
        """Return for every gate the share of characters at which each cell saturates it, on either side.

        characters: of the text, at most. Raises CharrnnError where the recurrence has no gates.
        """
        return gate_saturation(self.network, self.encode(text)[:characters])

    def memory(
        self, text: TextLike = None, *, positions: int = POSITIONS, progress: StageProgress = no_progress
    ) -> Memory:
        """Return how far back the network remembers: gradient norms over 200 characters, and the effective context.

        positions: at which the loss is backpropagated, spread over the text. progress: as for `discover`.
        Raises CharrnnError for a text of fewer than 1,000 characters.
        """
        return measure_memory(self.network, self.encode(text), positions=positions, progress=progress)

    def gradient_share(
        self, text: TextLike = None, *, lags: Sequence[int] = SHARE_LAGS, positions: int = POSITIONS
    ) -> GradientShare:
        """Return which cells carry the gradient of the loss back over these numbers of characters.

        Raises CharrnnError for a text of fewer than 1,000 characters.
        """
        return gradient_share(self.network, self.encode(text), lags=lags, positions=positions)

    def history(
        self,
        cell: CellName,
        property: str | None = None,
        *,
        text: TextLike = None,
        signal: str = "auto",
        language: str | None = None,
        characters: int = HISTORY_CHARACTERS,
    ) -> History:
        """Return the rank correlation of a cell with a property at each checkpoint of the run.

        property: as for `discover`; None: what a search claims of the cell, else the cell itself at the last one.
        """
        return self._subject(text).history(as_cell(cell, self.network), property, signal, language, characters)

    def profile(
        self,
        cell: CellName,
        text: TextLike = None,
        *,
        signal: str = "auto",
        passages: int = 2,
        characters: int = PROFILE_CHARACTERS,
    ) -> CellProfile:
        """Return what a cell does over the first `characters` of a text.

        passages: of each kind: where the cell is highest, lowest, at a quantile, and at random.
        """
        return self._subject(text).profile(as_cell(cell, self.network), signal, passages, characters)

    def contradictions(
        self, cell: CellName, text: TextLike = None, *, characters: int = PROFILE_CHARACTERS
    ) -> list[Contradiction]:
        """Return where a cell most contradicts the binary property that a search claims of it; none without a claim."""
        return self._subject(text).contradictions(as_cell(cell, self.network), characters)

    def explorer(
        self,
        findings: Findings | None = None,
        text: TextLike = None,
        *,
        title: str | None = None,
        cells: int = CELLS_DESCRIBED,
        passages: int = 2,
        characters: int = PROFILE_CHARACTERS,
        palette: str = "blue-red",
        progress: StageProgress = no_progress,
    ) -> Explorer:
        """Return a page about the most interesting cells, in which the network runs; `save` writes it.

        findings: of a search of this text; None: it is searched. title: what the text is called. cells: to describe, at
        most. passages: of each kind. characters: of the text, at most. progress: as for `discover`.
        Raises CharrnnError where the text is too short to search.
        """
        read_title, encoded = self.read(text)
        found = findings or self.discover((), encoded, progress=progress)
        trace = self.trace(encoded, length=characters, title=title or read_title)
        return make_explorer(self._subject(encoded), found, trace, cells, passages, palette, progress)

    def excerpt(
        self,
        cell: CellName,
        property: str | None = None,
        text: TextLike = None,
        *,
        signal: str = "auto",
        characters: int = PROFILE_CHARACTERS,
    ) -> Excerpt | None:
        """Return a typical piece of text around an episode of a property, with the values of a cell.

        property: as for `discover`; None: what a search claims of the cell. None where no search claims anything, or
        the property does not change in the first `characters` of the text.
        """
        return self._subject(text).excerpt(as_cell(cell, self.network), property, signal, characters)

    def match_span(self, span: str, text: TextLike = None, *, characters: int = SEARCHED_CHARACTERS) -> SpanMatch:
        """Return the cells that are on throughout a piece of the text and off around it, and where else they are on.

        Raises CharrnnError where the first `characters` of the text do not contain the span.
        """
        return self._subject(text).match_span(span, characters)

    def characters(self, encoded: EncodedText, language: str | None = None) -> Text:
        """Return a text as the characters that properties are computed from, one for each id."""
        return characters_of(self.vocabulary, encoded.ids, language_of(self.run, language))

    def _subject(self, text: TextLike) -> Subject:
        return Subject(self.run, self.network, self.encode(text))
