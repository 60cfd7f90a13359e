"""States and gates of every cell at every character."""
