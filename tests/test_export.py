"""Files of colored text are well-formed and self-contained, and the text cannot inject anything."""

from __future__ import annotations

import csv
import html
import json
import math
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.display.export import FORMATS, Format, export, find_format, register
from charrnn.display.fragment import html_fragment
from charrnn.display.page import html_text
from charrnn.display.palettes import RED, hex_color, swatch
from charrnn.display.terminal import UNSAFE_RANGES
from charrnn.display.view import SignalScale, Successors, View
from charrnn.errors import CharrnnError, UsageError
from tests.explorers import ENGLAND

HOSTILE = (
    "<script>alert(1)</script>\"'& ]]> <!-- --> &lt; \x1b[31m\x00\x0b\ud800\ufffe\uffff\u202e\u2028 日本é\u0301\t\r\n"
    "<img src=http://evil.example/x onerror=alert(1)>{}%s\n"
)
ADDRESS = re.compile(r"(https?:)?//[\w.]+")


def views_of(text: str) -> list[View]:
    number = len(text)
    successors = Successors(
        [["<", "&", '"', "\x1b", "日"]] * number, [[0.5, 0.2, 0.1, 0.1, math.nan]] * number,
        [0, None, 4, *[1] * number][:number], [math.nan, 0.5, 9.0, *[1.0] * number][:number],
    )  # fmt: skip
    values = [math.cos(position / 3) for position in range(number)]
    return [
        View(text, values, "tanh(c) of cell 1:42 <b>&", name=NAME),
        View(text, [abs(v) for v in values], "forget gate of 1:42", SignalScale.UNIT, "purple-orange", successors),
    ]


NAME = "cell 1:42 tracks <inside> & beside"
FACTS = {"run": "checkpoints/<x>", "text": '"held-out" & more'}


def written(tmp_path: Path, suffix: str, text: str = HOSTILE) -> str:
    path = tmp_path / f"out{suffix}"
    export(path, views_of(text), FACTS)
    return path.read_bytes().decode("utf-8")


@pytest.mark.parametrize("suffix", [".html", ".svg"])
def test_markup_has_no_script(tmp_path, suffix):
    content = written(tmp_path, suffix)
    root = ElementTree.fromstring(content.removeprefix("<!DOCTYPE html>\n"))
    for element in root.iter():
        assert element.tag.rpartition("}")[2] in {
            "html", "head", "meta", "title", "style", "body", "h1", "h2", "dl", "dt", "dd", "section", "p", "span", "i",
            "pre", "svg", "rect", "text", "tspan", "g", "bdi", "wbr",
        }  # fmt: skip
        assert not any(name.startswith("on") or name in ("href", "src", "srcdoc") for name in element.attrib)


@pytest.mark.parametrize("suffix", [".html", ".svg"])
def test_markup_fetches_nothing(tmp_path, suffix):
    content = written(tmp_path, suffix, "plain text\n")
    assert ADDRESS.findall(content.replace('xmlns="http://www.w3.org/2000/svg"', "")) == []
    assert "url(" not in content and "@import" not in content


def test_content_security_policy(tmp_path):
    assert "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline';" in written(
        tmp_path, ".html"
    )


@pytest.mark.parametrize("suffix", [".html", ".svg", ".txt", ".ansi", ".csv", ".json"])
def test_no_control_characters(tmp_path, suffix):
    content = written(tmp_path, suffix)
    if suffix == ".ansi":
        content = re.sub(r"\x1b\[[0-9;]*m", "", content)
    alive = {c for c in content if any(first <= ord(c) <= last for first, last in UNSAFE_RANGES)}
    assert alive <= {"\n"}


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_is_well_formed(text):
    views = views_of(text)
    for suffix in (".html", ".svg"):
        content = find_format(Path("x" + suffix)).content(views, {"text": text})
        ElementTree.fromstring(content.removeprefix("<!DOCTYPE html>\n").encode())


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_html_text_round_trip(text):
    element = ElementTree.fromstring(f"<a b='{html_text(text)}'>{html_text(text)}</a>".encode())
    if text.isprintable():
        assert element.text in (text, None) and element.attrib["b"] == text


