"""A live rig: a run whose writing lasts, what is seen of it, and what is done to it."""
