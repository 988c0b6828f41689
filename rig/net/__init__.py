"""Connections between machines, before anything is said on them; for all daemons."""
