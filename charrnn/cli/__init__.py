"""The command line, one module per command: parse, call `charrnn.api`, display. `app` reports the errors."""
