"""The full-screen terminal program of a session: panes, dialogs, keys, a command line.

`rig.session.screen.start.run_screen` starts it.  It shows `rig.session.snapshot.Snapshot` and does
everything through the session's interpreter of commands, on a thread of its own.
"""

from __future__ import annotations

import os

# How long textual waits behind an Escape for the rest of a key's sequence, in ms; it is read once.
# Its own 100 would be all the time that a key may take; 25 is what editors take.
os.environ.setdefault("ESCDELAY", "25")
