"""From a text's ids to a trained network: streams and windows, the choice of settings, the loop that yields events."""
