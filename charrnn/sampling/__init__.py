"""Text generation: a fast one-character step, filters of the logits, and the stream of sampled characters."""
