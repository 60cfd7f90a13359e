"""The explorer as a file: its data, its content policy, and what it refuses."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from charrnn.api import Model
from charrnn.cli.app import app
from charrnn.display.explorer.page import SCRIPTS, explorer_page
from charrnn.explorer.arrays import encoded_ids, encoded_matrix, encoded_shares, encoded_signed
from charrnn.explorer.weights import network_data, states_data
from charrnn.inspection.trace import trace_signal
from charrnn.model.recurrences import RECURRENCES, register
from charrnn.model.recurrences.rnn import RNN
from charrnn.settings import RECURRENCE_NAMES
from tests.explorers import HOSTILE, found_in, make_explorer, make_model
from tests.untrained import refused


@pytest.fixture
def model(home) -> Model:
    return make_model(home)


def data_of(html: str) -> dict[str, Any]:
    """Return the data of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found is not None
    return json.loads(found[1])


class Elements(HTMLParser):
    """The elements of a page as a browser sees them: name, attributes, text."""

    def __init__(self, html: str):
        super().__init__()
        self.open = False
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes), []))
        self.open = True

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, text):
        if self.found and self.open:
            self.found[-1][2].append(text)


def test_content_policy_allows_exactly_the_script_and_the_style(model):
    html = make_explorer(model).html
    elements = Elements(html).found
    [policy] = [a["content"] for tag, a, _ in elements if tag == "meta" and "http-equiv" in a]
    contents = {tag: "".join(text) for tag, a, text in elements if tag in ("script", "style") and "type" not in a}
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(contents[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    assert sum(tag == "script" for tag, _, _ in elements) == 2
    for _, attributes, _ in elements:
        assert not any(name.startswith("on") or name in ("style", "src", "srcdoc") for name in attributes)


def test_page_names_no_address(model):
    without_namespace = make_explorer(model).html.replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"(https?:)?//[\w-]+\.\w", without_namespace) == []
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|innerHTML|WebSocket", without_namespace)


def test_hostile_text_stays_data(model):
    html = make_explorer(model, title=HOSTILE).html
    assert "alert(1)" not in html.replace("\\u003cscript\\u003ealert(1)", "")
    assert "".join(data_of(html)["symbols"]) == model.vocabulary.characters
    assert all(character >= " " or character == "\n" for character in html)


def test_values_and_gates_are_those_of_the_network(model):
    data = data_of(make_explorer(model).html)
    cell = next(one for one in data["cells"] if one["name"] == "1:3")
    encoded = model.encode()
    expected = np.tanh(trace_signal(model.network, encoded, "c")[:, 3])
    values = np.frombuffer(base64.b64decode(cell["values"]), np.int8) / 127 * cell["high"]
    np.testing.assert_allclose(values, expected, atol=0.005)
    passage = cell["passages"][0]
    gate = trace_signal(model.network, encoded, "forget")[passage["start"] : passage["stop"], 3]
    shares = np.frombuffer(base64.b64decode(passage["gates"]["forget"]), np.uint8) / 255
    np.testing.assert_allclose(shares, gate, atol=0.003)
    ids = np.frombuffer(base64.b64decode(data["text"]["values"]), np.uint8)
    np.testing.assert_array_equal(ids, encoded.ids)


def test_cells_are_ranked(model):
    data = data_of(make_explorer(model, cells=4).html)
    assert [one["group"] for one in data["cells"]] == ["named", "correlates", "carries", "other"]
    first = data["cells"][0]
    assert (first["name"], first["title"], first["sentence"]) == (
        "1:3",
        "inside parentheses",
        "is high inside parentheses",
    )
    assert [one["name"] for one in first["histogram"]] == ["inside parentheses", "elsewhere"]
    assert data["cells"][1]["failed"]


def test_weights_take_8_bits_where_16_do_not_fit(model):
    weights = sum(one.numel() for one in model.network.parameters())
    bits = []
    for limit in (3 * weights, 2 * weights, weights):
        found, note = network_data(model.network, model.vocabulary, None, model.encode(), limit)
        bits.append(found and found["output"]["bits"])
    assert bits == [16, 8, None]
    assert "do not fit" in note


def test_states_come_as_often_as_they_fit(model):
    text = model.encode()[:1000]
    found = states_data(model.network, text, 10**6)
    assert found is not None
    assert found["every"] == 100
    integers = np.frombuffer(base64.b64decode(found["parts"]["c"]["values"]), np.int16).reshape(10, -1)
    scales = np.frombuffer(base64.b64decode(found["parts"]["c"]["scales"]), np.float32)
    expected = trace_signal(model.network, text, "c")[99::100]
    np.testing.assert_allclose(integers * scales[:, None], expected, atol=1e-3)
    cells = expected.shape[1]
    assert states_data(model.network, text, 5 * 2 * cells * 3)["every"] == 200
    assert states_data(model.network, text, 50) is None
    documents = dataclasses.replace(text, starts=np.array([0, 500]))
    assert states_data(model.network, documents, 10**6) is None


def test_arrays_are_restored():
    draw = np.random.default_rng(0)
    matrix = draw.normal(size=(5, 7)).astype(np.float32)
    matrix[2] = 0
    for bits, error in ((8, 1 / 254), (16, 1 / 65_534)):
        found = encoded_matrix(matrix, bits)
        integers = np.frombuffer(base64.b64decode(found["values"]), np.int8 if bits == 8 else np.int16)
        scales = np.frombuffer(base64.b64decode(found["scales"]), np.float32)
        restored = integers.reshape(5, 7) * scales[:, None]
        assert (np.abs(restored - matrix) <= 1.01 * error * np.abs(matrix).max(axis=1, keepdims=True)).all()
    assert base64.b64decode(encoded_shares(np.array([0.0, 1.0, np.nan]))) == b"\x00\xff\x00"
    assert base64.b64decode(encoded_signed(np.array([-9.0, 0.0, 3.0]), 3.0)) == b"\x81\x00\x7f"
    assert encoded_ids(np.array([1, 300]))["bits"] == 16


class Silent(RNN):
    """It inherits the equations, but no JavaScript."""

    name = "silent"
    title = "silent network"


@pytest.fixture
def silent() -> Iterator[str]:
    register(Silent)
    yield Silent.name
    del RECURRENCES[Silent.name]
    RECURRENCE_NAMES.remove(Silent.name)


def test_recurrence_without_javascript_gives_a_page_without_the_network(home, silent):
    page = make_explorer(make_model(home, recurrence=silent))
    assert not page.runs_network
    assert page.note == "this page cannot run the network: the recurrence silent declares no JavaScript"
    assert data_of(page.html)["network"] is None
    assert data_of(page.html)["cells"][0]["passages"]


def test_scripts_can_be_part_of_a_page():
    html = explorer_page({}, None, title="<&")
    assert html.count("</script>") == 2
    assert "<title>&lt;&amp;</title>" in html
    folder = Path(explorer_page.__code__.co_filename).parent
    assert {path.stem for path in folder.glob("*.js")} == set(SCRIPTS)


def test_command_writes_the_page(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "discover", lambda self, *arguments, **settings: found_in(self))
    file = tmp_path / "cells.html"
    result = CliRunner().invoke(app, ["inspect", "--html", str(file), "--palette", "purple-orange"])
    assert result.stdout == ""
    said = " ".join(result.stderr.split())
    assert "cells.html: 6 cells, " in said
    assert "weights rounded to 16 bits cost 0.00" in said
    assert data_of(file.read_text(encoding="utf-8"))["cells"][0]["name"] == "1:3"


def test_html_is_for_the_search():
    assert "is not an HTML file" in refused("--html", "cells")
    assert "--html is for the search" in refused("--cell", "1", "--html", "a.html")
    assert "exclude each other" in refused("--json", "--html", "a.html")


def test_saved_page(model, tmp_path):
    page = make_explorer(model)
    page.save(tmp_path / "new" / "cells.html")
    assert (tmp_path / "new" / "cells.html").read_text(encoding="utf-8") == page.html
    assert repr(page).startswith("<Explorer: 6 cells, ")
