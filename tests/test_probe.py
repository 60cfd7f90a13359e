"""Linear probes over a layer."""

from __future__ import annotations

from charrnn.discovery.activations import Recordings
from charrnn.discovery.probe import probe_layers
from charrnn.text.vocabulary import Vocabulary
from tests.planted import LATCH, PAIR, planted, planted_pair, prose
from tests.test_discovery import ignore, named, search, study_of


def test_property_of_two_cells_is_found_by_the_probe_and_named_by_no_cell():
    characters = prose(30_000)
    vocabulary = Vocabulary.of(characters)
    found = search(planted_pair(vocabulary), characters, vocabulary, ["inside parentheses"])
    assert named(found) == {}
    (probe,) = (one for one in found.probes if one.property_name == "inside parentheses")
    assert probe.score > 0.99
    assert probe.interval[0] > 0.98
    study, _ = study_of(characters, ["inside parentheses"])
    without = probe_layers(Recordings.of(planted_pair(vocabulary), study, ignore), {f"1:{PAIR[0]}"})[0]
    assert without.rank_correlation > 0.98
    assert without.elsewhere < 0.5


def test_probe_without_the_named_cell_finds_less():
    study, vocabulary = study_of(prose(20_000), ["inside parentheses"])
    probe = probe_layers(Recordings.of(planted(vocabulary), study, ignore), {f"1:{LATCH}"})[0]
    assert probe.score > 0.99
    assert probe.elsewhere_interval[1] < probe.interval[0]
