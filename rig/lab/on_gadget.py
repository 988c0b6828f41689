"""Runs *on the gadget's machine*, sent there as text: connect its usbip-vudc to the cable.

Standard library only.  Its arguments are the station's address and port, and the file with the
secret.  Whenever a gadget is bound to vudc and vudc has no host, it connects to the station and
hands the connection to vudc, which keeps it; so a gadget that is unbound and bound again is plugged
in again.  It ends with its standard input.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys

VUDC = "/sys/devices/platform/usbip-vudc.0"
AVAILABLE = "1"  # SDEV_ST_AVAILABLE, drivers/usb/usbip/usbip_common.h
LOOK_S = 0.1
CONNECT_S = 10.0


def bound() -> bool:
    """Return whether vudc would take a connection: it refuses "no socket" in two ways."""
    with open(f"{VUDC}/usbip_status", encoding="ascii") as file:  # noqa: PTH123
        if file.read().strip() != AVAILABLE:
            return False
    # To disconnect what is not connected is invalid, but without a gadget there is no device.
    return write("-1") == errno.EINVAL


def write(number: str) -> int:
    """Hand a descriptor to vudc; return 0 or an errno."""
    file = os.open(f"{VUDC}/usbip_sockfd", os.O_WRONLY)
    try:
        os.write(file, number.encode())
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        os.close(file)
    return 0


def main(host: str, port: str, secret_file: str) -> int:
    """Plug in whenever that can be done."""
    with open(secret_file, "rb") as file:  # noqa: PTH123
        secret = file.read()
    while not select.select([0], [], [], LOOK_S)[0]:
        if not bound():
            continue
        with socket.create_connection((host, int(port)), CONNECT_S) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.sendall(secret)
            stream.setblocking(True)
            failed = write(str(stream.fileno()))
        print(f'{{"event":"handed","errno":{failed}}}', flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3]))
