"""The catalog of corpora, and downloads from a local server."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.request import OpenerDirector

import pytest

from charrnn.cli import app
from charrnn.errors import CharrnnError
from charrnn.progress import ByteProgress, no_progress
from charrnn.text import catalog
from charrnn.text.catalog import Entry, StandardLibrary, ensure
from charrnn.text.download import Download, FetchError, ZipDownload, https_opener

TEXT = b"To be, or not to be: that is the question.\n" * 5000


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def entry(url: str, data: bytes = TEXT) -> Entry:
    return Entry("play", "a play", Download(url, len(data), sha256(data)))


def zip_of(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


class Answers(http.server.BaseHTTPRequestHandler):
    """Serves `server.pages`: path → status, headers and body."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status, headers, body = self.server.pages.get(self.path, (404, {}, b"nothing here"))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, tuple[int, dict[str, str | None], bytes]] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Answers)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up early, as it should in some tests


@contextmanager
def running(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command makes the certificate, and is missing")
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    command = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {path} -out {path}.crt"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = subprocess.run([openssl, *command.split(), *names], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this openssl makes no certificate: {made.stderr.strip().splitlines()[-1]}")
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def server(certificate: Path) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with running(Server(context)) as server:
        server.pages["/play.txt"] = (200, {}, TEXT)
        yield server


