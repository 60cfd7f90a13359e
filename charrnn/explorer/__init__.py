"""What the explorer shows: a page about the cells of a network, gathered as data for `charrnn.display.explorer`."""
