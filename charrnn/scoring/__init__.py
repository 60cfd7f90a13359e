"""The cross-entropy of a text under a network."""
