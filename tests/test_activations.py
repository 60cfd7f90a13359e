"""Colored text is complete and legible at any width and in any number of colors."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from charrnn.display.activations import excerpt_lines, render, value_rows
from charrnn.display.clusters import columns
from charrnn.display.layout import Glyph, layout, merge_glyphs
from charrnn.display.palettes import (
    BACKGROUNDS,
    BLUE,
    GREEN,
    ORANGE,
    PALETTES,
    PAPER,
    PURPLE,
    RED,
    contrast,
    oklch,
    rgb_of_256,
    swatch,
)
from charrnn.display.terminal import MIN_COLUMNS, STYLE, UNSAFE_RANGES, Terminal
from charrnn.display.view import SignalScale, Successors, View

SIGNED, UNIT = SignalScale.SIGNED, SignalScale.UNIT
HUES = (BLUE, RED, PURPLE, ORANGE, GREEN)
INTENSITIES = [tenths / 10 for tenths in range(1, 11)]

TRICKY = st.text(
    st.one_of(
        st.characters(exclude_categories=()),
        st.sampled_from("ab \t\n\r\x1b日本한é\u0301\u0308\u200d\ufe0f👍🏽🇩🇪ᄒ\u1161\u11ab\u202e\ud800"),
    ),
    max_size=120,
)


def view_of(text, values=None, **details) -> View:
    values = [math.sin(position) for position in range(len(text))] if values is None else values
    return View(text, values, "tanh(c) of cell 1:42", **details)


def terminal(colors="none", width=80, unicode=True) -> Terminal:
    return Terminal(True, colors, width, unicode)


def bare(lines) -> list[str]:
    return [STYLE.sub("", line) for line in lines]


def test_eleven_levels():
    assert [SIGNED.level(value) for value in (0.0, 0.049, -0.049, 0.05, -0.05, 0.23, 0.25, 1.0, -1.0)] == [
        0, 0, 0, 1, -1, 1, 2, 5, -5,
    ]  # fmt: skip
    assert {SIGNED.level(-1 + step / 500) for step in range(1001)} == set(SIGNED.levels) == set(range(-5, 6))
    assert {UNIT.level(step / 1000) for step in range(1001)} == set(UNIT.levels) == set(range(11))
    assert UNIT.level(0.049) == 0 and UNIT.level(0.05) == 1


@pytest.mark.parametrize("scale", [SIGNED, UNIT, SignalScale(0, 0.5), SignalScale(-5, 5)], ids=str)
def test_levels_rise_and_clip(scale):
    values = [-9.0, *(-1 + step / 100 for step in range(201)), 9.0]
    levels = [scale.level(value) for value in values]
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (scale.levels[0], scale.levels[-1])
    assert scale.level(math.nan) == 0
    assert scale.level(math.inf) == scale.levels[-1]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.0, 3.7, math.nan], 0, 5),
        ([-0.3, 0.1], -0.5, 0.5),
        ([0.0, 2.0], 0, 2),
        ([70.0, math.inf], 0, 100),
        ([0.0, 0.0], 0, 1),
        ([], 0, 1),
    ],
)
def test_scale_covers_an_unbounded_signal(values, low, high):
    scale = SignalScale.covering(values)
    assert (scale.low, scale.high) == (low, pytest.approx(high))
    assert all(abs(value) <= scale.high * (1 + 1e-9) for value in values if math.isfinite(value))


@pytest.mark.parametrize(("low", "high"), [(0, 0), (-1, 2), (0, math.inf), (0, math.nan), (1, 2)])
def test_scale_needs_zero_or_symmetry(low, high):
    with pytest.raises(ValueError, match="a scale runs from"):
        SignalScale(low, high)


def test_legend_and_digits_follow_the_scale():
    view = view_of("abc", [0.0, 2.0, 4.0], scale=SignalScale(0, 4))
    assert dict(value_rows(view, layout(view, 80)[0])) == {"size": " 59"}
    plain, colored = (bare(render(view, terminal(colors))) for colors in ("none", "256"))
    assert "its value in tenths of 4, blank below .2" in " ".join(plain)
    assert colored[0].startswith("0 ") and " 4  " in colored[0] and "plain 0, red 4" in " ".join(colored)


@given(TRICKY, st.integers(1, 130), st.booleans())
def test_layout_keeps_every_character_within_the_width(text, width, unicode):
    view = view_of(text)
    lines = layout(view, width, unicode=unicode)
    position = 0
    for line in lines:
        assert 0 < sum(glyph.columns for glyph in line) <= max(width, MIN_COLUMNS)
        for glyph in line:
            assert glyph.first == position and glyph.count >= 1
            assert glyph.columns == columns(glyph.text) > 0
            assert glyph.level == view.scale.level(view.values[glyph.last])
            assert unicode or glyph.text.isascii()
            position += glyph.count
    assert position == len(text)


@given(TRICKY)
def test_merged_glyphs_equal_the_line(text):
    for line in layout(view_of(text), 60):
        merged = list(merge_glyphs(line))
        assert "".join(run.text for run in merged) == "".join(glyph.text for glyph in line)
        assert sum(run.columns for run in merged) == sum(glyph.columns for glyph in line)
        for before, after in itertools.pairwise(merged):
            assert (before.level, before.substitute) != (after.level, after.substitute)


@given(TRICKY, st.sampled_from(["truecolor", "256", "16", "none"]), st.integers(20, 100), st.booleans())
def test_output_is_safe_and_fits(text, colors, width, unicode):
    for line in bare(render(view_of(text), terminal(colors, width, unicode))):
        assert not any(first <= ord(character) <= last for character in line for first, last in UNSAFE_RANGES)
        assert cell_len(line) <= width
        assert unicode or line.isascii()


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from("日é\n"), max_size=200))
def test_text_is_complete_at_forty_columns(text):
    rows = list(render(view_of(text), terminal("none", 40)))
    rows = rows[rows.index("") + 1 :]
    assert "".join(rows[::4]).replace("↵", "\n") == text


def glyphs(text, **details) -> list[Glyph]:
    return [glyph for line in layout(view_of(text), 80, **details) for glyph in line]


def test_whitespace_signs():
    lines = layout(view_of("a b\n\tc\n\n"), 80)
    assert ["".join(glyph.text for glyph in line) for line in lines] == ["a·b↵", "→   c↵", "↵"]


def test_tab_stops():
    line = layout(view_of("ab\tc"), 80)[0]
    assert "".join(glyph.text for glyph in line) == "ab→ c"
    first, second = layout(view_of("x" * 19 + "\t\ty"), 20)
    assert "".join(glyph.text for glyph in first) == "x" * 19 + "→"
    assert "".join(glyph.text for glyph in second) == "→   y"


def test_wide_characters():
    lines = layout(view_of("日" * 25), 41)
    assert [len(line) for line in lines] == [20, 5]
    assert all(glyph.columns == 2 for line in lines for glyph in line)


def test_a_cluster_has_the_color_after_its_last_character():
    view = view_of("e\u0301\u0323x", [-0.9, 0.3, 0.9, -0.9])
    first, second = layout(view, 80)[0]
    assert (first.text, first.columns, first.first, first.count, first.level) == ("e\u0301\u0323", 1, 0, 3, 5)
    assert (second.text, second.first, second.level) == ("x", 3, -5)
    assert dict(value_rows(view, [first, second])) == {"sign": "+-", "size": "99"}
    shown = " ".join(bare(render(view, terminal())))
    assert "1 cluster of several characters, shown by the last" in shown


ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


def test_tags_that_are_no_flag_are_escaped_one_by_one():
    texts = [glyph.text for glyph in glyphs("🏴\U000e0067\U000e007fx\U000e0067")]
    assert texts == ["🏴", "\\U000e0067", "\\U000e007f", "x", "\\U000e0067"]


@pytest.mark.parametrize(
    "cluster", ["🇰🇷", "👍🏽", "👩‍💻", "👨‍👩‍👧‍👦", "❤\ufe0f", "1\ufe0f\u20e3", ENGLAND, "क्षि", "نِ", "が"]
)
def test_sequences_are_whole(cluster):
    assert [glyph.text for glyph in glyphs(f"{cluster}{cluster}x")] == [cluster, cluster, "x"]
    for width in range(20, 26):
        lines = layout(view_of("x" * 18 + cluster * 3), width, program="")
        shown = ["".join(glyph.text for glyph in line) for line in lines]
        assert "".join(shown) == "x" * 18 + cluster * 3
        assert sum(line.count(cluster) for line in shown) == 3


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("focus", [0, 61, 100])
def test_excerpts_are_cut_between_clusters(rows, focus):
    text = "👩‍💻🇰🇷क्षि" * 12 + "."
    view = view_of(text)
    for line in bare(excerpt_lines(view, terminal("256"), 20, rows=rows, focus=focus)):
        assert line.replace("👩‍💻", "").replace("🇰🇷", "").replace("क्षि", "").strip(".") == ""


def test_rows_of_values_in_an_unknown_terminal_escape_what_has_no_certain_width():
    unknown = Terminal(True, "none", 80, True, program="")
    shown = list(render(view_of("👍🏽x"), unknown))
    assert "👍\\U0001f3fdx" in shown
    assert "👍🏽x" in list(render(view_of("👍🏽x"), Terminal(False, "none", 80, True)))


def test_lines_are_broken_beside_ideographs_and_not_before_their_punctuation():
    shown = ["".join(glyph.text for glyph in line) for line in layout(view_of("a bc日本語日本語日本語。日本"), 22)]
    assert shown == ["a·bc日本語日本語日本", "語。日本"]
    korean = ["".join(glyph.text for glyph in line) for line in layout(view_of("우산을 챙겨라 고양이가"), 20)]
    assert korean == ["우산을·챙겨라·", "고양이가"]


def test_successors_name_parts_of_sequences():
    text = "🇰\u200d\ufe0f"
    following = Successors([["\u200d"]] * 3, [[0.5]] * 3, [None] * 3, [math.nan] * 3)
    shown = bare(render(replace(view_of(text), successors=following), terminal("none")))
    assert "text rkzjvf" in shown and "1    zjzjzj" in shown
    assert "zj: U+200D, vf: U+FE0F, rk: U+1F1F0" in shown


def test_mark_without_a_base():
    assert [glyph.text for glyph in glyphs("\u0301a\n\u0301")] == ["◌\u0301", "a", "↵", "◌\u0301"]


def test_korean_syllable_is_one_glyph():
    assert [(glyph.text, glyph.columns) for glyph in glyphs("\u1112\u1161\u11ab.")] == [
        ("\u1112\u1161\u11ab", 2),
        (".", 1),
    ]


@pytest.mark.parametrize("hidden", ["\u200d", "\ufe0f", "🏽", "🇩", "\u200b", "\u202e", "\ud800"])
def test_hidden_characters_are_escaped(hidden):
    (glyph,) = glyphs(hidden)
    assert glyph.text.startswith("\\") and glyph.columns == len(glyph.text) and glyph.substitute


def test_controls_are_visible():
    assert [glyph.text for glyph in glyphs("\x1b\r")] == ["␛", "␍"]
    assert [glyph.text for glyph in glyphs("\x1bé\n", unicode=False)] == ["\\x1b", "\\xe9", "\\n"]


def test_bytes_are_escaped():
    view = View(["a", "\\xe3", "\n"], [0.0, 1.0, -1.0], "h of cell 1:0")
    assert [glyph.text for glyph in layout(view, 80)[0]] == ["a", "\\xe3", "↵"]


def test_value_rows():
    view = view_of("a日bc\t.", [0.55, -0.31, 0.04, 1.0, -0.07, math.nan])
    (line,) = layout(view, 80)
    assert dict(value_rows(view, line)) == {"sign": "+-  +-", "size": "53  90  ?"}
    gate = view_of("abc", [0.0, 0.5, 1.0], scale=UNIT)
    assert dict(value_rows(gate, layout(gate, 80)[0])) == {"size": " 59"}


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_value_rows_round_trip(values):
    view = view_of("x" * len(values), values)
    rows = dict(value_rows(view, layout(view, 80)[0]))
    for value, sign, digit in zip(
        values, rows["sign"].ljust(len(values)), rows["size"].ljust(len(values)), strict=True
    ):
        if abs(value) < 0.05:
            assert sign == digit == " "
        else:
            assert sign == ("-" if value < 0 else "+")
            assert abs(abs(value) - (int(digit) + 0.5) / 10) <= 0.05 + 1e-9


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("hue", HUES, ids=lambda hue: hue.name)
@pytest.mark.parametrize("intensity", INTENSITIES)
def test_ink_is_legible(hue, intensity, background):
    colors = swatch(hue, intensity, background)
    assert contrast(colors.ink, colors.background) >= 4.5
    assert contrast(rgb_of_256(colors.ink_256), rgb_of_256(colors.background_256)) >= 4.5
    assert contrast(colors.faded_ink, colors.background) >= 2.2


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("hue", HUES, ids=lambda hue: hue.name)
def test_larger_values_stand_out_more_from_the_page(hue, background):
    page = PAPER[background]
    levels = [swatch(hue, level / 5, background) for level in range(1, 6)]
    for colors in ([one.background for one in levels], [rgb_of_256(one.background_256) for one in levels]):
        contrasts = [1.0, *(contrast(color, page) for color in colors)]
        assert contrasts == sorted(contrasts)
        assert contrasts[-1] >= 3


def test_levels_are_perceptually_even():
    for hue, background in itertools.product(HUES, BACKGROUNDS):
        levels = [oklab(swatch(hue, level / 5, background).background) for level in range(1, 6)]
        steps = [math.dist(one, other) for one, other in itertools.pairwise(levels)]
        assert max(steps) < 1.3 * min(steps)


def oklab(color) -> tuple[float, ...]:
    """Lightness, a and b (Ottosson 2020)."""
    linear = [(c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in color]
    cones = [
        sum(a * b for a, b in zip(row, linear, strict=True)) ** (1 / 3)
        for row in (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        )
    ]
    return tuple(
        sum(a * b for a, b in zip(row, cones, strict=True))
        for row in (
            (0.2104542553, 0.7936177850, -0.0040720468),
            (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660),
        )
    )


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
def test_levels_have_different_colors(palette, background):
    for hue in (palette.negative, palette.positive):
        signed = [swatch(hue, level / 5, background) for level in range(1, 6)]
        assert len({colors.background for colors in signed}) == 5
        assert len({colors.background_256 for colors in signed}) == 5
        assert len({colors.codes_16 for colors in signed}) == 2
        assert len({swatch(hue, intensity, background).background for intensity in INTENSITIES}) == 10


def as_seen_without_green_cones(color) -> tuple[float, ...]:
    """Deuteranopia at full severity (Machado, Oliveira & Fernandes 2009, table 1), on linear light, 0–1."""
    linear = [(c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in color]
    rows = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
    return tuple(sum(a * b for a, b in zip(row, linear, strict=True)) for row in rows)


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
def test_palettes_suit_color_blind_readers(palette, background):
    for tenths in (4, 6, 8, 10):
        negative, positive = (
            as_seen_without_green_cones(swatch(hue, tenths / 10, background).background)
            for hue in (palette.negative, palette.positive)
        )
        assert math.dist(negative, positive) > 0.05


def test_karpathy_palette_is_reversed():
    paper, usual = PALETTES["karpathy"], PALETTES["blue-red"]
    assert (paper.negative, paper.positive) == (usual.positive, usual.negative) == (RED, BLUE)


def test_oklch_known_colors():
    assert oklch(1.0, 0.0, 0.0) == (255, 255, 255)
    assert oklch(0.0, 0.0, 0.0) == (0, 0, 0)
    for channel, (wanted, got) in enumerate(zip((255, 0, 0), oklch(0.62796, 0.25768, 29.234), strict=True)):
        assert abs(wanted - got) <= 2, channel


def test_colors_follow_the_sign():
    lines = list(render(view_of("aabb", [1.0, 1.0, -1.0, -1.0]), terminal("truecolor")))
    red, blue = swatch(RED, 1.0).background, swatch(BLUE, 1.0).background
    assert lines[-1].count("\x1b[0m") == 2
    assert lines[-1].index("48;2;{};{};{}".format(*red)) < lines[-1].index("48;2;{};{};{}".format(*blue))


def test_sixteen_colors_have_three_steps_a_side():
    text = "abcdefghij"
    drawn = list(render(view_of(text, [-1, -0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8, 1.0]), terminal("16")))[-1]
    assert len({*STYLE.findall(drawn)} - {"\x1b[0m"}) == 6


@pytest.mark.parametrize("colors", ["truecolor", "256", "16"])
def test_legend_shows_all_levels(colors):
    legend = next(render(view_of("x", [0.0]), terminal(colors)))
    assert bare([legend])[0].startswith("−1 ")
    assert "tanh(c) of cell 1:42 · blue negative, red positive" in legend
    codes = STYLE.findall(legend)[::2]
    assert len(codes) == 10
    gate = next(render(view_of("x", [0.0], scale=UNIT), terminal(colors)))
    assert bare([gate])[0].startswith("0 ") and "plain 0, red 1" in gate


def test_legend_fits_a_narrow_terminal():
    lines = bare(render(View("x", [0.5], "a title " * 20 + "w" * 60), terminal("256", 40)))
    assert all(cell_len(line) <= 40 for line in lines)
    assert "".join(lines).count("w") == 60


def test_hostile_title():
    lines = bare(render(View("x", [0.5], "\x1b]0;x\x07\n"), terminal("256")))
    assert not any("\x1b" in line or "\x07" in line for line in lines)


SUCCESSORS = Successors(
    symbols=[["b", "\n", "日", " ", "\u202e"], ["!", "c", "d", "e", "f"], ["a", "b", "c", "d", "e"]],
    probabilities=[[0.62, 0.2, 0.1, 0.05, 0.01], [0.9, 0.04, 0.03, 0.02, 0.01], [0.2, 0.2, 0.2, 0.2, 0.2]],
    true=[0, None, None],
    surprise=[0.69, 12.0, math.nan],
)


def test_successors_in_a_pipe():
    view = view_of("ab.", [0.5, 0.5, -0.5], successors=SUCCESSORS)
    lines = list(render(view, terminal()))
    assert lines[lines.index("") + 1 :] == [
        "text a b.",
        "sign + +-",
        "size 5 55",
        "1    b !a",
        "2    ↵ cb",
        "3    日dc",
        "4    · ed",
        "5    � fe",
        "next 1 -",
        "p(1) 6 92",
        "bits 1 +",
        "",
    ]


def test_actual_successor_is_underlined():
    view = view_of("ab.", [0.5, 0.5, -0.5], successors=SUCCESSORS)
    for colors in ("truecolor", "256", "16"):
        rows = [line for line in render(view, terminal(colors)) if bare([line])[0].startswith(tuple("12345"))]
        marked = [row for row in rows if ";4m" in row or "[4m" in row]
        assert [bare([row])[0][0] for row in marked] == ["1"]
        assert sum(row.count(";4m") + row.count("[4m") for row in marked) == 1  # not the more likely `!`
    assert bare(render(view, terminal("256")))[-2] == "bits ▁ █"


@given(TRICKY.filter(len), st.integers(20, 90), st.sampled_from(["none", "256"]), st.booleans())
def test_successor_rows_fit(text, width, colors, unicode):
    draw = random.Random(len(text))
    number = len(text)
    successors = Successors(
        symbols=[[draw.choice(text) for _ in range(5)] for _ in range(number)],
        probabilities=[[0.5, 0.2, 0.1, 0.1, 0.1]] * number,
        true=[draw.choice([None, 0, 4]) for _ in range(number)],
        surprise=[draw.uniform(0, 20) for _ in range(number)],
    )
    lines = bare(render(view_of(text, successors=successors), terminal(colors, width, unicode)))
    assert all(cell_len(line) <= width for line in lines)
    rows = [line for line in lines[lines.index("") :] if line.startswith("bits ")]
    assert sum(len(row[5:].replace(" ", "")) for row in rows) == number


def test_fewer_than_five_successors():
    successors = Successors([["a", "b"]], [[0.7, 0.3]], [1], [1.7])
    lines = bare(render(view_of("a", [0.5], successors=successors), terminal()))
    assert [line[0] for line in lines if line[:1].isdigit() and not line.startswith("1-5")] == ["1", "2"]


def test_view_lengths_must_agree():
    with pytest.raises(ValueError, match="differ in number"):
        View("abc", [0.0], "h")
    with pytest.raises(ValueError, match="differ in number"):
        View("a", [0.0], "h", successors=SUCCESSORS)


def test_empty_text():
    assert layout(view_of(""), 80) == []
    assert list(render(view_of(""), terminal()))[-1] == ""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a word that is long enough", ["a·word·that·is·long·", "enough"]),
        ("unbroken" * 4, ["unbroken" * 2 + "unbr", "oken" + "unbroken"]),
        (" " + "漢" * 9 + "x漢", ["·" + "漢" * 9 + "x", "漢"]),
        ("exactly twenty chars and", ["exactly·twenty·chars", "·and"]),
    ],
)
def test_lines_end_after_words(text: str, lines: list[str]) -> None:
    shown = layout(View(list(text), [0.0] * len(text), "h"), 20)
    assert ["".join(glyph.text for glyph in line) for line in shown] == lines
