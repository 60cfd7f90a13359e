"""Looking inside a trained network: every gate and state at every character of a text (`trace`), what the text itself
is doing there (`properties`, with a programming language's own tokens from `source_code`), how well the one follows the
other and what that is worth (`statistics`, with contexts of a few characters as a rival in `kgram`), and the search for
cells that deserve a name (`discovery`)."""
