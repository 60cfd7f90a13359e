"""TeX and LaTeX: formulas, commands, and environments."""

from __future__ import annotations

import re

from charrnn.properties.catalog import TEX, Booleans, Integers, Text, register

MATH_ENVIRONMENTS = "equation|align|gather|multline|eqnarray|displaymath|math|flalign|alignat"
MATH = re.compile(
    rf"\\\\|\\\$|(?P<dollars>\$\$?)|\\(?P<open>[(\[])|\\(?P<close>[)\]])"
    rf"|\\begin\{{(?P<begin>{MATH_ENVIRONMENTS})\*?\}}|\\end\{{(?P<end>{MATH_ENVIRONMENTS})\*?\}}"
    r"|(?P<blank>(?<=\n)[ \t\r]*\n)"
)


@register(
    "in math",
    "binary",
    r"Inside $ $, $$ $$, \( \), \[ \] or a math environment; a blank line closes a $.",
    applies=TEX,
    phrase="inside formulas",
)
def _in_math(text: Text) -> Booleans:
    found, opened, start = [], "", -1
    for match in MATH.finditer(text.characters):
        kind = match.lastgroup
        if not opened and kind in ("dollars", "open", "begin"):
            opened, start = match.group() if kind == "dollars" else kind, match.end() - 1
        elif (
            (opened and kind == "dollars" and match.group() == opened)
            or (opened, kind) in (("open", "close"), ("begin", "end"))
            or (opened.startswith("$") and kind == "blank")
        ):
            found.append((start, match.end() - 1))
            opened = ""
    return text.spans([*found, (start, len(text))] if opened else found)


@register(
    "in command", "binary", r"In the name of a command: a backslash and letters.", applies=TEX, phrase="in commands"
)
def _in_command(text: Text) -> Booleans:
    return text.matches(r"\\[A-Za-z]+")


@register(
    "environment depth",
    "graded",
    r"Number of open \begin{…}, counted at their `}`.",
    applies=TEX,
    counter=True,
    phrase="the number of open environments",
)
def _environment_depth(text: Text) -> Integers:
    found = list(re.finditer(r"\\(begin|end)\{[^{}\n]{1,60}\}", text.characters))
    opens = text.at(match.end() - 1 for match in found if match[1] == "begin")
    return text.depth(opens, text.at(match.end() - 1 for match in found if match[1] == "end"))
