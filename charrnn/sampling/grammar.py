"""A regular expression as a deterministic finite automaton over the characters of a model.

Shapes: S states, V symbols: the characters of the model, or the 256 bytes. K classes of symbols that the expression
does not distinguish.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.errors import UsageError
from charrnn.sampling.nfa import EDGE, ExpressionError, Nfa, parse, too_large
from charrnn.text.vocabulary import Vocabulary
from charrnn.units import shortened

UNREACHABLE = np.iinfo(np.int32).max
LARGEST_TABLE = 20_000_000  # entries of the transition table, 4 bytes each
LARGEST_WORK = 3_000_000  # moves of nondeterministic states; they take about 2 s
ANY_TEXT = "(?s).*"
NAMED = 5  # classes without a character, in an error


@dataclass(frozen=True)
class Automaton:
    """The states of texts that can still match, and as the last one a state for all others.

    following: the state after each symbol, (S, V). distance: the fewest symbols until the text matches, (S,): 0 where
    it does, UNREACHABLE in the last state. A text starts in state 0.
    """

    following: np.ndarray
    distance: np.ndarray

    @property
    def failed(self) -> int:
        """The state of texts that cannot match any more."""
        return len(self.distance) - 1

    @classmethod
    def compile(cls, expression: str, vocabulary: Vocabulary, banned: str = "", form: str = "none") -> Automaton:
        """Return the automaton of an expression. `^` and `$` match at line ends. banned: characters not to use.

        form: of the text that the model was trained on, as for `charrnn.sampling.nfa.parse`.

        Raises UsageError where the expression is invalid, unsupported or too large, or no text of the vocabulary
        matches.
        """
        try:
            nfa = parse(expression, vocabulary, banned, form)
            automaton = _determinize(nfa)
        except ExpressionError as error:
            raise UsageError(f"`matching` {shortened(expression)}: {error}", error.hint) from None
        if len(automaton.distance) == 1:
            lacks = ", ".join(dict.fromkeys(nfa.missing[:NAMED]))
            raise UsageError(
                f"`matching` {shortened(expression)}: no text of the model's characters matches",
                f"the model has no character for {lacks}" if lacks else None,
            )
        return automaton

    def matches(self, ids: np.ndarray) -> bool:
        """Return whether the text of ids (T,) matches."""
        state = 0
        for one in ids.tolist():
            state = self.following[state, one]
        return bool(self.distance[state] == 0)


def _determinize(nfa: Nfa) -> Automaton:
    """Construct the reachable subsets (Rabin & Scott 1959), and remove those from which no text matches."""
    subsets = _Subsets(nfa)
    rows = np.stack(subsets.rows)
    distance = _distances(rows, np.array(subsets.accepting))
    kept = np.flatnonzero(distance < UNREACHABLE)
    if not len(kept) or kept[0] != 0:
        kept = kept[:0]
    number = np.full(len(distance) + 1, len(kept), np.int32)  # the last entry is for −1
    number[kept] = np.arange(len(kept))
    following = np.full((len(kept) + 1, len(nfa.kinds)), len(kept), np.int32)
    following[:-1] = number[rows[kept]][:, subsets.class_of]
    return Automaton(following, np.append(distance[kept], UNREACHABLE).astype(np.int32))


class _Subsets:
    """The sets of states in which a text can be, as the states of a deterministic automaton.

    A condition on what is before and after a position is decided when the next symbol is known. So a subset holds the
    states right after a symbol, and the kind of that symbol.

    rows: the subset after each class, −1 for none, (K,) each. class_of: of each symbol, (V,).
    """

    def __init__(self, nfa: Nfa):
        self._nfa = nfa
        kinds = nfa.kinds if nfa.has_conditions else np.zeros_like(nfa.kinds)
        self._edge = EDGE if nfa.has_conditions else 0
        columns = np.stack([*nfa.sets, kinds])
        distinct, self.class_of = np.unique(columns, axis=1, return_inverse=True)
        self.class_of = self.class_of.reshape(-1)
        self.classes = distinct.shape[1]
        self._contained, self._class_kinds = distinct[:-1].astype(bool), distinct[-1]
        self._kinds = sorted(set(self._class_kinds.tolist()))
        self._groups: dict[tuple[frozenset[int], int], list[tuple[np.ndarray, frozenset[int]]]] = {}
        self._closures: dict[tuple[int, int, int], frozenset[int]] = {}
        self._work = 0
        start = frozenset([nfa.start]), self._edge
        self._number = {start: 0}
        self._found = [start]
        self.rows: list[np.ndarray] = []
        self.accepting: list[bool] = []
        for states, before in self._found:  # which grows
            self.accepting.append(0 in self._closure(states, before, self._edge))
            self.rows.append(self._row(states, before))

    def _row(self, states: frozenset[int], before: int) -> np.ndarray:
        row = np.full(self.classes, -1, np.int32)
        for after in self._kinds:
            targets: dict[int, set[int]] = {}  # by the set that leads there
            for state in map(self._nfa.states.__getitem__, self._closure(states, before, after)):
                if state.symbols >= 0:
                    targets.setdefault(state.symbols, set()).update(state.targets)
            for classes, sets in self._grouped(frozenset(targets), after):
                subset = frozenset().union(*(targets[one] for one in sets)), after
                number = row[classes] = self._number.setdefault(subset, len(self._found))
                self._spend(len(subset[0]))
                if number == len(self._found):
                    self._found.append(subset)
        if len(self._found) * self._nfa.kinds.size > LARGEST_TABLE:
            raise too_large()
        return row

    def _grouped(self, sets: frozenset[int], kind: int) -> list[tuple[np.ndarray, frozenset[int]]]:
        """Return the classes of a kind that the same ones of these sets contain, and those sets, one pair for each."""
        key = sets, kind
        if key not in self._groups:
            groups: dict[frozenset[int], list[int]] = {}
            for one in np.flatnonzero(self._class_kinds == kind).tolist():
                containing = frozenset(each for each in sets if self._contained[each, one])
                if containing:
                    groups.setdefault(containing, []).append(one)
            self._spend(self.classes)
            self._groups[key] = [(np.array(classes), containing) for containing, classes in groups.items()]
        return self._groups[key]

    def _closure(self, states: frozenset[int], before: int, after: int) -> frozenset[int]:
        """Return the states that are reached without a symbol, and that a symbol leaves or where the text ends."""
        closed = frozenset().union(*(self._closure_of(state, before, after) for state in states))
        self._spend(len(states) + len(closed))
        return closed

    def _closure_of(self, state: int, before: int, after: int) -> frozenset[int]:
        key = state, before, after
        if key not in self._closures:
            reached, waiting = {state}, [state]
            while waiting:
                one = self._nfa.states[waiting.pop()]
                if one.symbols < 0 and (one.condition is None or one.condition(before, after)):
                    new = set(one.targets) - reached
                    reached |= new
                    waiting += new
            self._spend(len(reached))
            self._closures[key] = frozenset(one for one in reached if one == 0 or self._nfa.states[one].symbols >= 0)
        return self._closures[key]

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > LARGEST_WORK:
            raise too_large()


def _distances(rows: np.ndarray, accepting: np.ndarray) -> np.ndarray:
    """Return the fewest symbols from each state to an accepting one, by a breadth-first search backwards."""
    sources, classes = np.nonzero(rows >= 0)
    targets = rows[sources, classes]
    order = np.argsort(targets, kind="stable")
    sources = sources[order]
    begins = np.searchsorted(targets[order], np.arange(len(rows) + 1))
    distance = np.full(len(rows), UNREACHABLE, np.int64)
    reached, steps = np.flatnonzero(accepting), 0
    while len(reached):
        distance[reached] = steps
        before = np.concatenate([sources[begins[one] : begins[one + 1]] for one in reached.tolist()])
        reached = np.unique(before[distance[before] == UNREACHABLE])
        steps += 1
    return distance
