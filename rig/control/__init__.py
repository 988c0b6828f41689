"""Live control: faults are listed, added, removed and fired while a process runs."""
