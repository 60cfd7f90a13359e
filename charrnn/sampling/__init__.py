"""Writing text with a network: the one-character step (`step`, fast and plain), the filters that decide which
characters may be drawn (`filters`), and the stream of characters they make together (`generate`)."""
