"""Figures are valid SVGs in which every point of a curve has its place."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.display.figures import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curve, line_figure, log_figure

SVG = "{http://www.w3.org/2000/svg}"
ANY_NUMBERS = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=8)


def parsed(figure: str) -> ElementTree.Element:
    return ElementTree.fromstring(figure)


def line_of(figure: str) -> list[tuple[float, float]]:
    """Return the points of the first curve."""
    line = next(one for one in parsed(figure).iter(f"{SVG}polyline"))
    return [(float(x), float(y)) for x, y in (point.split(",") for point in line.attrib["points"].split())]


def test_corners_of_a_curve_are_those_of_the_plot() -> None:
    figure = line_figure([Curve("a", [1, 2, 3], [5.0, 4.6, 4.0])], title="loss", x_label="step")
    places = line_of(figure)
    assert places[0] == (LEFT, TOP)
    assert places[2] == (WIDTH - RIGHT, HEIGHT - BOTTOM)
    assert places[1] == pytest.approx(((LEFT + WIDTH - RIGHT) / 2, TOP + 0.4 * (HEIGHT - TOP - BOTTOM)), abs=0.1)


def test_steep_start_is_off_the_plot() -> None:
    points = [50.0] + [2 - step / 100 for step in range(100)]
    figure = line_figure([Curve("a", range(101), points)], title="loss", x_label="step")
    assert "not shown: first losses up to 50" in figure
    assert line_of(figure)[0][1] < TOP - 2  # above the clip path
    assert TOP <= line_of(figure)[4][1] < TOP + 1


def test_powers_of_ten_are_evenly_spaced() -> None:
    figure = log_figure([Curve("a", [0, 1, 2], [1, 0.1, 0.01])], title="", note="", x_label="", y_label="", least=1e-6)
    heights = [y for _, y in line_of(figure)]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    assert "polygon" not in figure


def test_long_names_and_markup_in_a_name_fit() -> None:
    names = ["<b>" + "長い名前" * 20, "x" * 100, "y" * 100, "z" * 100]
    figure = line_figure([Curve(name, [0, 1], [1, 2]) for name in names], title="loss", x_label="step")
    legend = [one for one in parsed(figure).iter(f"{SVG}text") if (one.text or "").endswith("…")]
    assert len(legend) == 4
    assert (legend[0].text or "").startswith("<b>長")
    places = [float(one.attrib["x"]) for one in legend]
    assert places[0] > 0
    assert places == sorted(places)


@given(ANY_NUMBERS, ANY_NUMBERS)
def test_any_numbers(x: list[float], y: list[float]) -> None:
    curves = [Curve("any", x, y), Curve("band", x, y, y, y)]
    for figure in (
        line_figure(curves, title="loss", x_label="step"),
        log_figure(curves, title="t", note="n", x_label="x", y_label="y", least=1e-6),
    ):
        root = parsed(figure)
        assert not any(word in figure for word in ("nan", "inf"))
        for line in root.iter(f"{SVG}polyline"):
            assert len(line.attrib["points"].split()) <= min(len(x), len(y))