def test_tooltips(tmp_path):
    content = written(tmp_path, ".html", "ab")
    titles = [
        element.attrib["title"]
        for element in ElementTree.fromstring(content[16:]).iter("i")
        if "title" in element.attrib
    ]
    assert titles[0] == "a U+0061 · +1.000"
    assert titles[2].splitlines() == [
        "a U+0061 · +1.000",
        "< 0.500 ← actual",
        "& 0.200",
        '" 0.100',
        "␛ 0.100",
        "日 nan",
    ]


def test_json_is_exact(tmp_path):
    views = views_of(HOSTILE)
    shown = json.loads(written(tmp_path, ".json"))
    assert shown["characters"] == list(HOSTILE)
    assert shown["facts"] == FACTS
    assert [signal["title"] for signal in shown["signals"]] == [view.title for view in views]
    assert shown["signals"][0]["values"] == list(views[0].values)
    assert shown["signals"][1]["range"] == [0, 1]
    assert shown["signals"][1]["successors"][0] == {
        "likeliest": ["<", "&", '"', "\x1b", "日"],
        "probabilities": [0.5, 0.2, 0.1, 0.1, None],
        "true": 0,
        "surprise_bits": None,
    }


def test_csv_rows(tmp_path):
    path = tmp_path / "out.csv"
    views = views_of(HOSTILE)
    export(path, views, FACTS)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["position", "code point", "character", views[0].title, views[1].title, "surprise in bits"]
    assert [int(row[0]) for row in rows] == list(range(len(HOSTILE)))
    assert "".join(chr(int(row[1][2:], 16)) for row in rows) == HOSTILE
    assert [float(row[3]) for row in rows] == list(views[0].values)


def test_only_ansi_has_color_codes(tmp_path):
    assert "\x1b" not in written(tmp_path, ".txt")
    assert "\x1b[38;2;" in written(tmp_path, ".ansi")


def test_svg_backgrounds(tmp_path):
    root = ElementTree.fromstring(written(tmp_path, ".svg", "ab"))
    fills = [element.attrib.get("fill") for element in root.iter() if element.tag.endswith("rect")]
    assert len(set(fills)) > 10
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "tanh(c) of cell 1:42 <b>&" in " ".join(texts)


@pytest.mark.parametrize("suffix", [".html", ".svg", ".txt", ".ansi", ".json"])
def test_name_and_caption(tmp_path, suffix):
    content = html.unescape(written(tmp_path, suffix, "ab"))
    assert NAME in content
    assert "checkpoints/<x>" in content


@pytest.mark.parametrize("suffix", [".html", ".svg"])
def test_colors_of_dark_pages(tmp_path, suffix):
    content = written(tmp_path, suffix, "ab")
    dark_page = content[content.rindex("@media") : content.index("</style>")]
    light, dark = (hex_color(swatch(RED, 1.0, background).background) for background in ("light", "dark"))
    assert dark in dark_page and light not in dark_page
    assert light in content.replace(dark_page, "")


@pytest.mark.filterwarnings("ignore:no installed font")
@pytest.mark.parametrize(("suffix", "start"), [(".pdf", b"%PDF-"), (".png", b"\x89PNG")])
def test_converted_picture(tmp_path, suffix, start):
    export(tmp_path / f"a{suffix}", views_of("ab\n日é"), FACTS)
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(start)


def test_missing_converter_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(CharrnnError, match="a picture in PDF needs vl-convert-python") as error:
        export(tmp_path / "a.pdf", views_of("ab"), FACTS)
    assert error.value.hint == "pip install vl-convert-python"
    assert not (tmp_path / "a.pdf").exists()


def test_unknown_suffix():
    assert find_format(Path("a/b.HTML")) is FORMATS[".html"]
    for name, words in (("x.docx", "unknown suffix .docx"), ("x", "no suffix")):
        with pytest.raises(UsageError, match=words) as error:
            find_format(Path(name))
        assert all(suffix in error.value.hint for suffix in FORMATS)


