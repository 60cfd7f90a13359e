"""The recurrences: one module each, named as `--model` names it."""
