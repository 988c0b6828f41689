"""``rig drivers``: what the kernel's drivers make of an error, by policy and status."""
