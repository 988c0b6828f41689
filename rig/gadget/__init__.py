"""The gadget: a configfs mass-storage device, and the medium behind its LUN."""
