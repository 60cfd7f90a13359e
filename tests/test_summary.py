"""The summary of findings: sentences, excerpts, and paragraphs that fit the width."""

from __future__ import annotations

import dataclasses
import io
from types import SimpleNamespace

import pytest
from rich.cells import cell_len

from charrnn.cli.findings import OTHER_ROWS, print_findings
from charrnn.discovery.evidence import Evidence
from charrnn.discovery.match_summary import MatchSummary
from charrnn.discovery.report import SHOWN, Cause, cells_shown, sentence
from charrnn.discovery.stages import SECONDS
from charrnn.display.terminal import STYLE, Terminal
from charrnn.progress import overall, part
from charrnn.properties.catalog import CATALOG
from tests.test_findings import evidence, findings


def graded(name: str, sign: int = 1, pearson: float = 0.5) -> Evidence:
    return evidence(property_name=name, kind="graded", sign=sign, pearson=pearson)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (evidence(property_name="inside “…”"), "is high inside quotes"),
        (evidence(property_name="newline follows [next]", sign=-1), "is low before a newline"),
        (evidence(property_name="mine"), "is high where mine holds"),
        (graded("line position", pearson=0.95), "counts the position in the line"),
        (graded("line position"), "rises with the position in the line"),
        (graded("bracket depth", sign=-1, pearson=-0.95), "falls with the number of open brackets"),
        (graded("mine"), "rises with mine"),
    ],
)
def test_sentence(one, words):
    assert sentence(one) == words


def test_every_property_has_a_phrase():
    assert all(one.phrase for one in CATALOG.values())


def test_named_cell_is_shown_on_a_text():
    lines = str(findings(evidence())).splitlines()
    assert lines[:2] == [
        "2.50 bits/char on 40,000 characters of this text",
        "1 of 6 cells earned a name; 2 of 5 properties can be tested in this text",
    ]
    place = lines.index("1:3 is high inside string literals")
    assert lines[place + 1 :][:5] == [
        "  ━━━━━━━━━─ AUC .95 · the name holds in 97 % of resamples of the text",
        "  carries 90 % of the gradient that reaches back 30 characters",
        "  x='a↵",
        "  --+++",
        "  55999",
    ]


@pytest.mark.parametrize(
    ("shown", "where"),
    [
        ([evidence()], "begins or ends"),
        ([graded("line position")], "crosses its median"),
        ([evidence(cell="1:4"), graded("line position")], "begins, ends or crosses its median"),
    ],
)
def test_legend_explains_the_marked_character(shown, where):
    found = findings(*shown)
    assert f"^: where the property {where}\n" in str(found)
    colored = "\n".join(found.lines(dataclasses.replace(Terminal.plain(), colors="256")))
    assert f"underlined: where the property {where}\n" in colored


def test_what_else_was_found():
    shown = " ".join(str(findings(evidence(), evidence(cell="1:4", sign=-1, stability=0.6))).split())
    assert "Correlate, but miss a condition for a name: in string 1:4 .95." in shown
    assert "no name (share of the gradient that reaches back 30 and 100 characters, at places" in shown
    assert "spread over the 40,000 characters searched): 1:5 (6, 0 %)." in shown
    assert "In no single cell, but in all cells of a layer together (linear probe): line position .90." in shown
    assert "Not found" not in shown
    assert "One cell reacts to a single character: a" in shown
    assert "Caution" not in shown


def test_cells_that_only_a_baseline_denies_are_listed():
    denied = [evidence(cell=cell, beyond_linear_memory=(-0.1, 0.1)) for cell in ("1:2", "1:4")]
    weak = evidence(cell="1:5", property_name="line position", beyond_kgram=(-0.1, 0.1), interval=(0.3, 0.5))
    shown = " ".join(str(findings(*denied, weak)).split())
    assert "Score high, but not above every baseline: in string 1:2 .95." in shown
    assert "Score high" not in str(findings(evidence(), *denied))  # another cell has the name


def test_named_control_label_is_a_caution():
    assert "meaningless labels: t mod 7" in str(findings(evidence(property_name="t mod 7")))


def test_users_property_names_the_failed_condition():
    shown = " ".join(str(findings(evidence(stability=0.6))).split())
    assert "in string holds in 8.0 % of the text, in 190 places, as in = «'abc'»)⏎" in shown
    failed = "another property, most often string or comment, fits it better in 40 % of resamples"
    assert f"No cell earned its name. The best one, 1:3 (AUC .95), fails: {failed}." in shown


