"""The rules of each layer: what they match, and what they do.  Pure; one module for each layer."""
