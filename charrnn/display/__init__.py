"""Terminals and safe text (`terminal`), text colored by a cell (`activations`, `palettes`), plots, tables, files
(`export`, `page`) and notebooks (`fragment`). The functions return strings; `terminal.write` writes them."""
