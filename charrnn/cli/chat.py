"""`charrnn chat`: a person types, and the model answers."""

from __future__ import annotations

import itertools
import os
import sys
from array import array
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.novelty import CorpusOption, training_index
from charrnn.cli.options import CheckpointOption, DeviceOption, RunArgument, load_model, with_settings
from charrnn.cli.parameters import with_flags
from charrnn.cli.sampled_text import TextOutput
from charrnn.cli.sampling_options import parse_value, sample_settings, shown_value, unescaped
from charrnn.cli.stderr import note
from charrnn.cli.typed_lines import TypedLines, interruptible, known_ids
from charrnn.display.terminal import Terminal, is_terminal, wrap_words
from charrnn.errors import CharrnnError, UsageError
from charrnn.files import save
from charrnn.options import Option
from charrnn.sampling.settings import SampleSettings
from charrnn.units import shortened

if TYPE_CHECKING:
    import numpy as np

    from charrnn.api import Model
    from charrnn.sampling.conversation import Conversation
    from charrnn.text.turns import TurnFormat

TURNS = "Turns"
ONE_TEXT = ("num", "best_of", "matching", "suffix", "particles", "ess_threshold")  # settings that do not apply
FIXED = (*ONE_TEXT, "max_copy")  # settings that cannot be changed during a conversation
COMMANDS = {
    "/temperature X": "how random answers are; other sampling options are set in the same way, as in /top-k 5",
    "/seed N": "draw the next answers from this seed",
    "/undo": "take back your latest line and its answer",
    "/retry": "take back the latest answer, and draw another one",
    "/save FILE": "write the conversation to a file",
    "/help": "show these commands",
    "/quit": "end, as Ctrl-D does",
}
ENDS = {"\n": "at a line end", "\n\n": "at a blank line", "": "after --length characters"}


def turn_option(help: str, default: str) -> Any:
    """Return an option for a part of the turn format. default: what is taken without it."""
    return typer.Option(help=help, metavar="TEXT", show_default=default, rich_help_panel=TURNS)


GUESSED = "guessed from the held-out text"
YouOption = Annotated[str | None, turn_option("Text that the model reads before each of your lines.", GUESSED)]
ReplyOption = Annotated[str | None, turn_option("Text that the model reads before it answers.", GUESSED)]
TurnEndOption = Annotated[
    str | None, turn_option(r"Text that ends your turns and the model's. Escapes as in --stop.", GUESSED)
]


@with_settings(SampleSettings, without=ONE_TEXT)
def chat(
    run: RunArgument = None,
    you: YouOption = None,
    reply: ReplyOption = None,
    turn_end: TurnEndOption = None,
    corpus: CorpusOption = None,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    *,
    given: dict[str, Any],
) -> None:
    r"""Talk with a trained model.

    You type a line, and it answers until its turn ends.

    The model reads each line where its latest answer has ended. Turns are written as in the text that it was trained
    on: paragraphs, lines, or speeches after a name. Ctrl-C stops an answer, Ctrl-D ends. In a pipe, each line gets an
    answer. Commands such as /undo and /save are listed by /help.

    [bold]charrnn chat[/bold]
    [bold]charrnn chat shakespeare --you 'JULIET:\n' --reply 'ROMEO:\n'[/bold]
    [bold]charrnn chat --you 'USER: ' --reply 'BOT: ' --turn-end '\n' --temperature 0.5[/bold]
    [bold]echo 'Where is the king?' | charrnn chat --seed 1[/bold]
    """
    settings = sample_settings(given).seeded()
    model = load_model(run, checkpoint, device)
    asked = {"you": you, "reply": reply, "end": turn_end}
    turns = replace(model.turn_format(), **{name: unescaped(one) for name, one in asked.items() if one is not None})
    index = training_index(model, corpus, needed=settings.max_copy is not None, by="--max-copy")
    conversation = model.conversation(turns, corpus=index, **settings.to_json())
    _Chat(model, conversation).run()


