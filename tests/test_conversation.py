"""A conversation carries the state over, and can go back."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from charrnn.errors import CharrnnError, UsageError
from charrnn.model.network import State
from charrnn.sampling.conversation import Conversation
from charrnn.sampling.settings import SampleSettings
from charrnn.settings import RECURRENCE_NAMES
from charrnn.text.documents import DocumentSeparator
from charrnn.text.turns import TurnFormat
from charrnn.text.vocabulary import Vocabulary
from tests.test_generate import ELEVEN, lively_network, network_that_counts, texts

LINES = TurnFormat("a", "b", "\n")


def conversation(turns: TurnFormat = LINES, recurrence: str = "lstm", **settings: object) -> Conversation:
    chosen = SampleSettings(**{"seed": 1, "length": 40, "temperature": 1.0} | settings)
    return Conversation(lively_network(recurrence), chosen, vocabulary=ELEVEN, turns=turns)


def same(one: State | None, other: State | None) -> bool:
    """Return whether two states are equal bit for bit."""
    if one is None or other is None:
        return one is other
    parts, others = ([part for layer in state for part in layer] for state in (one, other))
    return all(map(torch.equal, parts, others))


def test_an_answer_is_what_the_model_writes_after_the_turns() -> None:
    """The second answer is that to the whole text, as if the network read it from the start."""
    talk = conversation()
    first, second = talk.say("cd"), talk.say("ef")
    assert first.endswith("\n")
    assert first == texts(lively_network(), "acd\nb", length=40, stop="\n")[0]
    assert second == texts(lively_network(), f"acd\nb{first}aef\nb", length=40, stop="\n", seed=2)[0]
    assert talk.text == f"acd\nb{first}aef\nb{second}"


def test_a_turn_that_did_not_end_is_ended_before_the_next() -> None:
    talk = conversation(TurnFormat(end="\n\n"), length=3, ban="\n")
    answer = talk.say("c")
    talk.say("d")
    assert talk.text.startswith(f"c\n\n{answer}\n\nd\n\n")
    talk = conversation(TurnFormat(end="\n\n"), length=3, stop="\n", bias={"\n": 99})
    assert (talk.say("c"), talk.say("d")) == ("\n", "\n")
    assert talk.text == "c\n\n\nd\n\n\n"


def test_an_empty_line_without_turns_is_answered() -> None:
    talk = conversation(TurnFormat(end=""), length=3)
    assert [len(talk.say("")), len(talk.say(""))] == [3, 3]


def test_an_interrupted_answer_ends_where_it_is() -> None:
    talk = conversation(TurnFormat(), length=30, ban="\n")
    started = ELEVEN.text(list(islice(talk.answer("c"), 7)))
    assert talk.text == f"c\n{started}"
    assert talk.say("d") == texts(lively_network(), f"c\n{started}\nd\n", length=30, seed=2, ban="\n", stop="\n")[0]


@pytest.mark.parametrize("recurrence", RECURRENCE_NAMES)
def test_undo_restores_the_state_bit_for_bit(recurrence: str) -> None:
    talk = conversation(recurrence=recurrence, repeat_penalty=1.2)
    talk.say("cd")
    state, text = talk.state, talk.text
    copied = tuple(tuple(part.clone() for part in layer) for layer in state)
    talk.change(seed=5)
    answer = talk.say("ef")
    assert not same(talk.state, state)
    assert ELEVEN.text(talk.undo()) == "ef"
    assert talk.state is state
    assert same(talk.state, copied)
    assert talk.text == text
    talk.change(seed=5)
    assert talk.say("ef") == answer
    assert len([talk.undo(), talk.undo()]) == 2
    assert (talk.state, talk.text, talk.undo()) == (None, "", None)


def test_another_answer_to_the_same_line() -> None:
    talk = conversation(ban="\n")
    answer = talk.say("c")
    talk.undo()
    assert talk.say("c") != answer
    assert conversation(ban="\n").say("c") == answer


def test_filters_see_earlier_turns() -> None:
    """A frequency penalty over the whole history keeps a network that counts from the letters of the first turn."""
    settings = SampleSettings(greedy=True, length=4, frequency_penalty=99, presence_penalty=50, repeat_last_n=-1)
    talk = Conversation(network_that_counts(11), settings, vocabulary=ELEVEN, turns=TurnFormat(end=""))
    assert talk.say("a") == "bcde"
    assert not set("abcdej") & set(talk.say("j"))


def test_settings_change() -> None:
    talk = conversation(length=5, ban="\n")
    assert len(talk.say("c")) == 5
    talk.change(length=9)
    assert len(talk.say("c")) == 9
    with pytest.raises(UsageError, match=r"`temperature` must be at least 0\.01"):
        talk.change(temperature=0.0)
    with pytest.raises(CharrnnError, match="the stop text has unknown"):
        talk.change(stop="X")
    assert talk.settings.length == 9
    assert talk.settings.stop == ()
    with pytest.raises(UsageError, match="one text"):
        conversation(num=2)


def test_documents_restart_the_network() -> None:
    """Where each line is a document, an answer that ends one is followed by the initial state."""
    settings = SampleSettings(seed=1, length=40, temperature=1.0)
    separator = DocumentSeparator("lines")
    talk = Conversation(lively_network(), settings, vocabulary=ELEVEN, turns=TurnFormat(reply="b"), documents=separator)
    assert talk.say("cd").endswith("\n")
    opened = texts(lively_network(), "\nef\nb", seed=2, length=40, stop="\n")[0]
    assert talk.say("ef") == opened


def test_bytes() -> None:
    network = lively_network(vocabulary_size=256)
    settings = SampleSettings(seed=1, length=50)
    talk = Conversation(network, settings, vocabulary=Vocabulary.of_bytes(), turns=TurnFormat())
    talk.say("é")
    assert talk.text.startswith("é\n".encode())


@pytest.mark.parametrize(("turns", "said"), [({"you": "X"}, "`you` has"), ({"end": "|"}, "`turn_end` has")])
def test_turns_of_unknown_characters(turns: dict[str, str], said: str) -> None:
    with pytest.raises(CharrnnError, match=said):
        conversation(TurnFormat(**turns))
    with pytest.raises(CharrnnError, match="the line has unknown characters"):
        conversation().say("X")
