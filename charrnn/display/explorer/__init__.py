"""The page of the explorer, with its script and style."""