class _Chat:
    """A conversation on standard input and output."""

    def __init__(self, model: Model, conversation: Conversation):
        self._model, self._conversation = model, conversation
        turns = conversation.turns
        completions = sorted({*(command.partition(" ")[0] for command in COMMANDS), *_settable()})
        self._lines = TypedLines(turns.you.strip() + " " if turns.you.strip() else "> ", completions)
        self._reply = model.run.encode(turns.reply if is_terminal(sys.stdout) else "")
        self._saved: set[Path] = set()

    def run(self) -> None:
        """Answer each line, until the input ends."""
        if self._lines.is_typed:
            note(_heading(self._model.name, self._conversation))
        for line in self._lines:
            try:
                if line.rstrip() == "/quit":
                    return
                if line.startswith("/") and not line.startswith("//"):
                    self._command(line[1:])
                else:
                    spoken = line[1:] if line.startswith("//") else line
                    self._answer(known_ids(spoken, self._model.run))
            except CharrnnError as error:
                note(_as_typed(str(error)))

    def _answer(self, line: np.ndarray) -> None:
        """Print the answer to a line (T,), as it is generated. An empty line gets none."""
        vocabulary, output = self._model.vocabulary, TextOutput(self._model.run, raw=False, colors=None)
        held = array("i")  # line ends, of which a terminal shows one after the answer
        with interruptible(enabled=self._lines.is_typed) as is_interrupted:
            answer = self._conversation.answer(line) if len(line) else iter(())
            first = next(answer, None)
            if first is None:
                return
            output.put(self._reply)
            try:
                for one in itertools.chain([first], answer):
                    held.append(one)
                    if vocabulary.text([one]) != "\n" or not is_terminal(sys.stdout):
                        output.put(held)
                        held = array("i")
                    if is_interrupted():
                        break
            finally:
                output.end(newline=True)

    def _command(self, typed: str) -> None:
        word, _, rest = typed.partition(" ")
        rest = rest.strip()
        if rest and f"/{word}" in COMMANDS:
            raise UsageError(f"/{word} takes no value", f"leave out {shortened(rest)}")
        match word:
            case "help":
                _print_help()
            case "undo":
                self._undo()
            case "retry":
                if (line := self._conversation.undo()) is None:
                    raise UsageError("there is no answer to take back")
                self._answer(line)
            case "save":
                self._save(rest)
            case _:
                self._set(word, rest)

    def _undo(self) -> None:
        line = self._conversation.undo()
        if line is None:
            raise UsageError("there is no line to take back")
        note(f"taken back: {shortened(self._model.run.text(line))}")

    def _set(self, word: str, value: str) -> None:
        """Change a setting, or show its value if none is given."""
        option = _settable().get(f"/{word}")
        if option is None and word.replace("-", "_") in FIXED:
            raise UsageError(f"--{word} cannot be changed in a conversation")
        if option is None:
            raise UsageError(f"there is no command /{word}", "/help lists them; start a line with // to say it")
        name = option.name
        if value:
            self._conversation.change(**{name: parse_value(option, value)})
        note(f"{word} {shown_value(getattr(self._conversation.settings, name))}")

    def _save(self, name: str) -> None:
        try:
            path = Path(name or f"{self._model.name}-chat.txt").expanduser()
        except RuntimeError:  # such as ~ and the name of an unknown user
            raise UsageError(f"{name} is in no home folder", "name another file, as in /save FILE") from None
        if os.path.lexists(path) and path.absolute() not in self._saved:
            raise UsageError(f"{path} exists already", "name another file, as in /save FILE")
        save(path, self._conversation.text)
        self._saved.add(path.absolute())
        note(f"written to {path}")


def _settable() -> dict[str, Option]:
    """Return command → option of sampling, of those that can be changed during a conversation."""
    options = (option for name, option in SampleSettings.options().items() if name not in FIXED)
    return {f"/{flag.lstrip('-')}": option for option in options for flag in (option.flags or (option.flag,))}


def _as_typed(message: str) -> str:
    """Return a message with parameters named as the commands that set them; those that stay fixed as flags."""
    flags = {name: option.flag for name, option in SampleSettings.options().items()}
    return with_flags(message, flags | {name[1:].replace("-", "_"): name for name in _settable()})


def _heading(run: str, conversation: Conversation) -> str:
    """Return what a person needs to know at the start."""
    settings = conversation.settings
    facts = [run, *([] if settings.greedy else [f"seed {settings.seed}"]), _described(conversation.turns), "/help"]
    return " · ".join(facts)


def _described(turns: TurnFormat) -> str:
    return f"an answer ends {ENDS.get(turns.end, f'with {shortened(turns.end)}')}"


def _print_help() -> None:
    terminal = Terminal.of(sys.stderr)
    width = max(map(len, COMMANDS))
    for command, help in COMMANDS.items():
        first, *more = wrap_words(help, terminal.width - width - 2)
        terminal.write(f"{command:{width}}  {first}\n" + "".join(f"{'':{width}}  {line}\n" for line in more))
    terminal.paragraph("Ctrl-C stops an answer. To say a line that starts with /, start it with //.")
    terminal.flush()
