"""Behaves like QEMU as far as the lab can see: monitor, serial port, exit.

Its option ``-fake MODE`` says what goes wrong; ``silent-once:FILE`` does so until FILE is there.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from pathlib import Path


def main() -> int:
    mode = sys.argv[sys.argv.index("-fake") + 1] if "-fake" in sys.argv else "boots"
    mode, _, marker = mode.partition(":")
    if mode == "silent-once":
        mode = "boots" if Path(marker).exists() else "silent"
        Path(marker).touch()
    path = re.search(r"id=serial,path=([^,\s]+)", " ".join(sys.argv))
    assert path
    if mode == "bad-option":
        print("qemu: -bogus: invalid option", file=sys.stderr)
        return 1
    if mode == "deaf":
        time.sleep(60)
    serial = socket.socket(socket.AF_UNIX)
    serial.connect(path[1])
    if mode == "dies-late":
        print("qemu: no such device", file=sys.stderr)
        return 1
    tell({"QMP": {"version": {}, "capabilities": []}})
    for line in sys.stdin:
        command = json.loads(line)
        name = command["execute"]
        if name == "quit" and mode == "stubborn":
            time.sleep(60)
        if name != "qmp_capabilities":
            tell({"event": "NOISE"})
        if name == "human-monitor-command":
            tell({"return": FORWARDS})
        elif name == "query-status":
            tell({"return": {"status": "io-error" if mode.startswith("full") else "running"}})
        else:
            tell({"return": {}})
        if name == "quit":
            return 0
        if name == "cont":
            serial.sendall(CONSOLE[mode])
            if mode == "ends":
                os._exit(7)
    return 0


def tell(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


BOOT = b"rig-guest: kernel runs\r\nrig-guest: booted back 6.12\r\n"
CONSOLE = {
    "boots": BOOT,
    "silent": b"",
    "full": b"",
    "full-later": BOOT,
    "stubborn": BOOT,
    "ends": BOOT,
    "panics": BOOT + b"[    9.1] Kernel panic - not syncing: sysrq triggered crash\r\n"
    b"[    9.2] Call Trace:\r\n[    9.3] ---[ end Kernel panic - not syncing ]---\r\n",
}
FORWARDS = (
    "Hub -1 (user):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port "
    "RecvQ SendQ\r\n  TCP[HOST_FORWARD]  13       127.0.0.1 39851       10.0.2.15    22"
    "     0     0\r\n"
)

if __name__ == "__main__":
    sys.exit(main())
