"""The panes of the screen: each shows its part of a snapshot."""
