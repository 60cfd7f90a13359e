"""The network, the device it runs on, the folder it is kept in, and how many nats a text costs it."""
