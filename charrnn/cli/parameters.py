"""Parameters that an error of the library names, shown as the flags of a command."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Mapping
from typing import Any

QUOTED = r"""(?<!\w)(?:'(?:\\.|[^'\\])*['…]|"(?:\\.|[^"\\])*["…])"""  # a text of the user's; … where it is cut off
PARAMETER = re.compile(rf"{QUOTED}|`([a-z]\w*)(?:=(?:Path\()?([^`]*?)\)?)?`")


def with_flags(message: str, flags: Mapping[str, str]) -> str:
    """Return a message with flags in place of parameters: `seq_length` as --seq-length, `name='k'` as --name k.

    flags: parameter → flag. Others keep their backticks, and so do texts in quotes.
    """

    def shown(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in flags:
            return match[0]
        return flags[name] if value in (None, "True") else f"{flags[name]} {_argument(value)}"

    return PARAMETER.sub(shown, message)


def flags_of(params: list[Any]) -> dict[str, str]:
    """Return parameter → flag for the options of a command, also by the flags' own names: `as_bytes` and `bytes`."""
    flags = {}
    for param in params:
        long = [each for each in param.opts if each.startswith("--")]
        for flag in long[:1]:
            flags[param.name] = flags[flag[2:].replace("-", "_")] = flag
    return flags


def _argument(value: str) -> str:
    """Return a Python value as an argument in a shell."""
    try:
        return shlex.quote(str(ast.literal_eval(value)))
    except (SyntaxError, ValueError):
        return value
