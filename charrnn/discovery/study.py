"""The data of a search: a text in two halves, SELECT and CONFIRM, and the properties that both halves can test.

Shapes: N characters, P testable properties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.discovery.confounds import Design
from charrnn.discovery.permutations import episodes
from charrnn.discovery.ranks import Labels, Strata
from charrnn.errors import CharrnnError
from charrnn.properties.catalog import CATALOG, Property, Text
from charrnn.properties.source_code import LexerTimeoutError
from charrnn.settings import SEARCH_SEED, SEARCHED_CHARACTERS
from charrnn.text.encoded_text import EncodedText

MIN_CHARACTERS = 10_000
MIN_EPISODES = 30
PREVALENCE = (0.01, 0.99)


@dataclass(frozen=True)
class Effort:
    """The budget of a search.

    characters: read. resamples: of the bootstrap. untrained: networks. gradient_positions: at which the loss is
    backpropagated.
    """

    characters: int = SEARCHED_CHARACTERS
    permutations: int = 10_000
    pseudo_labels: int = 100
    resamples: int = 2_000
    untrained: int = 4
    gradient_positions: int = 128
    seed: int = SEARCH_SEED


@dataclass(frozen=True, eq=False)
class Split:
    """Contiguous blocks, alternately SELECT and CONFIRM. The network warms up in the gap before each block.

    starts: the first character of each block, (blocks,). block, gap: lengths in characters.
    """

    starts: np.ndarray
    block: int
    gap: int

    @classmethod
    def of(cls, length: int) -> Split:
        """Split a text into 20 blocks with gaps of 1,000 characters; a short text into 10 with narrower gaps.

        Raises CharrnnError for a text of fewer than 10,000 characters.
        """
        if length < MIN_CHARACTERS:
            raise CharrnnError(
                f"a search needs a text of {MIN_CHARACTERS:,} characters or more, and this one has {length:,}",
                "give a longer one with `text`",
            )
        number = 20 if length >= 60_000 else 10
        gap = min(1000, length // (3 * number))
        block = length // number - gap
        return cls(gap + np.arange(number) * (gap + block), block, gap)

    def select(self, values: np.ndarray) -> np.ndarray:
        """Return the SELECT half of values (N, …), block after block."""
        return self._blocks(values, 0)

    def confirm(self, values: np.ndarray) -> np.ndarray:
        """Return the CONFIRM half of values (N, …), block after block."""
        return self._blocks(values, 1)

    def _blocks(self, values: np.ndarray, first: int) -> np.ndarray:
        return np.concatenate([values[start : start + self.block] for start in self.starts[first::2]])

    def streams(self, ids: np.ndarray) -> np.ndarray:
        """Return all blocks with their gaps as parallel streams (blocks, gap + block)."""
        return np.stack([ids[start - self.gap : start + self.block] for start in self.starts])


@dataclass(frozen=True, eq=False)
class Half:
    """One half of the text.

    ids: (N/2,). values: of each property, (N/2,). labels: the same as numbers, graded ones ranked within the current
    character. permutable: graded ones ranked over all positions. by_character: positions grouped by character.
    design: features for the regressions.
    """

    ids: np.ndarray
    values: list[np.ndarray]
    labels: Labels
    permutable: Labels
    by_character: Strata
    design: Design


@dataclass(frozen=True, eq=False)
class Study:
    """What a search works on. Properties are referred to by their index in `properties`.

    searched: the properties that cells are searched for, and the control labels. meaningful: all but the control
    labels; they serve as confounds. not_testable: title → reason, of the properties asked for.
    """

    text: EncodedText
    characters: Text
    split: Split
    properties: tuple[Property, ...]
    searched: tuple[int, ...]
    meaningful: tuple[int, ...]
    not_testable: dict[str, str]
    select: Half
    confirm: Half
    effort: Effort

    def titles(self, *, control: bool) -> tuple[str, ...]:
        """Return the titles of the searched control labels, or of the other searched properties."""
        return tuple(self.properties[k].title for k in self.searched if self.properties[k].control == control)


def prepare_study(text: EncodedText, characters: Text, properties: Sequence[Property], effort: Effort) -> Study:
    """Split the first `effort.characters` characters and keep the properties that can be tested in both halves.

    The properties asked for come first, then the rest of the catalog. Raises CharrnnError where the text is too short,
    or where none of the properties asked for can be tested.
    """
    if len(characters) != len(text):
        raise ValueError(f"{len(text)} ids and {len(characters)} characters do not correspond")
    text = text[: effort.characters]
    characters = Text(characters.characters[: effort.characters], characters.language)
    split = Split.of(len(text))
    names = {one.name for one in properties}
    testable: list[tuple[Property, np.ndarray]] = []
    not_testable: dict[str, str] = {}
    for one in [*properties, *(p for p in CATALOG.values() if p.name not in names)]:
        reason: str | None = "not a property of this kind of text"
        if characters.kind in one.applies:
            try:
                values = one.of(characters)
                reason = reason_not_testable(split.select(values)) or reason_not_testable(split.confirm(values))
                if reason is None and follows_from(split.select(text.ids), split.select(values)):
                    reason = "follows from the current character"
            except LexerTimeoutError as error:
                reason = error.message
        if reason is None:
            testable.append((one, values))
        elif one.name in names:
            not_testable[one.title] = reason
    kept = tuple(one for one, _ in testable)
    if not any(one.name in names and not one.control for one in kept):
        raise CharrnnError(
            "none of the properties can be tested in this text: "
            + "; ".join(f"{name}: {reason}" for name, reason in not_testable.items()),
            "give one that depends on earlier characters, or a longer text in which it occurs",
        )
    meaningful = tuple(k for k, one in enumerate(kept) if not one.control)
    all_values = [values for _, values in testable]
    select = _half(text.ids, all_values, meaningful, split.select)
    return Study(
        text=text,
        characters=characters,
        split=split,
        properties=kept,
        searched=tuple(k for k, one in enumerate(kept) if one.name in names or one.control),
        meaningful=meaningful,
        not_testable=not_testable,
        select=select,
        confirm=_half(text.ids, all_values, meaningful, split.confirm, select.design),
        effort=effort,
    )


def _half(
    ids: np.ndarray,
    values: Sequence[np.ndarray],
    meaningful: Sequence[int],
    take: Callable[[np.ndarray], np.ndarray],
    like: Design | None = None,
) -> Half:
    own, current = [take(one) for one in values], take(ids)
    previous = take(np.concatenate([ids[:1], ids[:-1]]))
    strata = Strata.by(current)
    return Half(
        ids=current,
        values=own,
        labels=Labels.of(own, strata),
        permutable=Labels.of(own, Strata.single(len(current))),
        by_character=strata,
        design=Design.of([own[k] for k in meaningful], current, previous, like),
    )


def follows_from(ids: np.ndarray, values: np.ndarray) -> bool:
    """Return whether values (N,) are the same wherever the character is the same. ids: (N,)."""
    _, first, character = np.unique(ids, return_index=True, return_inverse=True)
    return bool((values == values[first][character]).all())


def reason_not_testable(values: np.ndarray) -> str | None:
    """Return why a half with these values (N/2,) cannot test a property, or None if it can."""
    length = len(values)
    if values.dtype == bool:
        share = float(values.mean()) if length else 0.0
    else:
        _, counts = np.unique(values, return_counts=True)
        share = 1 - counts.max() / length  # of characters with another than the commonest value
    if share == 0:
        return "does not occur"
    low, high = PREVALENCE
    if share < low or (share > high and values.dtype == bool):
        return f"holds at {100 * share:.2f} % of the characters"
    number = len(episodes(values))
    return f"only {number} episodes in a half" if number < MIN_EPISODES else None
