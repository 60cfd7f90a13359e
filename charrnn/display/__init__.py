"""What people look at: terminals and safe text (`terminal`), text colored by a cell (`activations`, `palettes`), plots,
tables, and files (`export`, `page`). The functions return strings; `terminal.write` writes them."""
