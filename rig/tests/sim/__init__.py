"""Tests of the simulation: what it proves, and that it sees."""
