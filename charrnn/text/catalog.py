"""Corpora known by name: where each comes from, and how it gets into the corpora folder.

To add a corpus, add an entry to `ENTRIES`. A source is anything with `origin`, `size` and `write`.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import ssl
import sysconfig
import tempfile
import tokenize
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit

from charrnn.errors import CharrnnError
from charrnn.files import Progress, atomic_file, remove_leftovers
from charrnn.units import amount

TIMEOUT = 30.0  # seconds that a server may stay silent
BLOCK = 1 << 16


class FetchError(Exception):
    """Why a source could not be had, as the end of a sentence."""


class Source(Protocol):
    """Where a corpus comes from."""

    origin: str  # what a person is told: an address, or words
    size: int | None  # bytes of the finished text; None where that is known only once it is built

    def write(self, file: BinaryIO, progress: Progress, opener: urllib.request.OpenerDirector) -> None:
        """Writes the text, as UTF-8. Raises FetchError where it cannot be had, OSError where it cannot be written."""


@dataclass(frozen=True)
class Download:
    """A text at an https address, known by its size in bytes and its SHA-256."""

    origin: str
    size: int
    sha256: str

    def write(self, file: BinaryIO, progress: Progress, opener: urllib.request.OpenerDirector) -> None:
        with contextlib.closing(_fetched(self.origin, self.size, opener)) as blocks:
            _copy_checked(blocks, file, self.size, self.sha256, progress)


@dataclass(frozen=True)
class ZipDownload:
    """A text that is the only member of a zip archive at an https address. Both are known by size and SHA-256."""

    origin: str
    archive_size: int
    archive_sha256: str
    size: int
    sha256: str

    def write(self, file: BinaryIO, progress: Progress, opener: urllib.request.OpenerDirector) -> None:
        # Beside the text, not in /tmp, which may be small or in memory; without a name, so that nothing is left behind.
        with tempfile.TemporaryFile(dir=Path(file.name).parent) as archive:
            Download(self.origin, self.archive_size, self.archive_sha256).write(archive, progress, opener)
            with contextlib.closing(_unpacked(archive, self.size)) as blocks:
                _copy_checked(blocks, file, self.size, self.sha256, lambda done, size: None)


NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True)
class StandardLibrary:
    """The Python files of the running interpreter's standard library, sorted by path, one after the other."""

    origin: str = "built from this Python's own files"
    size: int | None = None

    def write(self, file: BinaryIO, progress: Progress, opener: urllib.request.OpenerDirector) -> None:
        root = Path(sysconfig.get_path("stdlib"))
        paths = [path for path in root.rglob("*.py") if path.is_file()]
        paths = [path for path in paths if not NOT_LIBRARY.intersection(path.relative_to(root).parts)]
        if not paths:
            raise FetchError(f"this Python keeps no source in {root}")
        paths.sort(key=lambda path: path.relative_to(root).as_posix())
        total = sum(path.stat().st_size for path in paths)
        done = 0
        for path in paths:
            try:
                with tokenize.open(path) as source:
                    text = source.read()
            except (SyntaxError, UnicodeError):  # its encoding is unknown, or not the one it declares
                text = ""
            if text and not text.endswith("\n"):
                text += "\n"
            file.write(text.encode("utf-8"))
            done += path.stat().st_size
            progress(done, total)


@dataclass(frozen=True)
class Entry:
    """A corpus of the catalog."""

    name: str
    description: str
    source: Source

    @property
    def file_name(self) -> str:
        """What it is called in the corpora folder."""
        return f"{self.name}.txt"


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "python",
            "Source code of Python's standard library: strings, comments, indentation",
            StandardLibrary(),
        ),
        Entry(
            "shakespeare",
            "Scenes from Shakespeare's plays (tiny-shakespeare)",
            Download(
                "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
                "data/tinyshakespeare/input.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        Entry(
            "names",
            "32,033 first names, one a line",
            Download(
                "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/"
                "names.txt",
                228_145,
                "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
            ),
        ),
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
        ),
    )
}


def names() -> list[str]:
    """The names in the catalog, in its order."""
    return list(ENTRIES)


