"""A lookout on each machine: its kernel's log as it goes, its disks' transfers, its free room.

Shell, not Python: under emulation an interpreter's start would be felt.  What it tells is a
daemon's lines (`rig.daemon`); it ends with its standard input.
"""

from __future__ import annotations

from typing import Any

import msgspec

NAME = "lookout"
LOOK_S = 1
SCRIPT = r"""
{ dmesg | tail -n 40; dmesg --follow-new; } 2>/dev/null |
    sed -u 's/[\\"]/\\&/g; s/[[:cntrl:]]/ /g; s/.*/{"event":"kernel","line":"&"}/' &
while sleep @LOOK_S@; do
    read -r up _ </proc/uptime
    for stat in /sys/block/sd*/stat /sys/block/nbd0/stat; do
        [ -r "$stat" ] && read -r _ _ taken _ _ _ given _ <"$stat" || continue
        node=${stat%/stat}
        printf '{"event":"disk","up_s":%s,"node":"%s","read":%s,"written":%s}\n' \
            "$up" "${node##*/}" "$taken" "$given"
    done
    printf '{"event":"room","bytes":%s}\n' "$(($(stat -f -c '%a*%S' @PLACE@)))"
done &
trap '' TERM
cat >/dev/null
kill 0
"""
"""Fields of ``stat``: Documentation/block/stat.rst; sectors are of 512 octets."""
SECTOR_BYTES = 512


def command(place: str) -> tuple[str, ...]:
    """Return the command line of a lookout.

    Args:
        place: A directory on the file system whose room is told.
    """
    script = SCRIPT.replace("@LOOK_S@", str(LOOK_S)).replace("@PLACE@", place)
    # A session of its own, for it ends whatever is in its process group.
    return ("setsid", "--wait", "sh", "-c", script)


class Rate(msgspec.Struct, frozen=True):
    """What a machine's disks moved in an interval.

    Attributes:
        written_bps: Octets a second that they took.
        read_bps: That they gave.
    """

    written_bps: float
    read_bps: float


class Meter:
    """Makes rates of what a lookout counts.  A disk that comes back begins at nothing."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int, int]] = {}

    def take(self, event: dict[str, Any]) -> Rate | None:
        """Take an event ``disk``; None: it is the disk's first, or no time has passed."""
        node = str(event["node"])
        up_s, read, written = float(event["up_s"]), int(event["read"]), int(event["written"])
        last = self._last.get(node)
        self._last[node] = up_s, read, written
        if last is None or up_s <= last[0] or read < last[1] or written < last[2]:
            return None
        for_s = up_s - last[0]
        return Rate(
            (written - last[2]) * SECTOR_BYTES / for_s, (read - last[1]) * SECTOR_BYTES / for_s
        )
