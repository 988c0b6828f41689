"""Machines, and what the rig does with them: labgrid environments, drivers and strategy."""
