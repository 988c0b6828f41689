"""What is done in a lab: each experiment boots machines, does something, and tells what it saw."""
