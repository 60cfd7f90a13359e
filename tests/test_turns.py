"""How turns are written in a text."""

from __future__ import annotations

import pytest

from charrnn.text.turns import TurnFormat, guess_turns

CAST = ("ROMEO", "JULIET", "Nurse", "First Citizen")
PLAY = "".join(f"{CAST[(0, 1, 1, 2, 3)[n % 5]]}:\nWhat say you now,\nmy lord: {n}?\n\n" for n in range(40))
CHAT = "".join(f"USER: question {n}\nBOT: answer {n}\n" for n in range(20))
LETTERS = "".join(f"{'BCA'[n % 3]}: hi\n" for n in range(20)) + "B: bye\n" * 3
PROSE = "".join(f"It was the year {n}. The war\nwent on, he said: no end.\n\n" for n in range(20))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAY, TurnFormat("JULIET:\n", "", "\n\n")),
        (CHAT, TurnFormat("USER: ", "BOT: ", "\n")),
        (CHAT.replace("\nUSER", "\n\nUSER"), TurnFormat("USER: ", "BOT: ", "\n")),
        (LETTERS, TurnFormat("B: ", "", "\n")),
        (PROSE, TurnFormat(end="\n\n")),
        ("anna\nbert\nclara\n", TurnFormat(end="\n")),
        ("\n\n".join(["a long paragraph " * 100] * 9), TurnFormat(end="\n")),
        ("no lines", TurnFormat(end="")),
        ("", TurnFormat(end="")),
    ],
    ids=["play", "chat", "spaced chat", "three speakers", "prose", "lines", "long paragraphs", "no lines", "empty"],
)
def test_guess(text: str, expected: TurnFormat) -> None:
    assert guess_turns(text) == expected


def test_lines_with_colons_are_no_dialogue() -> None:
    assert guess_turns("".join(f"key{n}: value\n" for n in range(50))) == TurnFormat(end="\n")
