"""Plots fit, show their points and accept any numbers. Tables are never cut."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.display.clusters import columns
from charrnn.display.plots import ASCII_BLOCKS, BLOCKS, loss_curve, scatter, sparkline
from charrnn.display.tables import fit, format_table, key_values, table
from charrnn.display.terminal import STYLE, Terminal

FALLING = [(step, 1.4 + 3 * math.exp(-step / 200)) for step in range(1000)]
ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True)
ANY_SERIES = st.dictionaries(st.text(max_size=12), st.lists(st.tuples(ANY_NUMBER, ANY_NUMBER), max_size=30), max_size=3)


def cells(rows: list[str]) -> list[str]:
    """Return the rows between the two axes."""
    bodies = (STYLE.sub("", row) for row in rows)
    return [row.partition(edge)[2] for row in bodies for edge in ("│", "┤") if edge in row]


@given(ANY_SERIES, st.integers(1, 120), st.integers(1, 30), st.booleans(), st.sampled_from(["none", "256"]))
def test_any_plot_fits(series, width, height, unicode, colors):
    terminal = Terminal(False, colors, width, unicode)
    for rows in (
        loss_curve(series, terminal, height),
        scatter(series, terminal, height, x_label="x", y_label="y"),
    ):
        assert len(rows) <= max(height, 3) + 2 + 2 + len(series) + 2
        for row in rows[1:]:
            assert columns(STYLE.sub("", row)) <= max(width, 40)


def test_falling_curve():
    lines = cells(loss_curve({"validation": FALLING}, Terminal.plain(60), 10))
    first_seen = [
        min((row for row, line in enumerate(lines) if line[at : at + 1].strip()), default=None) for at in (8, 20, 40)
    ]
    assert first_seen == sorted(first_seen) and first_seen[0] < first_seen[-1]


def test_curve_has_no_gap():
    lines = cells(loss_curve({"validation": FALLING}, Terminal.plain(60), 10))
    started = False
    for at in range(max(map(len, lines))):
        drawn = any(line[at : at + 1].strip() for line in lines)
        started = started or drawn
        assert drawn or not started


def test_steep_start_is_cut_off():
    rows = loss_curve(
        {"training": [(step, 50.0 if step < 20 else loss) for step, loss in FALLING]}, Terminal.plain(60), 10
    )
    assert rows[0] == "not shown: first losses up to 50"
    assert max(map(float, (row.split()[0] for row in rows if "┤" in row))) < 5


@pytest.mark.parametrize("points", [[(1, 2.0)], [(1, 2.0), (2, 2.0)], [(5, 0.0)] * 3])
def test_constant_curve(points):
    assert sum(len(line.strip()) for line in cells(loss_curve({"validation": points}, Terminal.plain(50), 6))) >= 1


def test_non_finite_points_are_omitted():
    rows = loss_curve({"v": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)]}, Terminal.plain(50), 6)
    assert rows[0] == "2 non-finite points omitted"
    assert loss_curve({"v": [(0, math.nan)]}, Terminal.plain(50), 6) == [
        "1 non-finite point omitted",
        "no points to draw",
    ]
    assert loss_curve({}, Terminal.plain(50), 6) == ["no points to draw"]


def test_ascii_plot():
    rows = loss_curve(
        {"training": FALLING, "validation": FALLING[::100]}, Terminal(False, "none", 40, unicode=False), 8
    )
    assert all(row.isascii() for row in rows)
    assert rows[0].startswith(". training   o validation")


def test_series_are_distinguishable():
    series = {"training": FALLING, "validation": [(x, y + 0.5) for x, y in FALLING[::100]]}
    plain = "\n".join(cells(loss_curve(series, Terminal.plain(60), 10)))
    assert "·" in plain and "o" in plain
    colored = "\n".join(loss_curve(series, Terminal(False, "256", 60, unicode=True), 10))
    assert {"\x1b[38;5;27m", "\x1b[38;5;214m"} <= set(STYLE.findall(colored))


def test_scatter_range():
    rows = scatter(
        {"layer 1": [(0.0, 0.0), (1.0, 1.0), (9.0, 9.0)]}, Terminal.plain(40), 9, x_label="left", y_label="right",
        x_range=(0, 1), y_range=(0, 1),
    )  # fmt: skip
    drawn = cells(rows)
    assert drawn[0].strip() and drawn[0][-1] != " " and len(drawn[0]) > 30
    assert drawn[-1][0] != " "
    assert sum(len(line.replace(" ", "")) for line in drawn) == 2
    assert "left" in rows[-2] and "right" in rows[0]


def test_hostile_names():
    rows = loss_curve({"\x1b[2J\n": FALLING}, Terminal.plain(50), 6, x_label="\x1b]0;x\x07")
    assert not any("\x1b" in row or "\x07" in row or "\n" in row for row in rows)


def test_sparkline():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == BLOCKS
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8, unicode=False) == ASCII_BLOCKS
    assert sparkline([1, math.nan, 2], 10) == f"{BLOCKS[0]} {BLOCKS[-1]}"
    assert sparkline([3, 3, 3], 10) == BLOCKS[3] * 3
    assert sparkline([], 10) == ""


@given(st.lists(ANY_NUMBER, max_size=60), st.integers(1, 50))
def test_sparkline_of_any_numbers(values, width):
    assert len(sparkline(values, width)) == min(len(values), width)


class Stream(io.StringIO):
    encoding = "utf-8"


def written(draw, *, width=80, is_terminal=True, colors="none") -> list[str]:
    stream = Stream()
    draw(Terminal(is_terminal, colors, width, True, stream))
    return stream.getvalue().splitlines()


ROWS = [["2:317", 'inside "…" [bold]x[/bold] :smile:', ".984"], ["2:42", "line position " * 12, ".963"]]


def test_table_in_a_pipe_is_not_wrapped():
    lines = written(lambda t: table(["cell", "tracks", "score"], ROWS, t, right=["score"]), is_terminal=False)
    assert len(lines) == 4
    assert "[bold]x[/bold] :smile:" in lines[2] and ("line position " * 12).strip() in lines[3]
    assert lines[0].endswith("score") and lines[3].endswith(".963")


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("colors", ["none", "256"])
def test_table_fits_the_terminal(width, colors):
    lines = written(lambda t: table(["cell", "tracks", "score"], ROWS, t), width=width, colors=colors)
    shown = [STYLE.sub("", line) for line in lines]
    assert all(columns(line) <= width for line in shown)
    assert "".join(shown).replace(" ", "").count("position") + "".join(shown).count("positi") >= 12


def test_wide_table_becomes_names_and_values():
    lines = written(lambda t: table(["a" * 15, "b" * 15, "c" * 15], [["x" * 15] * 3] * 2, t), width=40)
    assert lines == [f"{name * 15}  {'x' * 15}" for name in "abc"] + [""] + [f"{n * 15}  {'x' * 15}" for n in "abc"]


def test_long_values_wrap_in_their_column():
    rows = [("run", "checkpoints/a"), ("validation loss", "1.523 nats per character, 2.197 bits, perplexity 4.59")]
    lines = written(lambda t: key_values(rows, t), width=40)
    assert lines[0] == "run              checkpoints/a"
    assert all(line.startswith(" " * 17) for line in lines[2:]) and len(lines) > 2


def test_table_cells_are_safe():
    lines = written(lambda t: key_values([("na\x1bme", "\x1b[2J\n\tx\u202e")], t), is_terminal=False)
    assert lines == ["na␛me  ␛[2J␊␉x\\u202e"]


def test_curves_start_from_the_background():
    dark, light = (
        loss_curve({"a": FALLING}, Terminal(False, "truecolor", 80, True, background=one)) for one in ("dark", "light")
    )
    assert dark != light
    assert [STYLE.sub("", row) for row in dark] == [STYLE.sub("", row) for row in light]


def test_optional_columns_are_left_out_instead_of_wrapped():
    headers, row = ["cell", "score", "minor", "all"], ["1:42", ".984 [.979, .988]", "m" * 30, "1,000"]
    narrow, wide, pipe = (
        Terminal(shown, "none", width, True) for shown, width in ((True, 40), (True, 80), (False, 40))
    )
    kept, rows = fit(headers, [row], narrow, ("all", "minor"))
    assert kept == ["cell", "score"]
    assert len(format_table(kept, rows, narrow).splitlines()) == 3
    assert fit(headers, [row], wide, ("all", "minor")) == (headers, [row])
    assert fit(headers, [row], pipe, ("all", "minor")) == (headers, [row])