def test_graded_property_of_a_user_does_not_hold_but_differs():
    shown = " ".join(str(findings(evidence(kind="graded", stability=0.6))).split())
    assert "in string differs from its most common value in 8.0 % of the text, in 190 places, as in" in shown


def test_cause_is_shown():
    terminal = Terminal(False, "none", 80, True)
    lines = [*findings(evidence()).lines(terminal, causes={("1:3", "in string"): Cause(2, "cell 1:3 holds it")})]
    assert any(line.startswith("★★ 1:3 is high") for line in lines)
    assert "  cell 1:3 holds it" in lines


def test_cells_with_stars_come_first():
    found = findings(*(evidence(cell=f"1:{k}") for k in (1, 2, 3)))
    causes = {("1:2", "in string"): Cause(1, "needed"), ("1:3", "in string"): Cause(2, "needed")}
    lines = [line for line in found.lines(Terminal.plain(), causes=causes) if " is high " in line]
    assert [line.partition(" is ")[0] for line in lines] == ["★★ 1:3", "★ 1:2", "1:1"]


def test_best_cell_of_each_property_is_shown():
    many = [evidence(cell=f"1:{k}") for k in range(20)]
    other = evidence(cell="1:30", property_name="line position")
    shown = cells_shown([*many, other])
    assert len(shown) == SHOWN
    assert shown[0] == many[0] and shown[-1] == other


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("colors", ["none", "truecolor"])
def test_no_line_is_wider_than_the_terminal(width, colors):
    long = MatchSummary("in string", 0.08, 190, (("x" * 15, "y" * 40, "z" * 15),) * 2)
    found = dataclasses.replace(findings(evidence(), evidence(cell="1:4", stability=0.6)), matches=(long,))
    lines = [STYLE.sub("", line) for line in found.lines(Terminal(True, colors, width, True))]
    assert max(map(cell_len, lines)) <= width


def test_html_has_colors():
    shown = findings(evidence())._repr_html_()
    assert "1:3 is high inside string literals" in shown
    assert "background:rgb" in shown


def test_progress_covers_all_stages_once():
    reported: list[float] = []
    show = overall(lambda stage, share: reported.append(share), SECONDS)
    for stage in SECONDS:
        for k in range(2):
            part(show, k, 2)(stage, 1.0)
    assert reported == sorted(reported)
    assert reported[-1] == pytest.approx(1)


def test_on_a_low_terminal_other_named_cells_are_listed():
    cells = [evidence(cell=f"1:{number}") for number in range(1, 5)]
    found, terminal = findings(*cells), Terminal.plain()
    every = [*found.lines(terminal)]
    few = [*found.lines(terminal, rows=1)]
    titles = [line for line in few if line.endswith("is high inside string literals")]
    assert len(titles) == 1
    assert few[-1] == "Named as well: in string 1:2 .95, 1:3 .95, 1:4 .95."
    rows = len(few) + 9
    more = [*found.lines(terminal, rows=rows)]
    assert len(few) < len(more) <= rows < len(every)
    assert "Named as well: in string 1:3 .95" in "\n".join(more)


def rows_on_screen(found, width, height, **asked):
    """Return the rows that a terminal shows, long lines broken."""
    out, model = io.StringIO(), SimpleNamespace(name="a", shape="lstm 1×6")
    terminal = Terminal(True, "none", width, True, out, height=height)
    print_findings(found, model, "held-out text", terminal, {}, evidence=False, every_cell=False, layer=None, **asked)
    return [line[k : k + width] for line in out.getvalue().splitlines() for k in range(0, max(1, len(line)), width)]


@pytest.mark.parametrize("width", [40, 80])
def test_named_cells_and_the_commands_below_fit_the_terminal(width):
    found = findings(*(evidence(cell=f"1:{number}") for number in range(1, 5)))
    least, everything = len(rows_on_screen(found, width, 1)), len(rows_on_screen(found, width, 1000))
    shown = [len(rows_on_screen(found, width, height)) for height in range(least + 2, everything + 3)]
    assert all(rows + OTHER_ROWS - 1 <= height for height, rows in enumerate(shown, start=least + 2))
    assert shown[0] == least < shown[-1]


def test_all_is_told_of_properties_that_were_asked_for():
    found = findings(evidence(), evidence(cell="1:4", sign=-1, stability=0.6))
    assert "Correlate, but" not in "\n".join(rows_on_screen(found, 80, 24))
    assert "Correlate, but" in "\n".join(rows_on_screen(found, 80, 24, asked=True))
