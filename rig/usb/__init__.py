"""USB vocabulary and the kernel's ABI: every module above speaks these words."""
