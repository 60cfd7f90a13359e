"""What a network does when a cell is held at a value."""
