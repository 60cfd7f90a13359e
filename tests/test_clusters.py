"""charrnn.display.clusters, charrnn.display.bidi, and streams of clusters."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.display.bidi import visual_runs
from charrnn.display.clusters import chop, clusters, columns, extends, may_break, terminal_program
from charrnn.display.colored_stream import ColoredStream
from charrnn.display.terminal import STYLE, Terminal, WordWrap, wrap_words
from charrnn.display.view import View

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
SEQUENCES = [
    "🇰🇷",
    "👍🏽",
    "👩‍💻",
    "❤\ufe0f",
    ENGLAND,
    "क्षि",
    "ẹ̃",
    "각",
    "مَ",
    "\u1112\u1161\u11ab",
    "が",
    "a",
    "日",
    " ",
    "\n",
]
TEXTS = st.lists(st.sampled_from(SEQUENCES), max_size=60).map("".join)


@given(text=TEXTS)
def test_clusters_are_the_text(text: str) -> None:
    found = list(clusters(text))
    assert "".join(found) == text
    assert set(found) <= {*SEQUENCES}
    assert all(not extends(before, after[0]) for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("cluster", SEQUENCES[:5])
def test_sequences_of_emoji_have_two_columns(cluster: str) -> None:
    assert columns(cluster) == columns(cluster, "ghostty") == 2


def test_an_unknown_terminal_may_place_the_parts_side_by_side() -> None:
    assert columns("👍🏽", "") == columns("👍🏽", "xterm-256color") == 4
    assert columns("क्षि", "") == 3
    assert columns("각", "") == columns("각") == 2
    assert columns("👨‍👩‍👧‍👦", "vscode") > 2  # as measured


@pytest.mark.parametrize(
    ("environment", "program"),
    [
        ({}, ""),
        ({"TERM": "xterm-kitty"}, "xterm-kitty"),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7600"}, "vte"),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "tmux"}, ""),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "WezTerm"}, ""),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "wezterm"),
        ({"TERM": "xterm-256color"}, "xterm-256color"),
    ],
)
def test_terminal_program(environment: dict[str, str], program: str) -> None:
    assert terminal_program(environment) == program


@pytest.mark.parametrize(
    ("pair", "allowed"), [("日本", True), ("日。", False), ("「日", False), ("한국", False), ("a日", True)]
)
def test_line_breaks_without_blanks(pair: str, allowed: bool) -> None:
    assert may_break(*pair) is allowed


@given(text=TEXTS, width=st.integers(4, 30))
def test_lines_fit_and_divide_no_cluster(text: str, width: int) -> None:
    text = text.replace("\n", "")
    lines = chop(text, width, "")
    assert "".join(lines) == text
    assert [cluster for line in lines for cluster in clusters(line)] == list(clusters(text))
    assert all(columns(line, "") <= width for line in lines)
    assert all(columns(line) <= width for line in wrap_words(text, width))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("1:42 is on · AUC .99 of 1", ["1:42 is on", "  AUC .99 of 1"]),
        ("one two three four · five", ["one two three", "  four · five"]),
        ("after 30, 100 % (5 %).", ["after 30,", "  100 % (5 %)."]),
        ("as a percent %d in it", ["as a percent", "  %d in it"]),
    ],
)
def test_what_belongs_together_is_not_divided(text: str, lines: list[str]) -> None:
    assert wrap_words(text, 14, indent="  ") == lines


@given(text=TEXTS, cuts=st.lists(st.integers(0, 200), max_size=6))
def test_a_stream_divides_no_cluster(text: str, cuts: list[int]) -> None:
    """Whatever has been written ends with a whole cluster, wherever the stream was cut."""
    wrap, whole, bounds = WordWrap(20, ""), set(clusters(text)), [0, *sorted(cuts), len(text)]
    written = [wrap.feed(text[start:stop]) for start, stop in itertools.pairwise(bounds)] + [wrap.end()]
    for part in written:
        assert set(clusters(part)) <= whole | {"\n"}
    assert all(columns(line.rstrip(), "") <= 20 for line in "".join(written).split("\n"))


@given(text=TEXTS, is_terminal=st.booleans())
def test_a_colored_stream_colors_whole_clusters(text: str, is_terminal: bool) -> None:
    stream = ColoredStream(View([], [], "h"), Terminal(is_terminal, "256", 40, True))
    written = "".join(stream.feed(one, 0.9 if place % 2 else -0.9) for place, one in enumerate(text)) + stream.end()
    pieces = [cluster for part in STYLE.split(written)[::2] for cluster in clusters(part) if not cluster.isspace()]
    assert pieces == [cluster for cluster in clusters(text) if not cluster.isspace()]


# Right to left

ALEF, BET = "\u05d0", "\u05d1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abc", "abc"),
        (f"a {ALEF}{BET} c", f"a {BET}{ALEF} c"),
        (f"{ALEF}{BET} ab 12.", f".ab 12 {BET}{ALEF}"),
        (f"{ALEF}(12,5%) {BET}", f"{BET} )12,5%({ALEF}"),
        (f"a: {ALEF}{BET}, 12", f"a: 12 ,{BET}{ALEF}"),
        ("\u0627\u0628 1/2", "1/2 \u0628\u0627"),
        ("12 - 13", "12 - 13"),
        ("", ""),
    ],
)
def test_visual_order(text: str, shown: str) -> None:
    order = [
        text[place]
        for run in visual_runs(text)
        for place in (reversed(range(run.start, run.stop)) if run.is_rtl else range(run.start, run.stop))
    ]
    assert "".join(order) == shown


@given(text=st.text(st.sampled_from(f"ab12.,%( {ALEF}{BET}\u0628\u0661\u0301"), max_size=20))
def test_every_cluster_is_in_one_run(text: str) -> None:
    runs = sorted(visual_runs(text))
    assert [place for run in runs for place in range(run.start, run.stop)] == list(range(len(text)))
