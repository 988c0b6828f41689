"""``rig conformance``: the kernel's own test cases for host controllers."""
