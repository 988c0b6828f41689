"""Deterministic simulation: the real cores of both ends between models of all that is around them.

A schedule is a string of octets (`rig.sim.scenario`); `rig.sim.world` plays it, and one octet
chooses one move among those that are possible then.  No clock, no chance, no I/O: what was found
once is found again.
"""
