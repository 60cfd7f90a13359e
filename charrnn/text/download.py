"""Download texts of known size and hash over https."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import ssl
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, BinaryIO
from urllib.parse import urlsplit

from charrnn.progress import ByteProgress, no_progress
from charrnn.units import amount

TIMEOUT = 30.0  # seconds without a byte from the server
BLOCK = 1 << 16


class FetchError(Exception):
    """Why a source is not available, as the end of a sentence."""


@dataclass(frozen=True)
class Download:
    """A text at an https address."""

    origin: str
    size: int
    sha256: str

    def write(self, file: BinaryIO, progress: ByteProgress, opener: urllib.request.OpenerDirector) -> None:
        with contextlib.closing(_fetch(self.origin, self.size, opener)) as blocks:
            _copy_checked(blocks, file, self.size, self.sha256, progress)


@dataclass(frozen=True)
class ZipDownload:
    """A text that is the only member of a zip archive at an https address."""

    origin: str
    archive_size: int
    archive_sha256: str
    size: int
    sha256: str

    def write(self, file: BinaryIO, progress: ByteProgress, opener: urllib.request.OpenerDirector) -> None:
        # Beside the text: /tmp may be small or in memory.
        with tempfile.TemporaryFile(dir=Path(file.name).parent) as archive:
            Download(self.origin, self.archive_size, self.archive_sha256).write(archive, progress, opener)
            with contextlib.closing(_unpack(archive, self.size)) as blocks:
                _copy_checked(blocks, file, self.size, self.sha256, no_progress)


class _StayOnHttps(urllib.request.HTTPRedirectHandler):
    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> object:
        fp.close()  # else the body of the redirect, of any length, would be read
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise FetchError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https_opener(context: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
    """Return an opener of https addresses only, redirects included, that checks certificates.

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


def _fetch(url: str, size: int, opener: urllib.request.OpenerDirector) -> Generator[bytes, None, None]:
    """Yield the bytes at an address, at most one block more than `size`. Raises FetchError."""
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


def _unpack(archive: IO[bytes], size: int) -> Generator[bytes, None, None]:
    """Yield the bytes of an archive's only member, at most one block more than `size`. Raises FetchError."""
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


def _copy_checked(blocks: Iterator[bytes], file: BinaryIO, size: int, sha256: str, progress: ByteProgress) -> None:
    """Write the blocks. Raises FetchError as soon as they cannot be `size` bytes with this hash."""
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
