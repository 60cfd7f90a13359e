"""How many nats a text costs a network."""
