"""A synthetic Earth and loopback services that serve it: what tests and the default build talk to."""
