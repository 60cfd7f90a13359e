"""The network, the device it runs on, and the folder in which a run of it is kept."""
