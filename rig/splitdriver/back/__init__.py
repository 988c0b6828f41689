"""The back end: what maps ports of this machine and serves them."""
