"""dummy_hcd: host controllers of this machine with a UDC behind each, in one kernel module.

Number and speed of them are parameters, which hold until the module is loaded anew
(``drivers/usb/gadget/udc/dummy_hcd.c``).
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from rig.errors import UserError
from rig.gadget.configfs import Configfs
from rig.gadget.kernel import run_command
from rig.gadget.tree import MaxSpeed

log = logging.getLogger("rig.gadget.dummy")

UDCS = 4
"""So many are made where nobody asks for more: several gadgets on several ports."""
MAX_UDCS = 32
MODULE = Path("/sys/module/dummy_hcd")
_UDC = re.compile(r"dummy_udc\.(\d+)")


def ensure_dummy_udc(
    udc: str, max_speed: MaxSpeed, configfs: Configfs, module: Path = MODULE
) -> None:
    """Have dummy_hcd loaded so that a UDC is there and as fast as asked; other UDCs are let be.

    Loading it anew unplugs its ports: who maps one must start afterwards.

    Args:
        udc: The UDC that is wanted.
        max_speed: That a gadget on it is to offer.
        configfs: Knows which UDCs are in use.
        module: Another place than the kernel's, for tests.

    Raises:
        UserError: dummy_hcd makes no such UDC, or would have to be loaded anew while a gadget is
            bound to one of its UDCs.
        MachineError: The kernel refuses.
    """
    match = _UDC.fullmatch(udc)
    if match is None:
        return
    number = int(match[1])
    if number >= MAX_UDCS:
        raise UserError(f"dummy_hcd makes at most {MAX_UDCS} UDCs, and '{udc}' is beyond.")
    super_speed = max_speed is MaxSpeed.SUPER
    count = UDCS
    if module.is_dir():
        count = int(_parameter(module, "num"))
        has_super_speed = _parameter(module, "is_super_speed") == "Y"
        if number < count and (has_super_speed or not super_speed):
            return
        super_speed |= has_super_speed
        _check_unused(configfs, count)
        log.warning("loading dummy_hcd anew: its %d ports are unplugged", count)
        run_command(["modprobe", "--remove", "dummy_hcd"])
    count = max(count, number + 1)
    # Behind what a modprobe.conf says, so that this holds.
    run_command(["modprobe", "dummy_hcd", f"num={count}", f"is_super_speed={int(super_speed)}"])


def _parameter(module: Path, name: str) -> str:
    return (module / "parameters" / name).read_text().strip()


def _check_unused(configfs: Configfs, count: int) -> None:
    for number in range(count):
        owner = configfs.owner_of(f"dummy_udc.{number}")
        if owner:
            raise UserError(
                f"dummy_hcd cannot be loaded anew: gadget '{owner}' is bound to one of its UDCs.",
                hint="Stop that gadget, or start the one that needs more or faster UDCs first.",
            )
