"""Gated recurrent unit."""
