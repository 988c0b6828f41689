#!/bin/sh
# Behaves like QEMU: its version at once, for Python is slow to start; the rest is in fake_qemu.py.
if [ "$1" = -version ]; then
    echo "QEMU emulator version 7.2.22 (fake)"
    exit
fi
exec python3 -ES "$(dirname "$(readlink -f "$0")")/fake_qemu.py" "$@"
