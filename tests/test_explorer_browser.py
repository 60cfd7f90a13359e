"""The explorer in a real browser: Chromium without a window, driven by Selenium."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.api import Model
from charrnn.causal.effects import effect_table
from charrnn.explorer import data
from charrnn.explorer.weights import network_data, rounded, rounding_cost
from charrnn.inspection.trace import trace_signal
from tests.conftest import contracted
from tests.explorers import ENGLAND, HOSTILE, TEXT, keep_ablation, make_explorer, make_model

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="Chromium and chromedriver are not installed"
)

TYPED = 'so "it (is)" and\nhe said'
SHAPES = [("lstm", 1), ("lstm", 2), ("gru", 2), ("rnn", 1), ("irnn", 2)]


class Page:
    """A page in a browser."""

    def __init__(self, driver: Any):
        self.driver = driver

    def open(self, path: Path, fragment: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(path.as_uri() + fragment)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run statements in the page and return what they return."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        self.driver.execute_async_script(
            f"const done = arguments[0]; const look = () => ({condition}) ? done() : setTimeout(look, 5); look();"
        )

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def press(self, key: str, selector: str = "body") -> None:
        self.run(
            "document.querySelector(arguments[1]).dispatchEvent("
            "new KeyboardEvent('keydown', { key: arguments[0], bubbles: true, cancelable: true }))",
            key,
            selector,
        )

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field as an input of a person does."""
        self.run(
            "const field = document.querySelector(arguments[0]); field.value = arguments[1];"
            "if (field.type === 'textarea') field.setSelectionRange(field.value.length, field.value.length);"
            "field.dispatchEvent(new Event('input', { bubbles: true }))",
            selector,
            text,
        )

    def point(self, selector: str) -> None:
        self.run(
            "document.querySelector(arguments[0]).dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))",
            selector,
        )

    def logs(self) -> tuple[list[str], list[str]]:
        """Return the messages of the console and the addresses that were requested, since the last call."""
        console = [entry["message"] for entry in self.driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        requests = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return console, [url for url in requests if url != "about:blank"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Iterator[dict[tuple[str, int], tuple[Model, Path]]]:
    """For each recurrence and number of layers a model, and the file of its explorer."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_HOME", str(home))
        (home / "corpora").mkdir()
        made = {}
        for recurrence, layers in SHAPES:
            model = make_model(home, name=f"{recurrence}{layers}", recurrence=recurrence, layers=layers)
            with torch.no_grad():
                contracted(model.network)
                model.network.output.weight *= 3
                for parameter in model.network.parameters():
                    if parameter.ndim == 1:
                        parameter += torch.linspace(-0.5, 0.5, len(parameter))
            if layers == 2:
                keep_ablation(model)
            path = home / f"{recurrence}{layers}.html"
            make_explorer(model, characters=1500).save(path)
            made[recurrence, layers] = model, path
        model = make_model(home, name="bytes", as_bytes=True)
        make_explorer(model, characters=1500).save(home / "bytes.html")
        made["bytes", 1] = model, home / "bytes.html"
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1300,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield Page(driver)
    driver.quit()


@pytest.fixture
def page(browser, models) -> Iterator[Page]:
    """The page of an LSTM. It must log nothing and request nothing but itself."""
    path = models["lstm", 2][1]
    browser.logs()
    browser.open(path)
    yield browser
    console, requests = browser.logs()
    assert console == []
    assert {url.partition("#")[0] for url in requests} == {path.as_uri()}


def logits_of(model: Model, text: str) -> np.ndarray:
    """Return the logits after each character (N, V)."""
    ids = torch.from_numpy(model.vocabulary.encode(text).astype(np.int64))[None]
    with torch.inference_mode():
        return model.network(ids, model.network.initial_state(1))[0][0].numpy()


READ = (
    "const { encode, LiveText } = charrnn;"
    "return new LiveText(arguments[1]).read(encode(arguments[0])).steps.map(({ logits }) => [...logits])"
)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]}{shape[1]}")
def test_logits_equal_those_of_pytorch(browser, models, shape):
    model, path = models[shape]
    browser.open(path)
    np.testing.assert_allclose(browser.run(READ, TYPED, []), logits_of(model, TYPED), atol=1e-3)


def test_8_bit_logits_are_those_of_the_rounded_network(browser, models, tmp_path, monkeypatch):
    model, _ = models["lstm", 2]
    weights = sum(one.numel() for one in model.network.parameters())
    monkeypatch.setattr(data, "network_data", lambda *given: network_data(*given[:-1], 2 * weights))
    page = make_explorer(model, characters=1500)
    cost = rounding_cost(model.network, model.encode()[:1500], 8)
    assert page.note == f"weights rounded to 8 bits cost {cost:.3f} bits/char"
    page.save(tmp_path / "8.html")
    browser.open(tmp_path / "8.html")
    network = rounded(model.network, 8)
    found = np.array(browser.run(READ, TYPED, []))
    np.testing.assert_allclose(found, logits_of(dataclasses.replace(model, network=network), TYPED), atol=1e-3)
    assert 0.001 < np.abs(found - logits_of(model, TYPED)).max() < 0.2


@pytest.mark.parametrize(("signal", "value"), [("c", 1.7), ("c", -0.4), ("h", 0.9)])
def test_held_cell_equals_a_clamp(page, models, signal, value):
    model, _ = models["lstm", 2]
    held = [{"layer": 1, "cell": 3, "part": signal, "value": value}]
    expected = logits_of(model.clamp("1:3", value, signal), TYPED)
    np.testing.assert_allclose(page.run(READ, TYPED, held), expected, atol=1e-3)


def test_first_cell_is_shown(page):
    assert page.text("h2").lstrip("★ ") == "Cell 1:3 is high inside parentheses"
    assert page.run("return document.title").startswith("1:3 inside parentheses")
    assert "AUC" in page.text("#headline")
    kinds = page.run("return [...document.querySelectorAll('.passage .kind')].map((one) => one.firstChild.textContent)")
    assert {"highest", "median", "lowest"} <= set(kinds)
    assert page.run("return document.querySelectorAll('.histogram rect').length") > 0
    classes = page.run("return [...document.querySelectorAll('#passages span')].map((one) => one.className)")
    assert any(re.match(r"[pn]\d", one) for one in classes)
    assert page.text("#details").count("forget gate") == 1


def test_ablation_is_a_table(page, models):
    ablation = models["lstm", 2][0].earlier_ablations()[0]
    headers, rows = effect_table(ablation)
    found = page.run(
        "return [...document.querySelectorAll('#details table tr')].map((row) => "
        "[...row.cells].map((one) => one.textContent))"
    )
    assert found == [headers, *rows]
    words = page.run("return document.querySelector('#details table').closest('section').textContent")
    assert words.startswith("Ablation")
    assert ablation.stars
    assert page.text("#list [aria-current] .stars").strip() == "★" * ablation.stars
    assert page.text("h2 .stars").strip() == "★" * ablation.stars
    page.press("j")
    page.wait("charrnn.explorer.cell.name === '1:4'")
    assert "Not ablated" in page.text("#details")


def test_keys_address_and_neighbors(page):
    names = page.run("return [...document.querySelectorAll('#list a')].map((one) => one.dataset.cell)")
    page.press("j")
    page.wait(f"charrnn.explorer.cell.name === '{names[1]}'")
    assert page.run("return location.hash") == f"#{names[1]}"
    page.press("ArrowLeft")
    page.wait(f"charrnn.explorer.cell.name === '{names[0]}'")
    page.run("document.getElementById('previous').click()")
    page.wait(f"charrnn.explorer.cell.name === '{names[-1]}'")
    page.press("/")
    assert page.run("return document.activeElement.id") == "search"
    page.press("Escape", "#search")
    assert page.run("return document.activeElement.id") != "search"


def test_address_names_the_cell(browser, models):
    browser.open(models["lstm", 2][1], "#2:5")
    assert browser.text("h2").startswith("Cell 2:5")
    assert browser.text("#list [aria-current] .name") == "2:5"
    browser.open(models["lstm", 2][1], "#2%3A5")
    assert browser.text("h2").startswith("Cell 2:5")
    for nothing in ("#9:99999", "#%"):
        browser.open(models["lstm", 2][1], nothing)
        assert "Cell 1:3" in browser.text("h2")


def test_search_by_name(page):
    page.type("#search", "line pos")
    assert page.run("return [...document.querySelectorAll('#list a')].map((one) => one.dataset.cell)") == ["1:4"]
    page.type("#search", "nothing like this")
    assert page.text("#found") == "no cell of this page matches"


def test_search_by_text(page):
    page.run("document.querySelector('[data-mode=text]').click()")
    page.type("#search", "(is)")
    assert page.text("#found").startswith(f"occurs {TEXT[:1500].count('(is)')} times")
    assert page.run("return document.querySelectorAll('#list a').length") == 12
    assert page.text("#found-passages .passage .colored").count("(is)") >= 1
    page.type("#search", "dias")
    assert "the network reads it now" in page.text("#found")


def test_card_of_a_character(page):
    page.point("#passages .colored span:nth-child(40)")
    words = page.text("#card")
    assert page.run("return document.getElementById('card').hidden") is False
    for part in ("tanh(c) of 1:3", "input", "forget", "output", "next character", "bits of surprise"):
        assert part in words
    assert page.run("return document.querySelectorAll('#card .next .bar').length") == 5
    page.press("ArrowRight", "#passages .colored")
    page.press("ArrowRight", "#passages .colored")
    assert page.run("return document.querySelectorAll('.pointed').length") == 1
    page.press("Escape")
    assert page.run("return document.getElementById('card').hidden") is True


def test_gates_of_any_character(browser, models):
    """Those outside of the passages are computed from the last recorded state."""
    for shape in SHAPES[:3]:
        model, path = models[shape]
        browser.open(path)
        expected = {
            gate: trace_signal(model.network, model.encode(), gate) for gate in model.network.recurrence.sigmoid_gates
        }
        for position in (0, 99, 100, 457, 301, 1499):
            found = browser.run(
                "const bare = { ...charrnn.data.cells[0], passages: [] };"
                "return [bare.layer, bare.index, charrnn.recorded.gates(bare, arguments[0])]",
                position,
            )
            layer, index, gates = found
            column = (layer - 1) * model.network.settings.hidden_size + index
            assert dict(gates) == pytest.approx({gate: expected[gate][position, column] for gate, _ in gates}, abs=1e-3)
            assert [gate for gate, _ in gates] == list(expected)


def test_card_in_the_whole_text_has_gates(page):
    page.run("document.getElementById('whole').open = true")
    page.wait("document.querySelector('.whole pre')")
    outside = page.run(
        "const { passages } = charrnn.explorer.cell; const spans = [...document.querySelectorAll('.whole pre span')];"
        "const isIn = (position) => passages.some(({ start, stop }) => position >= start && position < stop);"
        "const span = spans.find(({ place }) => place && !isIn(place.position)); span.id = 'outside';"
        "return span.place.position"
    )
    assert outside >= 0
    page.point("#outside")
    assert page.run("return document.querySelectorAll('#card .gates .bar').length") == 3


def test_typing_lights_cells_up(page):
    look = "return [...document.querySelectorAll('#grid i')].map((one) => one.className).join()"
    page.type("#typed", "he")
    before = page.run(look)
    page.type("#typed", "he said (")
    assert page.run(look) != before
    assert page.run("return document.getElementById('mirror').textContent") == "he said (\u200b"
    assert page.run("return document.querySelectorAll('#next button').length") == 8
    assert page.run("return document.querySelectorAll('#changed a').length") == 6
    page.run("document.querySelector('#next button').click()")
    assert len(page.run("return document.getElementById('typed').value")) == 10
    page.type("#typed", "he Ωsaid")
    assert page.text("#typed-note") == "not in the vocabulary, and skipped: Ω"
    assert page.run("return document.querySelectorAll('#mirror .unread').length") == 1


def test_held_cell_changes_the_text(page):
    page.type("#typed", "he said")
    page.wait("charrnn.live.continuations.length && charrnn.live.isComplete()")
    free = page.text("#free")
    page.type("#hold", "3")
    page.wait("charrnn.live.continuations.length === 2 && charrnn.live.isComplete()")
    assert page.text("#free") == free
    assert page.text("#held") != free
    assert page.text("#difference").startswith("differs from character")
    page.run("document.getElementById('hold-on').click()")
    page.wait("charrnn.live.continuations.length === 1 && charrnn.live.isComplete()")
    assert page.run("return document.getElementById('held-pane').hidden") is True
    page.run("document.getElementById('again').click()")
    page.wait("charrnn.live.isComplete()")
    assert page.text("#free") != free


JOINED = """
    const [selector, word] = arguments;
    const spans = [...document.querySelectorAll(selector)];
    const first = spans.findIndex((one, place) =>
      spans.slice(place, place + word.length).map((span) => span.textContent).join("") === word);
    spans[first].parentNode.style.fontFamily = "'Noto Sans Arabic', 'DejaVu Sans', sans-serif";  // not of equal widths
    const boxes = spans.slice(first, first + word.length).map((span) => span.getBoundingClientRect());
    const width = (text) => {
      const span = spans[first].parentNode.appendChild(document.createElement("span"));
      span.textContent = text;
      const { width } = span.getBoundingClientRect();
      span.remove();
      return width;
    };
    const colors = spans.slice(first, first + word.length).map((span) => span.className);
    return { lefts: boxes.map(({ left }) => left), width: boxes.reduce((sum, box) => sum + box.width, 0), colors,
      joined: width(word), apart: width([...word].join("\u200c")) };
"""


def check_arabic(page: Page, selector: str) -> None:
    """The letters of a word run from right to left, and are as wide as a word in one element: they are joined."""
    found = page.run(JOINED, selector, "مرحبا")
    assert found["lefts"] == sorted(found["lefts"], reverse=True)
    assert found["width"] == pytest.approx(found["joined"], abs=0.5)
    assert abs(found["joined"] - found["apart"]) > 1
    assert len(set(found["colors"])) > 1


def test_arabic_is_joined_and_flags_are_whole(page):
    page.run("document.getElementById('whole').open = true")
    page.wait("document.querySelector('.whole pre')")
    check_arabic(page, ".whole pre span")
    whole = page.run("return [...document.querySelectorAll('.whole pre span')].map((one) => one.textContent)")
    assert {"🇩🇪", "👍🏽", ENGLAND} <= set(whole)


def test_arabic_and_flags_in_a_colored_page(browser, models, tmp_path):
    models["lstm", 2][0].trace(start=len(HOSTILE), length=200).show("1:3").save(tmp_path / "cell.html")
    browser.open(tmp_path / "cell.html")
    check_arabic(browser, "pre i")
    whole = browser.run("return [...document.querySelectorAll('pre i')].map((one) => one.textContent)")
    assert {"🇩🇪", "👍🏽", ENGLAND} <= set(whole)


def test_hostile_text_is_visible_and_harmless(page):
    page.run("document.getElementById('whole').open = true")
    page.wait("document.querySelector('.whole pre')")
    words = page.text(".whole")
    assert "</script><script>alert(1)</script>" in words
    assert "␛[31m␀\\u202eevil\\u202c\\u2028" in words
    assert "\u202e" not in page.run("return document.body.innerText")
    whole = page.run("return [...document.querySelectorAll('.whole span')].map((one) => one.textContent)")
    assert {"e\u0301", "🇩🇪", "👩‍🚀"} <= set(whole)


def test_bytes_are_read_as_the_characters_they_encode(browser, models):
    model, path = models["bytes", 1]
    browser.logs()
    browser.open(path)
    typed = TYPED + " مرحبا 👩‍🚀"
    np.testing.assert_allclose(browser.run(READ, typed, []), logits_of(model, typed), atol=1e-3)
    browser.type("#typed", typed)
    assert browser.run("return [...document.querySelectorAll('#mirror span')].at(-1).textContent") == "👩‍🚀"
    browser.wait("charrnn.live.continuations.length && charrnn.live.isComplete()")
    assert "\\x" in browser.text("#free")  # an untrained network writes bytes that are no UTF-8
    browser.run("document.getElementById('whole').open = true")
    browser.wait("document.querySelector('.whole pre')")
    assert "שלום cafe\u0301 🇩🇪" in browser.text(".whole")
    assert browser.logs()[0] == []


def test_light_and_dark(page):
    look = "return getComputedStyle(document.body).backgroundColor"
    page.press("d")
    one = page.run(look)
    page.press("d")
    assert {one, page.run(look)} == {"rgb(255, 255, 255)", "rgb(18, 20, 23)"}


def test_phone_width_needs_no_scrolling_sideways(page):
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert page.run("return document.documentElement.scrollWidth") <= 390
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
