"""A network and a text: what earlier searches claim of its cells, and what one cell does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from charrnn.discovery.cache import earlier_findings
from charrnn.discovery.evidence import Evidence
from charrnn.discovery.excerpts import Excerpt, typical_excerpts
from charrnn.discovery.findings import Findings
from charrnn.discovery.history import History, cell_history
from charrnn.discovery.inputs import as_characters, characters_of, language_of
from charrnn.discovery.profile import CellProfile, Contradiction, cell_profile, contradictions
from charrnn.discovery.span_match import SpanMatch, find_occurrences, match_span
from charrnn.errors import CharrnnError
from charrnn.inspection.trace import Cell
from charrnn.model.network import CharRNN
from charrnn.model.run import Run
from charrnn.properties.catalog import Property, Text, property_titled
from charrnn.properties.user_properties import find_property
from charrnn.text.encoded_text import EncodedText
from charrnn.text.normalization import normalized
from charrnn.units import count


@dataclass(frozen=True, eq=False)
class Subject:
    """A network of a run, and a text. Arguments called `characters` say how many of the text are read, at most."""

    run: Run
    network: CharRNN
    text: EncodedText

    def findings(self) -> list[Findings]:
        """Return the findings of earlier searches of this text, the latest first."""
        return earlier_findings(self.run, self.network, self.text)

    def claim(self, cell: Cell) -> Evidence | None:
        """Return the evidence of the latest search of this text, else of the held-out text, that named a cell."""
        claims = (found.claim_about(str(cell)) for found in self.known_findings())
        return next((claim for claim in claims if claim is not None), None)

    def known_findings(self) -> Iterator[Findings]:
        """Yield the findings of earlier searches of this text, and then of the held-out text, the latest first."""
        of_text = self.findings()
        yield from of_text
        if self.run.has_held_out_text:
            of_held_out = earlier_findings(self.run, self.network, self.run.held_out_text())
            yield from (one for one in of_held_out if one not in of_text)

    def property_of(self, cell: Cell, name: str | None = None) -> Property | None:
        """Return the property of this name; None: the one that a search claims of the cell, if any does."""
        return find_property(name) if name is not None else _claimed_property(self.claim(cell))

    def characters(self, characters: int | None = None, language: str | None = None) -> Text:
        """Return the text as the characters that properties are computed from, one for each id."""
        return characters_of(self.run.vocabulary, self.text[:characters].ids, language_of(self.run, language))

    def history(self, cell: Cell, name: str | None, signal: str, language: str | None, characters: int) -> History:
        """Compare a cell with a property at each checkpoint. name: as for `property_of`."""
        tracked = self.property_of(cell, name)
        device = self.network.output.weight.device
        return cell_history(
            lambda step: self.run.load_network(str(step), device)[0],
            self.run.checkpoint_steps(),
            self.text[:characters],
            cell,
            self.network.recurrence.find_signal(signal),
            None if tracked is None else tracked.of(self.characters(characters, language)),
            None if tracked is None else tracked.title,
        )

    def profile(self, cell: Cell, signal: str, passages: int, characters: int) -> CellProfile:
        """Return what a cell does. passages: of each kind."""
        tracked = self.property_of(cell)
        claimed = None if tracked is None else (tracked.title, tracked.of(self.characters(characters)))
        return cell_profile(self.network, self.text[:characters], cell, signal, passages=passages, claimed=claimed)

    def contradictions(self, cell: Cell, characters: int) -> list[Contradiction]:
        """Return where a cell most contradicts the binary property that a search claims of it; none without a claim."""
        claim = self.claim(cell)
        tracked = _claimed_property(claim)
        if claim is None or tracked is None or tracked.kind != "binary":
            return []
        return contradictions(self.network, self.text[:characters], self.characters(characters), claim, tracked)

    def excerpt(self, cell: Cell, name: str | None, signal: str, characters: int) -> Excerpt | None:
        """Return a typical piece of text around an episode. name: as for `property_of`."""
        tracked = self.property_of(cell, name)
        if tracked is None:
            return None
        asked = [(cell, self.network.recurrence.find_signal(signal), tracked)]
        symbols = self.run.vocabulary.symbols
        return typical_excerpts(self.network, self.text[:characters], self.characters(characters), asked, symbols)[0]

    def _sought(self, span: str) -> str:
        """Return a piece of text as the characters of this one."""
        return as_characters(self.run.vocabulary, normalized(span, self.run.settings.corpus.normalize))

    def match_span(self, span: str, characters: int) -> SpanMatch:
        """Return the cells that are on throughout a piece of the text. Raises CharrnnError where it does not occur."""
        read, sought = self.text[:characters], self._sought(span)
        occurrences = find_occurrences(sought, self.characters(characters).characters) if sought else []
        if not occurrences:
            message = f"{span!r} does not occur in the first {count(len(read))} characters of this text"
            raise CharrnnError(message, "copy a piece out of it")
        return match_span(self.network, read, occurrences, len(sought))


def _claimed_property(claim: Evidence | None) -> Property | None:
    """Return the property of the catalog that a claim is about."""
    return None if claim is None else property_titled(claim.property_name)
