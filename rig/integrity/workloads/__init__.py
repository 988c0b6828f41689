"""What is written to a disk, and in which pattern: see `rig.integrity.workloads.table`."""
