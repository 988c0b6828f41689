"""The split driver: a pure core (messages, wire, endpoint, backend, frontend), and its edges."""
