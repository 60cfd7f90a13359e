"""Corpora known by name. To add one, call `register` with an `Entry`."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from charrnn.errors import CharrnnError
from charrnn.files import atomic_file, remove_leftovers
from charrnn.progress import ByteProgress, no_progress
from charrnn.text.download import Download, FetchError, ZipDownload, https_opener
from charrnn.text.standard_library import read_source, source_files


class Source(Protocol):
    """Where a corpus comes from.

    origin: an address or a phrase, for display. size: bytes of the text; None if unknown before it is built.
    """

    @property
    def origin(self) -> str: ...
    @property
    def size(self) -> int | None: ...

    def write(self, file: BinaryIO, progress: ByteProgress, opener: urllib.request.OpenerDirector) -> None:
        """Write the text as UTF-8. Raises FetchError where it is not available, OSError where writing fails."""


@dataclass(frozen=True)
class Entry:
    """A corpus of the catalog. Its text is `NAME.txt` in the corpora folder."""

    name: str
    description: str
    source: Source

    @property
    def file_name(self) -> str:
        return f"{self.name}.txt"


@dataclass(frozen=True)
class StandardLibrary:
    """The Python files of the running interpreter's standard library, concatenated in the order of their paths."""

    origin: str = "built from this Python's own files"
    size: int | None = None

    def write(self, file: BinaryIO, progress: ByteProgress, opener: urllib.request.OpenerDirector) -> None:
        paths = source_files().values()
        total = sum(path.stat().st_size for path in paths)
        done = 0
        for path in paths:
            file.write(read_source(path).encode("utf-8"))
            done += path.stat().st_size
            progress(done, total)


CORPORA: dict[str, Entry] = {}
"""Name → entry."""


def register(entry: Entry) -> None:
    """Add a corpus to the catalog. Raises ValueError where the name is taken."""
    if entry.name in CORPORA:
        raise ValueError(f"there is a corpus {entry.name} already")
    CORPORA[entry.name] = entry


def find(name: str) -> Entry | None:
    """Return the entry of a name, with or without `.txt`."""
    return CORPORA.get(name.removesuffix(".txt"))


def ensure(
    entry: Entry,
    folder: Path,
    progress: ByteProgress = no_progress,
    opener: urllib.request.OpenerDirector | None = None,
) -> Path:
    """Return the path of an entry's text in the corpora folder. Download or build it if no file has its name.

    progress: called with bytes done and total bytes. opener: for downloads; `https_opener()` if None.

    Raises CharrnnError where the text is not available or cannot be written. The file appears complete or not at all.
    """
    path = folder / entry.file_name
    try:
        if not path.exists():
            with _folder_kept_on_success(folder), atomic_file(path) as aside, aside.open("wb") as file:
                entry.source.write(file, progress, opener or https_opener())
    except FetchError as error:
        unpacked = " (unpacked from the archive)" if isinstance(entry.source, ZipDownload) else ""
        raise CharrnnError(
            f"the corpus {entry.name} is not available from {entry.source.origin}: {error}",
            f"save the text by hand as {path}{unpacked}",
        ) from None
    except OSError as error:
        raise CharrnnError(f"{path} cannot be written: {error.strerror or error}") from None
    return path


@contextlib.contextmanager
def _folder_kept_on_success(folder: Path) -> Iterator[None]:
    """Make a folder, and remove it after an exception if it is new."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # another process has written into it
            for one in new:
                one.rmdir()
        raise


register(Entry("python", "Source code of Python's standard library: strings, comments, indentation", StandardLibrary()))
register(
    Entry(
        "shakespeare",
        "Scenes from Shakespeare's plays (tiny-shakespeare)",
        Download(
            "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
            "data/tinyshakespeare/input.txt",
            1_115_394,
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    )
)
register(
    Entry(
        "warpeace",
        "Tolstoy's War and Peace, in English",
        Download(
            "https://raw.githubusercontent.com/MrHereward/machine_learning_sandbox/"
            "2d0fdf30f4afbcf01c1b8c7b408e738a0161d613/warpeace_input.txt",
            3_196_228,
            "b0fc81c399971eaf738c8be89809e6a0d95c151749112b04f06b6af648d8a39f",
        ),
    )
)
register(
    Entry(
        "names",
        "32,033 first names, one per line",
        Download(
            "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt",
            228_145,
            "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
        ),
    )
)
register(
    Entry(
        "enwik8",
        "The first 100 million bytes of a copy of the English Wikipedia",
        ZipDownload(
            "https://mattmahoney.net/dc/enwik8.zip",
            36_445_475,
            "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
            100_000_000,
            "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
        ),
    )
)
