"""A person at the rig: a lab with a live workload, faults armed by hand, a journal of all of it."""
