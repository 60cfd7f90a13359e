"""Interventions: cells held at a value, patched or steered, and how far back a network remembers."""
