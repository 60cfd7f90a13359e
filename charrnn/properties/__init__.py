"""Properties of a text at each character: position in the line, inside quotes, in a comment."""
