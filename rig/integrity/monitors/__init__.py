"""Monitors: what must hold in a stream of URBs, whatever the data are."""
