from __future__ import annotations

import pytest

from rig.cable.controllers import XHCI_ATTEMPTS, Controller, check_plan, cut
from rig.cable.usbredir.vocabulary import Speed, Status
from rig.errors import UserError
from rig.faults.reader import parse_plan
from rig.faults.rules.endpoint import EndpointEffect, EndpointStatus, When

RULE = '[[fault]]\nlayer = "endpoint"\nplace = "{place}"\nnth = 1\nwhen = "before"\n'


def check(controller: Controller | None, rule: str, place: str = "cable") -> None:
    text = f'name = "test"\n{RULE.format(place=place)}{rule}'
    check_plan(parse_plan(text, "plan.toml"), controller)


def effect(when: When, status: EndpointStatus = EndpointStatus.EPIPE) -> EndpointEffect:
    return EndpointEffect(when, status.code)


@pytest.mark.parametrize(
    ("controller", "status"),
    [
        (Controller.XHCI, "EPIPE"),
        (Controller.XHCI_RAW, "EPROTO"),
        (Controller.EHCI, "EOVERFLOW"),
        (Controller.OHCI, "ETIME"),
    ],
)
def test_a_status_that_the_controllers_driver_reports_is_taken(
    controller: Controller, status: str
) -> None:
    check(controller, f'direction = "in"\nstatus = "{status}"\n')


def test_an_error_that_outlasts_the_drivers_repeating_is_taken() -> None:
    rule = f'direction = "out"\nstatus = "EPROTO"\ntimes = {XHCI_ATTEMPTS}\n'
    check(Controller.XHCI, rule)
    with pytest.raises(UserError, match="repeats the transfer"):
        check(Controller.XHCI, rule.replace(str(XHCI_ATTEMPTS), str(XHCI_ATTEMPTS - 1)))


@pytest.mark.parametrize(
    ("controller", "status", "said"),
    [
        (Controller.XHCI, "EPROTO", "repeats the transfer by itself.* Take attachment xhci-raw"),
        (Controller.EHCI, "EPROTO", "without its data"),
        (Controller.OHCI, "EPROTO", "calls a transfer without an answer ETIME"),
        (Controller.XHCI_RAW, "EILSEQ", "nothing on the wire .* It can show EOVERFLOW, EPIPE"),
    ],
)
def test_a_status_that_cannot_be_shown_is_refused_with_the_reason(
    controller: Controller, status: str, said: str
) -> None:
    with pytest.raises(UserError, match=f"'endpoint-1': the cable at {controller} .*{said}"):
        check(controller, f'direction = "in"\nstatus = "{status}"\n')


@pytest.mark.parametrize("controller", Controller)
def test_a_transfer_is_cut_short_but_not_behind_its_end(controller: Controller) -> None:
    rule = 'name = "t"\n' + RULE.format(place="cable") + 'direction = "in"\nstatus = "EREMOTEIO"\n'
    check_plan(parse_plan(rule, "t"), controller)
    with pytest.raises(UserError, match="with all its data is not short"):
        check_plan(parse_plan(rule.replace("before", "after"), "t"), controller)


def test_a_rule_for_the_cable_is_refused_where_there_is_none() -> None:
    with pytest.raises(UserError, match="on the cable, and this attachment has none"):
        check(None, 'direction = "in"\nstatus = "EPIPE"\n')


@pytest.mark.parametrize("controller", [None, Controller.EHCI])
def test_a_rule_for_the_back_ends_port_is_none_of_the_cables_business(
    controller: Controller | None,
) -> None:
    check(controller, 'direction = "in"\nstatus = "EILSEQ"\n', place="port")


def test_a_size_that_no_packet_of_ohci_has_is_refused() -> None:
    rule = 'direction = "{}"\nstatus = "EPIPE"\nmin_bytes = 65\n'
    with pytest.raises(UserError, match="in packets of 64"):
        check(Controller.OHCI, rule.format("out"))
    check(Controller.OHCI, rule.format("in"))


def test_only_ohci_is_slow() -> None:
    assert {c for c in Controller if c.speed is Speed.FULL} == {Controller.OHCI}


@pytest.mark.parametrize(
    ("when", "length_bytes", "moved"),
    [
        (When.BEFORE, 16384, None),
        (When.MIDDLE, 16384, 8192),
        (When.MIDDLE, 1536, 512),
        (When.MIDDLE, 512, None),
        (When.AFTER, 16384, 16384),
        (When.AFTER, 13, 13),
    ],
)
def test_whole_packets_move(when: When, length_bytes: int, moved: int | None) -> None:
    assert cut(effect(when), length_bytes, 512).run_bytes == moved


@pytest.mark.parametrize(
    ("at_bytes", "moved"), [(0, None), (511, None), (600, 512), (1000, 1000), (5000, 1000)]
)
def test_bytes_that_were_asked_for_move_in_whole_packets(at_bytes: int, moved: int | None) -> None:
    wanted = EndpointEffect(When.MIDDLE, EndpointStatus.EPIPE.code, at_bytes)
    assert cut(wanted, 1000, 512).run_bytes == moved


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("EPROTO", Status.IO_ERROR),
        ("EPIPE", Status.STALL),
        ("EOVERFLOW", Status.BABBLE),
        ("EREMOTEIO", Status.SUCCESS),
    ],
)
def test_the_wire_says_what_the_driver_is_to_report(status: str, answer: Status) -> None:
    assert cut(effect(When.BEFORE, EndpointStatus(status)), 512, 512).status is answer
