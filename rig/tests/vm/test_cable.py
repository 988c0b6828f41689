"""The cable on real kernels: Linux's own controller drivers meet an error that was made on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rig.cable.controllers import OHCI_OUT_BYTES, SHOWS, Controller
from rig.experiments.fidelity.fidelity import Trials, attach
from rig.experiments.fidelity.report import Data, Fidelity
from rig.experiments.fidelity.wishes import read_wishes
from rig.experiments.run.places import STORE
from rig.faults.rules.endpoint import STATUS_DIRECTION, EndpointStatus, When
from rig.guest_images.image import GuestImage
from rig.lab.accelerator import accelerator
from rig.lab.attachment import parse_attachment
from rig.lab.environment import LINK_ADDRESS
from rig.lab.lab import Lab
from rig.lab.paths import PathName
from rig.lab.strategy import LabState, Setup
from rig.lab.waits import Awaited
from rig.progress import Silent
from rig.tests.harness import transfer_client
from rig.tests.harness.guests import start_client
from rig.usb.urb import Direction

pytestmark = [pytest.mark.vm, pytest.mark.timeout(240)]

BYTES = 16384
MOVED = {When.BEFORE: 0, When.MIDDLE: BYTES // 2, When.AFTER: BYTES}
DEADLINE_S = 60.0
PLAN_ON_MACHINE = "/run/rig-cable.toml"
PLAN = ("--plan", PLAN_ON_MACHINE)
LINK = (LINK_ADDRESS, "--insecure", "--supervised")

DISK_RULES = """
[[fault]]
name = "write-cut"
layer = "endpoint"
place = "cable"
phase = "write-cut"
direction = "out"
opcode = 0x2A
min_bytes = 4096
nth = 1
when = "middle"
status = "{cut}"

[[fault]]
name = "port-fails"
layer = "endpoint"
place = "port"
phase = "port-fails"
direction = "out"
opcode = 0x2A
min_bytes = 4096
nth = 1
when = "middle"
status = "EILSEQ"

[[fault]]
name = "read-babbles"
layer = "endpoint"
place = "cable"
phase = "read-babbles"
direction = "in"
opcode = 0x28
stage = "data"
nth = 1
when = "after"
status = "EOVERFLOW"
"""

UNBIND = """
for interface in /sys/bus/usb/drivers/usbtest/[1-9]*; do
    echo "${interface##*/}" >/sys/bus/usb/drivers/usbtest/unbind
done
"""

Case = tuple[Direction, EndpointStatus, When]


def cases(controller: Controller) -> list[Case]:
    """All that the controller can show."""
    return [
        (direction, status, when)
        for direction in Direction
        for status in sorted(SHOWS[controller])
        for when in When
        if STATUS_DIRECTION.get(status, direction) is direction
        and (status, when) != (EndpointStatus.EREMOTEIO, When.AFTER)
    ]


def phase(case: Case) -> str:
    return "-".join(case)


def plan(controller: Controller) -> str:
    """Every case in a phase of its own; and two for a disk, which OHCI would have no end of."""
    cut = "EPROTO" if controller is Controller.XHCI_RAW else "EPIPE"
    rules = [
        f'[[fault]]\nlayer = "endpoint"\nplace = "cable"\nphase = "{phase(case)}"\nnth = 1\n'
        f'direction = "{case[0]}"\nstatus = "{case[1]}"\nwhen = "{case[2]}"\n'
        for case in cases(controller)
    ]
    disk = "" if controller is Controller.OHCI else DISK_RULES.format(cut=cut)
    return 'name = "cable"\nseed = 1\n' + "\n".join(rules) + disk


USUAL = (Controller.XHCI_RAW, Controller.EHCI)
RARE = tuple(
    pytest.param(one, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])
    for one in (Controller.XHCI, Controller.OHCI)
)
"""For the night: each needs machines of its own."""


@pytest.fixture(scope="module", params=USUAL)
def lab(
    request: pytest.FixtureRequest,
    guest_image: GuestImage,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Lab]:
    attachment = parse_attachment(request.param)
    directory = tmp_path_factory.mktemp("cable")
    chosen = accelerator(guest_image)
    with Lab.open(guest_image, directory, accelerator=chosen, attachment=attachment) as opened:
        (directory / "plan.toml").write_text(plan(request.param))
        opened.transition(LabState.BOOTED)
        opened.back.put(directory / "plan.toml", PLAN_ON_MACHINE)
        yield opened


def setup(lab: Lab, path: PathName, awaits: Awaited, *gadget: str) -> Setup:
    attachment = lab.strategy.attachment
    words = (*gadget, *attachment.gadget_words(), "--supervised")
    return Setup(
        gadget=("rig", "gadget", *words),
        back=("rig", "back", "--port", attachment.port, "--listen", *LINK, *PLAN),
        front=("rig", "front", "--connect", *LINK),
        cable=("--plan", str(lab.directory / "plan.toml")),
        path=path,
        awaits=awaits,
    )


@contextmanager
def attached(lab: Lab, wanted: Setup) -> Iterator[None]:
    lab.transition(LabState.BOOTED)
    lab.setup = wanted
    lab.transition(LabState.ATTACHED)
    yield
    lab.transition(LabState.BOOTED)


@contextmanager
def armed(lab: Lab, name: str, at: str = "cable") -> Iterator[None]:
    """Have the rule of a phase fire at a daemon, once, in the meantime."""
    daemon = lab.strategy.daemons[at]
    before = sum(daemon.ask("faults")["fired"].values())
    daemon.ask("phase", name=name)
    yield
    daemon.ask("phase", name=None)
    assert sum(daemon.ask("faults")["fired"].values()) == before + 1


def size(controller: Controller, case: Case) -> int:
    """Of a transfer; QEMU's OHCI sends OUT data packet by packet."""
    single = controller is Controller.OHCI and case[0] is Direction.OUT
    return OHCI_OUT_BYTES if single else BYTES


