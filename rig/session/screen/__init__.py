"""The full-screen terminal program of a session: panes, dialogs, keys, a command line.

`rig.session.screen.start.run_screen` starts it.  It shows `rig.session.snapshot.Snapshot` and does
everything through the session's interpreter of commands, on a thread of its own.
"""
