"""A supervised daemon that does nothing but speak the lines of `rig.daemon`.

It emits ``ready`` twice, and before that the events named in its arguments; and before each reply
the `words` of the command, an event each.
"""

from __future__ import annotations

import os
import sys

from rig.daemon import Command, CommandLines, Events
from rig.errors import MachineError


def obey(command: Command) -> object:
    if command.do == "add":
        return command.args["a"] + command.args["b"]
    if command.do == "say":
        return "said"
    if command.do == "exit":
        print("last words", file=sys.stderr)
        sys.stderr.flush()
        os._exit(3)
    if command.do == "ignore":
        raise SystemExit
    raise MachineError("There is no medium.", hint="Insert one.")


def main() -> None:
    events, lines = Events(sys.stdout.buffer), CommandLines()
    print("starting", file=sys.stderr, flush=True)
    print("no event at all", flush=True)
    for name in sys.argv[1:]:
        events.emit(name)
    events.emit("ready", port=1)
    events.emit("ready", port=2)
    while data := os.read(0, 4096):
        for command in lines.feed(data):
            for word in command.args.get("words", ()):
                events.emit("said", word=word)
            if command.do != "mute":
                events.answer(command, obey)
    events.emit("stopped")


if __name__ == "__main__":
    main()
