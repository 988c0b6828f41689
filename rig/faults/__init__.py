"""Faults: what a plan says, and when its rules fire.  Pure, but for `rig.faults.load`."""