@pytest.fixture
def opener(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> OpenerDirector:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return https_opener(ssl.create_default_context(cafile=certificate))


def refused(
    an_entry: Entry, folder: Path, opener: OpenerDirector, progress: ByteProgress = no_progress
) -> CharrnnError:
    """Return the error of an entry, which must leave nothing in the folder."""
    with pytest.raises(CharrnnError) as caught:
        ensure(an_entry, folder, progress, opener)
    assert not folder.exists() or list(folder.iterdir()) == []
    assert "\n" not in str(caught.value)
    return caught.value


def test_download(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    told = []
    path = ensure(
        entry(server.url + "/play.txt"), tmp_path / "new" / "corpora", lambda *done: told.append(done), opener
    )
    assert path == tmp_path / "new" / "corpora" / "play.txt"
    assert path.read_bytes() == TEXT
    assert [p.name for p in path.parent.iterdir()] == ["play.txt"]
    assert told == sorted(told)
    assert told[-1] == (len(TEXT), len(TEXT))
    assert len(told) > 1


def test_existing_file_is_used(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    (tmp_path / "play.txt").write_text("mine")
    assert ensure(entry(server.url + "/play.txt"), tmp_path, opener=opener).read_text() == "mine"
    assert server.asked == []


def test_file_mode_follows_the_umask(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    (tmp_path / "own").touch()
    path = ensure(entry(server.url + "/play.txt"), tmp_path, opener=opener)
    assert path.stat().st_mode == (tmp_path / "own").stat().st_mode


def test_missing_page(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    error = refused(entry(server.url + "/gone.txt"), tmp_path, opener)
    assert f"{server.url}/gone.txt: the server answers 404 Not Found" in error.message
    assert str(tmp_path / "play.txt") in error.hint


def test_wrong_hash(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    server.pages["/play.txt"] = (200, {}, TEXT[:-1] + b"?")
    assert "its SHA-256 is " in refused(entry(server.url + "/play.txt"), tmp_path, opener).message


def test_wrong_announced_size(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    server.pages["/play.txt"] = (200, {}, TEXT + b"!")
    message = refused(entry(server.url + "/play.txt"), tmp_path, opener).message
    assert "announces 215,001 bytes, 215,000 are expected" in message


def test_longer_than_expected(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    server.pages["/play.txt"] = (200, {"Content-Length": None}, TEXT * 20)
    told = []
    error = refused(entry(server.url + "/play.txt"), tmp_path, opener, lambda done, total: told.append(done))
    assert "more than the 215,000 bytes" in error.message
    assert max(told) <= len(TEXT)


@pytest.mark.parametrize("headers", [{"Content-Length": None}, {"Content-Length": str(len(TEXT))}])
def test_shorter_than_expected(server: Server, opener: OpenerDirector, tmp_path: Path, headers: dict[str, str]) -> None:
    server.pages["/play.txt"] = (200, headers, TEXT[:1000])
    message = refused(entry(server.url + "/play.txt"), tmp_path, opener).message
    assert "ended after 1,000 of 215,000 bytes" in message or "IncompleteRead" in message


def test_redirect_to_https(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    server.pages["/moved"] = (302, {"Location": server.url + "/play.txt"}, b"")
    assert ensure(entry(server.url + "/moved"), tmp_path, opener=opener).read_bytes() == TEXT


@pytest.mark.parametrize("target", ["http://127.0.0.1:PORT/play.txt", "file:///etc/passwd", "ftp://127.0.0.1/x", "//["])
def test_redirect_to_another_scheme(server: Server, opener: OpenerDirector, tmp_path: Path, target: str) -> None:
    with running(Server()) as unsafe:
        unsafe.pages["/play.txt"] = (200, {}, TEXT)
        target = target.replace("PORT", str(unsafe.server_port))
        server.pages["/moved"] = (302, {"Location": target}, b"")
        message = refused(entry(server.url + "/moved"), tmp_path, opener).message
        assert any(words in message for words in ("not https", "not allowed", "Invalid"))
        assert unsafe.asked == []


def test_body_of_a_redirect_is_not_read(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    headers = {"Location": server.url + "/play.txt", "Content-Length": str(10**12)}
    server.pages["/moved"] = (307, headers, b"far less than was announced")
    assert ensure(entry(server.url + "/moved"), tmp_path, opener=opener).read_bytes() == TEXT


def test_endless_redirects(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    server.pages["/moved"] = (302, {"Location": server.url + "/moved"}, b"")
    assert "302" in refused(entry(server.url + "/moved"), tmp_path, opener).message


def test_only_https_is_opened(tmp_path: Path) -> None:
    with running(Server()) as unsafe:
        unsafe.pages["/play.txt"] = (200, {}, TEXT)
        assert "http" in refused(entry(unsafe.url + "/play.txt"), tmp_path, https_opener()).message
        assert unsafe.asked == []
    assert "file" in refused(entry("file:///etc/passwd"), tmp_path, https_opener()).message


def test_untrusted_certificate(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    message = refused(entry(server.url + "/play.txt"), tmp_path, https_opener()).message
    assert "certificate" in message.lower()
    assert server.asked == []


def test_no_server(opener: OpenerDirector, tmp_path: Path) -> None:
    with running(Server()) as gone:
        url = f"https://127.0.0.1:{gone.server_port}/play.txt"
    assert "refused" in refused(entry(url), tmp_path, opener).message


def test_no_network(tmp_path: Path, opener: OpenerDirector, monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(*arguments: object, **details: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    error = refused(entry("https://host.invalid/play.txt"), tmp_path, opener)
    assert "no network, or no such host: Name or service not known" in error.message
    assert error.hint == f"save the text by hand as {tmp_path / 'play.txt'}"


def test_a_failed_download_leaves_no_folder(tmp_path: Path, opener: OpenerDirector) -> None:
    with running(Server()) as gone:
        absent = entry(f"https://127.0.0.1:{gone.server_port}/play.txt")
    refused(absent, tmp_path / "home" / "corpora", opener)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "corpora").mkdir()
    refused(absent, tmp_path / "corpora", opener)
    assert list(tmp_path.iterdir()) == [tmp_path / "corpora"]  # it was there before


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit, MemoryError])
def test_interrupted_download_leaves_nothing(
    server: Server, opener: OpenerDirector, tmp_path: Path, failure: type[BaseException]
) -> None:
    def interrupt(done: int, total: int) -> None:
        raise failure

    with pytest.raises(failure):
        ensure(entry(server.url + "/play.txt"), tmp_path, interrupt, opener)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "corpora").write_text("a file")
    with pytest.raises(CharrnnError, match=r"play\.txt cannot be written"):
        ensure(entry("https://host.invalid/play.txt"), tmp_path / "corpora", opener=https_opener())


def zipped(url: str, archive: bytes, data: bytes = TEXT) -> Entry:
    return Entry("play", "a play", ZipDownload(url, len(archive), sha256(archive), len(data), sha256(data)))


def test_archive(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    archive = zip_of(play=TEXT)
    server.pages["/play.zip"] = (200, {}, archive)
    told = []
    path = ensure(zipped(server.url + "/play.zip", archive), tmp_path, lambda *done: told.append(done), opener)
    assert path.read_bytes() == TEXT
    assert told[-1] == (len(archive), len(archive))
    assert [p.name for p in tmp_path.iterdir()] == ["play.txt"]


def lying_about_its_size(archive: bytes, size: int) -> bytes:
    """The archive, with another unpacked size in its directory."""
    place = archive.index(b"PK\x01\x02") + 24
    return archive[:place] + size.to_bytes(4, "little") + archive[place + 4 :]


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (zip_of(play=TEXT, more=b"x"), "holds 2 files"),
        (zip_of(), "holds 0 files"),
        (zip_of(play=TEXT * 2), "has 430,000 bytes, 215,000 are expected"),
        (lying_about_its_size(zip_of(play=TEXT * 2), len(TEXT)), "cannot be unpacked|SHA-256|more than"),
        (zip_of(play=TEXT[::-1]), "SHA-256"),
        (b"no archive at all", "cannot be unpacked"),
        (zip_of(play=TEXT)[:-30], "cannot be unpacked"),
        (zip_of(play=TEXT).replace(b"\x08\x00", b"\x63\x00"), "cannot be unpacked"),
    ],
    ids=["two members", "none", "too large", "lying size", "other text", "no zip", "cut", "unknown method"],
)
def test_unexpected_archive(server: Server, opener: OpenerDirector, tmp_path: Path, archive: bytes, words: str) -> None:
    server.pages["/play.zip"] = (200, {}, archive)
    error = refused(zipped(server.url + "/play.zip", archive), tmp_path, opener)
    assert any(word in error.message for word in words.split("|"))
    assert error.hint.endswith("(unpacked from the archive)")


def test_archive_with_wrong_hash_is_not_opened(server: Server, opener: OpenerDirector, tmp_path: Path) -> None:
    archive = zip_of(play=TEXT)
    server.pages["/play.zip"] = (200, {}, archive[:-1] + b"?")
    assert "its SHA-256 is " in refused(zipped(server.url + "/play.zip", archive), tmp_path, opener).message


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "library"
    root.mkdir()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root))
    return root


def test_standard_library_order(library: Path, tmp_path: Path) -> None:
    files = {
        "b.py": b"b = 1\n",
        "a/z.py": b"az = 1\n",
        "a.py": b"a = 1",
        "Z.py": b"Z = 1\r\n",
        "test/t.py": b"no\n",
        "a/tests/t.py": b"no\n",
        "idlelib/idle_test/t.py": b"no\n",
        "site-packages/p.py": b"no\n",
        "a/__pycache__/c.py": b"no\n",
        "empty.py": b"",
        "notes.txt": b"no\n",
    }
    for name, data in files.items():
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_bytes(data)
    path = ensure(Entry("python", "", StandardLibrary()), tmp_path / "corpora")
    assert path.read_bytes() == b"Z = 1\na = 1\naz = 1\nb = 1\n"


def test_standard_library_encodings(library: Path, tmp_path: Path) -> None:
    (library / "bom.py").write_bytes(b"\xef\xbb\xbfx = '\xc3\xa9'\n")
    (library / "latin.py").write_bytes(b"# coding: latin-1\ny = '\xe9'\n")
    (library / "lies.py").write_bytes(b"# coding: ascii\nno = '\xe9'\n")
    (library / "unknown.py").write_bytes(b"# coding: klingon\nno = 1\n")
    told = []
    path = ensure(Entry("python", "", StandardLibrary()), tmp_path / "corpora", lambda *done: told.append(done))
    assert path.read_text(encoding="utf-8") == "x = 'é'\n# coding: latin-1\ny = 'é'\n"
    assert told[-1][0] == told[-1][1] == sum(p.stat().st_size for p in library.iterdir())


def test_python_without_library_source(library: Path, tmp_path: Path) -> None:
    with pytest.raises(CharrnnError, match="keeps no source"):
        ensure(Entry("python", "", StandardLibrary()), tmp_path / "corpora")


def test_own_standard_library(tmp_path: Path) -> None:
    path = ensure(catalog.CORPORA["python"], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert len(text) > 3_000_000
    assert "def dataclass(" in text
    assert "import unittest.mock\nimport unittest.test" not in text


def test_find_with_and_without_suffix() -> None:
    assert list(catalog.CORPORA) == ["python", "shakespeare", "warpeace", "names", "enwik8"]
    for name in catalog.CORPORA:
        assert catalog.find(name) is catalog.find(f"{name}.txt") is catalog.CORPORA[name]
    assert catalog.find("nothing") is None


def test_addresses_are_https_with_pinned_hashes() -> None:
    sources = [e.source for e in catalog.CORPORA.values() if not isinstance(e.source, StandardLibrary)]
    assert len(sources) == 4
    for source in sources:
        assert source.origin.startswith("https://")
        assert len(source.sha256) == 64
        assert source.size > 0


def test_source_protocol(tmp_path: Path) -> None:
    class Broken:
        origin, size = "somewhere", None

        def write(self, file: BinaryIO, progress: ByteProgress, opener: OpenerDirector) -> None:
            raise FetchError("it is broken")

    assert "from somewhere: it is broken" in refused(Entry("play", "", Broken()), tmp_path, https_opener()).message


class Counting:
    """A corpus of numbers, as a user's own file would define it."""

    origin, size = "counted", None

    def write(self, file: BinaryIO, progress: ByteProgress, opener: OpenerDirector) -> None:
        file.write(" ".join(map(str, range(2000))).encode())


@pytest.fixture
def counting(home: Path) -> Iterator[None]:
    catalog.register(Entry("counting", "Numbers in order", Counting()))
    yield
    del catalog.CORPORA["counting"]


def cli(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["charrnn", *arguments])
        app.main()
    assert not ended.value.code


@pytest.mark.usefixtures("counting")
def test_train_on_a_registered_corpus(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli("train", "counting", "--name", "run", "--hidden-size", "8", "--steps", "5", "--evaluations", "1")
    assert (home / "corpora" / "counting.txt").read_text().startswith("0 1 2 3")
    assert (home / "checkpoints" / "run").is_dir()


@pytest.mark.usefixtures("counting")
def test_registered_corpus_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    cli("corpora", "--json")
    (listed,) = (entry for entry in json.loads(capsys.readouterr().out) if entry["name"] == "counting")
    assert (listed["description"], listed["origin"], listed["present"]) == ("Numbers in order", "counted", False)


@pytest.mark.usefixtures("counting")
def test_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="there is a corpus counting already"):
        catalog.register(Entry("counting", "", Counting()))
