"""Dialogs: each asks for what a command needs, and shows in place what came of it."""