def shown(controller: Controller, case: Case) -> dict[str, Any]:
    """What the driver of the controller tells its client."""
    direction, status, when = case
    # QEMU's EHCI keeps no count of what it has sent when a transfer fails.
    unknown = controller is Controller.EHCI and direction is Direction.OUT
    # OHCI's counts whole pieces, and here it is the first that fails.
    moved = 0 if controller is Controller.OHCI else MOVED[when]
    return {"status": f"-{status}", "bytes": BYTES if unknown else moved}


@pytest.mark.parametrize("lab", [*USUAL, *RARE], indirect=True)
def test_each_error_is_seen_by_the_machines_own_driver_as_it_was_made(lab: Lab) -> None:
    controller = Controller(lab.strategy.attachment.name)
    gadget = setup(lab, PathName.DIRECT, Awaited.USBTEST, "--function", "source-sink")
    with attached(lab, gadget):
        lab.back.check(UNBIND)
        client = start_client(lab.back, transfer_client, "carry", lab.found)
        client.wait_event("carrying", DEADLINE_S)
        seen = {}
        for case in cases(controller):
            with armed(lab, phase(case)):
                seen[case] = client.ask(case[0], DEADLINE_S, bytes=size(controller, case))
            calm = client.ask(case[0], DEADLINE_S, bytes=size(controller, case))
            assert calm == {"status": "0", "bytes": size(controller, case)}, case
        client.stop()
    assert seen == {case: shown(controller, case) for case in cases(controller)}


@pytest.mark.parametrize("lab", [*USUAL, RARE[0]], indirect=True)
@pytest.mark.parametrize("path", [PathName.SPLIT, PathName.USBIP])
def test_the_fronts_disk_outlives_an_error_below_the_backs_driver(
    lab: Lab, path: PathName, tmp_path: Path
) -> None:
    controller = Controller(lab.strategy.attachment.name)
    disk = setup(lab, path, Awaited.DISK, "--directory", f"{STORE}-{path}", "--size", "8M")
    with attached(lab, disk):
        front, node = lab.front, lab.disk
        assert front.console
        front.check("dd if=/dev/urandom of=/run/sent bs=64K count=4 status=none")
        write = f"dd if=/run/sent of={node} bs=64K oflag=direct status=none"
        since = front.console.position
        if controller is Controller.XHCI_RAW:
            with armed(lab, "write-cut"):
                front.check(write, DEADLINE_S)
            front.console.wait_for("reset high-speed USB device", DEADLINE_S, since)
        else:
            front.check(write, DEADLINE_S)
        if (
            path is PathName.SPLIT
        ):  # what the cable cannot show is made in the port, at any controller
            since = front.console.position
            with armed(lab, "port-fails", at="back"):
                front.check(write, DEADLINE_S)
            front.console.wait_for("reset high-speed USB device", DEADLINE_S, since)
        read = f"dd if={node} of=/run/got bs=64K count=4 iflag=direct status=none"
        since = front.console.position
        with armed(lab, "read-babbles"):
            assert front.run(read, DEADLINE_S).status == 1
        # A babble is too much data to usb-storage, which then blames the command.
        front.console.wait_for("critical target error, dev sd", DEADLINE_S, since)
        front.check(read, DEADLINE_S)
        front.check("cmp /run/sent /run/got")


@pytest.mark.parametrize("lab", [Controller.XHCI_RAW], indirect=True)
def test_the_clients_driver_is_told_what_the_controllers_driver_told(lab: Lab) -> None:
    """A few cells of the table that ``rig fidelity`` makes."""
    wishes = read_wishes(
        attachments=["xhci-raw"],
        paths=["split", "usbip"],
        statuses=["EPROTO"],
        moments=["middle"],
    )
    trials = Trials(wishes, lambda *_: nullcontext(lab), partial(attach, wishes), Silent())
    seen = trials.at("xhci-raw")
    assert len(seen) == len(wishes.paths) * len(Direction)
    for one in seen:
        assert (str(one.below), one.fidelity) == ("-EPROTO, 2048", Fidelity.SAME), one
        assert (one.fired, one.errno, one.data) == (1, "", Data.RIGHT), one
        assert one.sent > 1, one
        assert "reset high-speed USB device" in one.lines, one
