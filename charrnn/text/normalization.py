"""Unicode normalization (UAX #15) of a text that is read in pieces.

`jamo` is NFC with each Hangul syllable decomposed into its two or three letters, so that a model of Korean learns 67
letters instead of thousands of syllables. NFC composes them again.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

UnicodeForm = Literal["NFC", "NFD"]
UNICODE_FORMS: dict[str, UnicodeForm] = {"nfc": "NFC", "nfd": "NFD", "jamo": "NFC"}
"""Value of `--normalize` → the form of Unicode that it applies."""

LONGEST_RUN = 1024  # marks in a row; sorting them takes quadratic time
_SYLLABLES = re.compile("[\uac00-\ud7a3]+")
_CONTINUING_LETTERS = ((0x1160, 0x11FF), (0xD7B0, 0xD7FF), (0x16D63, 0x16D6A))  # Hangul vowels, finals; Kirat Rai


class StreamNormalizer:
    """Normalizes a text piece by piece. The result does not depend on where the text is divided.

    form: a key of `UNICODE_FORMS`. More than `LONGEST_RUN` marks in a row are normalized in groups of that many.
    """

    def __init__(self, form: str):
        self._form, self._is_jamo = UNICODE_FORMS[form], form == "jamo"
        self._held = ""

    def convert(self, text: str | bytes) -> str:
        """Return what later text cannot change. The last character and its marks belong to the next piece.

        text: a str, or ASCII bytes.
        """
        text = self._held + (text.decode("ascii") if isinstance(text, bytes) else text)
        start = len(text) - 1
        while start > 0 and _continues(text[start]):
            start -= 1
        while len(text) - start > LONGEST_RUN + 1:
            start += LONGEST_RUN + (not _continues(text[start]))
        self._held = text[max(start, 0) :]
        return self._normalized(text[: max(start, 0)])

    def end(self) -> str:
        """Return the rest of the text."""
        text, self._held = self._held, ""
        return self._normalized(text)

    def _normalized(self, text: str) -> str:
        if text.isascii():
            return text
        groups = _groups(text) if _has_long_run(text) else (text,)
        text = "".join(unicodedata.normalize(self._form, group) for group in groups)
        return _SYLLABLES.sub(lambda match: unicodedata.normalize("NFD", match[0]), text) if self._is_jamo else text


class NFCCheck:
    """Checks whether a text that is read in pieces is in NFC. is_nfc: whether it is so far."""

    def __init__(self) -> None:
        self.is_nfc, self._last = True, ""

    def feed(self, text: str | bytes) -> None:
        """Take in a piece: a str, or ASCII bytes."""
        if isinstance(text, str) and self.is_nfc:
            self.is_nfc = unicodedata.is_normalized("NFC", self._last + text)
        self._last = text[-1:] if isinstance(text, str) else text[-1:].decode("ascii")


def normalized(text: str, form: str) -> str:
    """Return a text in a form: nfc, nfd, jamo, or none for the text itself."""
    if form == "none":
        return text
    normalizer = StreamNormalizer(form)
    return normalizer.convert(text) + normalizer.end()


def _has_long_run(text: str) -> bool:
    """Return whether more than `LONGEST_RUN` marks follow each other. Such a run covers a multiple of that number."""
    for place in range(0, len(text), LONGEST_RUN):
        first = last = place
        while first >= 0 and _continues(text[first]):
            first -= 1
        while last < len(text) and _continues(text[last]):
            last += 1
        if last - first - 1 > LONGEST_RUN:
            return True
    return False


def _groups(text: str) -> Iterator[str]:
    """Divide a text after every `LONGEST_RUN` marks in a row."""
    start = run = 0
    for place, character in enumerate(text):
        run = run + 1 if _continues(character) else 0
        if run == LONGEST_RUN:
            yield text[start : place + 1]
            start, run = place + 1, 0
    yield text[start:]


@functools.lru_cache(maxsize=8192)
def _continues(character: str) -> bool:
    """Return whether normalization can change a character together with those before it."""
    if unicodedata.combining(character) or unicodedata.category(character)[0] == "M":
        return True
    return any(first <= ord(character) <= last for first, last in _CONTINUING_LETTERS)
