"""The gadget: a USB device made of the kernel's functions, and the medium behind a disk's LUN."""
