"""The properties that come with the package, one module for each kind of text."""