def find(name: str) -> Entry | None:
    """The entry of this name, with or without `.txt`; None if there is none."""
    return ENTRIES.get(name.removesuffix(".txt"))


def ensure(
    entry: Entry,
    folder: Path,
    progress: Progress | None = None,
    opener: urllib.request.OpenerDirector | None = None,
) -> Path:
    """The entry's text in the corpora folder: fetched or built if no file of its name lies there, else as it lies.

    progress: called with bytes done and bytes in all. opener: what addresses are opened with (`https_opener`).

    Raises CharrnnError where it cannot be had or written. A text appears under its name whole and checked, or not.
    """
    path = folder / entry.file_name
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            with atomic_file(path) as aside, aside.open("wb") as file:
                entry.source.write(file, progress or (lambda done, total: None), opener or https_opener())
    except FetchError as error:
        raise CharrnnError(
            f"the corpus {entry.name} could not be had from {entry.source.origin}: {error}",
            f"save the text by hand as {path}" + _unpacking(entry.source),
        ) from None
    except OSError as error:
        raise CharrnnError(f"{path} cannot be written: {error.strerror or error}") from None
    return path


def _unpacking(source: Source) -> str:
    return " (unpacked from the archive)" if isinstance(source, ZipDownload) else ""


class _StayOnHttps(urllib.request.HTTPRedirectHandler):
    def http_error_302(self, req, fp, code, msg, headers):
        fp.close()  # else all of the redirect's own body, of whatever length, would be read
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urlsplit(newurl).scheme != "https":
            raise FetchError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https_opener(context: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
    """Opens https addresses and no others, through redirects too, with certificates checked.

    context: which certificates are trusted; the system's if None.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context or ssl.create_default_context()),
        _StayOnHttps(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "charrnn")]
    return opener


def _fetched(url: str, size: int, opener: urllib.request.OpenerDirector) -> Iterator[bytes]:
    """The bytes at an address, never more than one block beyond `size`. Raises FetchError."""
    try:
        with opener.open(url, timeout=TIMEOUT) as response:
            announced = response.headers.get("Content-Length", "")
            if announced.isdecimal() and int(announced) != size:
                raise FetchError(
                    f"the server announces {amount(int(announced), 'byte', exact=True)}, {size:,} are expected"
                )
            while block := response.read(BLOCK):
                yield block
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"the server answers {error.code} {_one_line(error.reason)}") from None
    except urllib.error.URLError as error:
        unresolved = isinstance(error.reason, socket.gaierror)
        raise FetchError(("no network, or no such host: " if unresolved else "") + _one_line(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(_one_line(error) or type(error).__name__) from None


def _one_line(reason: object) -> str:
    text = " ".join(str(getattr(reason, "strerror", None) or reason).split())
    return text[:200]


def _unpacked(archive: BinaryIO, size: int) -> Iterator[bytes]:
    """The bytes of an archive's only member, never more than one block beyond `size`. Raises FetchError."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if len(members) != 1:
                raise FetchError(f"the archive holds {len(members)} files, 1 is expected")
            if members[0].file_size != size:
                raise FetchError(
                    f"the archive's file has {amount(members[0].file_size, 'byte', exact=True)}, {size:,} are expected"
                )
            with opened.open(members[0]) as member:
                while block := member.read(BLOCK):
                    yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise FetchError(f"the archive cannot be unpacked ({_one_line(error)})") from None


def _copy_checked(blocks: Iterator[bytes], file: BinaryIO, size: int, sha256: str, progress: Progress) -> None:
    """Writes the blocks if they are `size` bytes with this hash. Raises FetchError as soon as they cannot be."""
    digest = hashlib.sha256()
    done = 0
    for block in blocks:
        done += len(block)
        if done > size:
            raise FetchError(f"it has more than the {size:,} bytes that are expected")
        digest.update(block)
        file.write(block)
        progress(done, size)
    if done < size:
        raise FetchError(f"it ended after {done:,} of {amount(size, 'byte', exact=True)}")
    if digest.hexdigest() != sha256:
        raise FetchError(f"its SHA-256 is {digest.hexdigest()}, not {sha256}")