def test_format_from_outside_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, ".md", None)  # unregisters it at the end

    @register
    class Markdown(Format):
        suffix = ".md"

        def content(self, views, facts):
            return f"# {views[0].title}\n{''.join(views[0].symbols)}\n"

    assert written(tmp_path, ".md", "ab") == "# tanh(c) of cell 1:42 <b>&\nab\n"


def test_fragment_is_well_formed_and_has_inline_styles_only():
    root = ElementTree.fromstring(html_fragment(views_of(HOSTILE), FACTS))
    assert {element.tag for element in root.iter()} == {"div", "p", "pre", "span", "b", "bdi", "wbr"}
    assert all(set(element.attrib) <= {"style", "title"} for element in root.iter())
    assert "".join(root.findall("pre")[0].itertext()).startswith("<script>alert(1)</script>")


def test_folder_is_created(tmp_path: Path) -> None:
    export(tmp_path / "new/figures/a.txt", views_of("a"), {})
    assert (tmp_path / "new/figures/a.txt").is_file()


def test_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CharrnnError, match=r"cannot be written"):
        export(tmp_path / "file/a.txt", views_of("a"), {})


def test_existing_file_is_replaced(tmp_path):
    (tmp_path / "out.txt").write_text("old")
    assert written(tmp_path, ".txt", "new").startswith("checkpoints/<x> · ")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


SVG = "{http://www.w3.org/2000/svg}"
ARABIC = "قطة في بيت (صغير) 12 سلام"


def test_right_to_left_lines_of_a_picture(tmp_path):
    """Each run is one element of which every cluster is a part, in the order of reading, so that letters are joined."""
    view = View(list(ARABIC), [math.sin(place) for place in range(len(ARABIC))], "h")
    export(tmp_path / "a.svg", [view], {})
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    runs = [element for element in root.iter(f"{SVG}text") if element.get("direction") == "rtl"]
    assert ["".join(element.itertext()) for element in runs] == ["·سلام", "قطة·في·بيت·(صغير)·"]
    assert all(element.get("unicode-bidi") == "bidi-override" for element in runs)
    edges = [float(element.get("x", "0")) for element in runs]
    assert edges[0] < edges[1] == pytest.approx(float(root.get("width", "0")) - 14)


def test_rows_of_successors_keep_their_columns(tmp_path):
    successors = Successors([["ي"]] * 3, [[0.5]] * 3, [None] * 3, [math.nan] * 3)
    export(tmp_path / "a.svg", [View(list("قطة"), [0.5] * 3, "h", successors=successors)], {})
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    letters = [(element.text, float(element.get("x", "0"))) for element in root.iter(f"{SVG}text")]
    places = [x for text, x in letters if text in ("ق", "ط", "ة")]
    assert len(places) == 3 and places == sorted(places)
    assert [x for text, x in letters if text == "ي"] == places


@pytest.mark.parametrize("suffix", [".html", ".svg", ".txt", ".ansi"])
def test_flags_are_whole_in_files(tmp_path, suffix):
    text = f"🇰🇷👍🏽👩‍💻{ENGLAND}"
    export(tmp_path / f"a{suffix}", [View(list(text), [0.5] * len(text), "h")], {})
    content = (tmp_path / f"a{suffix}").read_text(encoding="utf-8")
    assert all(cluster in content for cluster in ("🇰🇷", "👍🏽", "👩‍💻", ENGLAND))


def test_values_have_a_row_for_each_code_point(tmp_path):
    export(tmp_path / "a.csv", [View(list("🇰🇷é"), [0.1, 0.2, 0.3], "h")], {})
    assert len((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()) == 1 + len("🇰🇷é")


def test_a_page_isolates_its_facts(tmp_path):
    """Bidi controls are shown escaped, and right-to-left names do not move what is beside them."""
    export(tmp_path / "a.html", [View(["a"], [0.1], "h")], {"text": "\u202eabc.txt", "run": "قطة"})
    content = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<dd><bdi>\\u202eabc.txt</bdi></dd>" in content and "<dd><bdi>قطة</bdi></dd>" in content
    assert "unicode-bidi: plaintext" in content
