"""Plays the store's process without FUSE: ``fake_store.py MOUNT_POINT [MODE]``.

Modes: ``good``; ``mute`` mounts and answers nothing; ``dead`` ends at once with a sentence;
``dies`` ends at the first command; ``chatty`` also says what is no event.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def answer(command: dict[str, object]) -> None:
    if command["do"] == "fail":
        say(event="reply", id=command["id"], ok=False, error="No.")
        return
    if command["do"] == "faults":
        say(event="fault", t=0, layer="medium", rule="r", match=1)
    if "close" in command:
        say(event="released", t=0, layer="medium", rule="r", by=command["close"])
    say(event="reply", id=command["id"], ok=True, result={"did": command["do"]})


def main() -> int:
    mount, mode = Path(sys.argv[1]), sys.argv[2]
    if mode == "dead":
        say(event="error", error="The medium is in use.")
        return 3
    (mount / "lun0").touch()
    if mode == "chatty":
        print("hello, this is no event", flush=True)
    say(event="mounted")
    for line in sys.stdin:
        if mode == "dies":
            return 1
        if mode != "mute":
            answer(json.loads(line))
    (mount / "lun0").unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
