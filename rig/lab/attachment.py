"""What the gadget is plugged into: which UDC it has, and which host controller is at the other end.

==============  ===================  =============================================================
attachment      UDC                  host controller of the back machine
==============  ===================  =============================================================
``dummy``       dummy_udc.0          dummy_hcd, in the same kernel module
``xhci``        usbip-vudc.0         an emulated xHCI, by the cable (``rig cable``)
``xhci-raw``    usbip-vudc.0         the same, whose driver does not repeat by itself
``ehci``        usbip-vudc.0         an emulated EHCI, by the cable
``ohci``        usbip-vudc.0         an emulated OHCI, by the cable; the gadget is full speed
``udc:NAME``    NAME                 whatever NAME is connected to; dummy_hcd for dummy_udc.N
==============  ===================  =============================================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rig.errors import UserError

CABLE_SLOT = "1c.0"
"""The emulated controller's place on the back machine's PCI bus: fixed, for ports are named by
it."""

_CABLE_UDC = "usbip-vudc.0"
_DUMMY_UDC = re.compile(r"dummy_udc\.(\d+)")

_NO_SOFT_RETRY = "0x10000000000"
"""XHCI_NO_SOFT_RETRY, bit 40 (``drivers/usb/host/xhci.h``)."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A UDC and the host controller at the other end.

    Attributes:
        name: As a user says it.
        udc: That the gadget is bound to.
        controller: Part of the sysfs name of the host controller's device.
        port: In which the gadget is plugged there, as ``rig back --port`` takes it.
        max_speed: Of the gadget, in the kernel's words; "" for the usual.
        device: QEMU's name of the emulated host controller; "" if there is no cable.
        modules: What the back machine has to load before: arguments of modprobe.
    """

    name: str
    udc: str
    controller: str
    port: str
    max_speed: str = ""
    device: str = ""
    modules: tuple[tuple[str, ...], ...] = ()

    @property
    def has_cable(self) -> bool:
        """Whether ``rig cable`` is the wire."""
        return bool(self.device)

    def gadget_words(self) -> tuple[str, ...]:
        """Options of ``rig gadget``."""
        speed = ("--max-speed", self.max_speed) if self.max_speed else ()
        return ("--udc", self.udc, *speed)

    def qemu_args(self, socket: Path) -> list[str]:
        """Arguments for the back machine's QEMU.

        Args:
            socket: Where ``rig cable`` finds usb-redir.
        """
        if not self.has_cable:
            return []
        # A comma in an option's value is written twice (qemu(1)).
        path = str(socket).replace(",", ",,")
        return [
            *("-chardev", f"socket,id=cable,path={path},server=on,wait=off"),
            *("-device", f"{self.device},id=cablehc,addr={CABLE_SLOT}"),
            *("-device", "usb-redir,chardev=cable,id=cabledev,bus=cablehc.0"),
        ]


def _on_cable(name: str, device: str, *modules: tuple[str, ...], max_speed: str = "") -> Attachment:
    controller = f"0000:00:{CABLE_SLOT}"
    # No udev loads them; the quirk must be there before the controller is found.
    loads = (("usbip_vudc",), *modules)
    return Attachment(name, _CABLE_UDC, controller, f"{controller}/1", max_speed, device, loads)


DUMMY = Attachment("dummy", "dummy_udc.0", "dummy_hcd", "dummy_hcd.0/1")

ATTACHMENTS = {
    attachment.name: attachment
    for attachment in (
        DUMMY,
        _on_cable("xhci", "qemu-xhci", ("xhci_pci",)),
        _on_cable("xhci-raw", "qemu-xhci", ("xhci_hcd", f"quirks={_NO_SOFT_RETRY}"), ("xhci_pci",)),
        _on_cable("ehci", "usb-ehci", ("ehci_pci",)),
        _on_cable("ohci", "pci-ohci", ("ohci_pci",), max_speed="full-speed"),
    )
}
"""The attachments that have names of their own."""


def parse_attachment(text: str) -> Attachment:
    """Return the attachment of that name.

    Raises:
        UserError: There is none.
    """
    if text in ATTACHMENTS:
        return ATTACHMENTS[text]
    kind, _, udc = text.partition(":")
    if kind != "udc" or not udc:
        raise UserError(
            f"There is no attachment '{text}'.",
            hint=f"Known are: {', '.join(ATTACHMENTS)}, udc:NAME.",
        )
    dummy = _DUMMY_UDC.fullmatch(udc)
    if dummy is None:
        raise UserError(
            f"Attachment '{text}': it is not known into which port UDC '{udc}' is plugged.",
            hint="The QEMU lab has dummy_udc.N; for usbip-vudc.0 take xhci, ehci or ohci.",
        )
    return Attachment(text, udc, "dummy_hcd", f"dummy_hcd.{dummy[1]}/1")
