from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rig.errors import MachineError, UserError
from rig.faults.plan import Plan
from rig.faults.rules.device import DeviceFault
from rig.faults.rules.machine import MachineFault, MachineKind
from rig.session.snapshot import DaemonRow, MachineRow, Mode, PortRow
from rig.session.talk.saving import Settings
from rig.tests.harness.fake_deeds import Seat

RULE = "arm layer=endpoint direction=out status=EPROTO when=before nth=1 name=lost"
CLOCK = "arm layer=endpoint direction=out status=EPROTO when=before name=late at_s="


@pytest.fixture
def seat() -> Seat:
    return Seat()


# Rules


def test_a_rule_is_armed_and_told_in_words(seat: Seat) -> None:
    assert seat.ask(RULE) == [
        "lost is armed: OUT bulk transfers: EPROTO before any data moved, in the back end's port."
    ]
    assert seat.deeds.row("lost").armed


def test_a_rule_may_be_given_in_json(seat: Seat) -> None:
    seat.ask('arm [{"layer": "medium", "op": "write", "nth": 3}, {"layer": "medium", "op": "read",'
             ' "nth": 1}]')  # fmt: skip
    assert set(seat.deeds.rules) == {"medium-1", "medium-2"}


def test_a_name_that_a_removed_rule_had_is_not_given_again(seat: Seat) -> None:
    seat.ask("arm layer=medium op=write nth=3")
    seat.ask("remove medium-1")
    seat.ask("arm layer=medium op=write nth=3")
    assert set(seat.deeds.rules) == {"medium-2"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("arm layer=endpoint", "'direction' is missing"),
        ("arm nth=1", "no 'layer'"),
        ("arm layer=moon nth=1", "unknown layer"),
        ("arm layer=medium op=write nth=1 phase=lunch", "no workload has a phase 'lunch'"),
        ("arm layer", "is not KEY=VALUE"),
        ("arm {", "not valid JSON"),
        ("recipe moon", "no recipe 'moon'"),
        ("recipe write-lost nth", "is not KEY=VALUE"),
        ("kill usb", "no daemon 'usb'"),
        ("kill back soon", "no number of seconds"),
        ("unplug nan", "no number of seconds"),
        ("power-cycle moon", "one of 'front', 'back'"),
        ("fire moon", "no rule 'moon'"),
        ("remove moon", "no rule 'moon'"),
        ("shell moon", "'moon' is not known here"),
        ("log moon", "'moon' is not known here"),
        ("urbs many", "no number of lines"),
        ("log back front", "one machine"),
        ("wait live 3", "after 3 s. Away: gadget."),
        ("status moon", "no status of 'moon'"),
        ("wait lunch", "'lunch' is not known here"),
        ("wait fired", "needs the name of a rule"),
        ("wait fired moon", "no rule 'moon'"),
        ("workload moon", "The workload 'moon' is not known"),
        ("recipes moon", "No recipe has 'moon'"),
        ("plug", "is plugged in"),
        ("undo", "nothing to undo"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence_and_not_written_down(
    seat: Seat, line: str, said: str
) -> None:
    assert said in seat.refused(line)
    assert seat.lines == []


def test_seconds_count_from_the_moment_at_which_they_are_given(seat: Seat) -> None:
    seat.ask(f"{CLOCK}2.5", at_s=31.0)
    assert seat.deeds.rules["late"].at_s == 33.5


def test_seconds_of_a_phase_are_the_phases(seat: Seat) -> None:
    seat.ask(f"{CLOCK}2.5 phase=read", at_s=31.0)
    assert seat.deeds.rules["late"].at_s == 2.5


def test_0_is_now(seat: Seat) -> None:
    seat.ask(f"{CLOCK}0", at_s=31.0)
    assert seat.deeds.rules["late"].at_s == 0


def test_a_recipe_is_armed_under_its_name_and_again_under_another(seat: Seat) -> None:
    seat.ask("recipe write-lost")
    seat.ask("recipe write-lost endpoint=2")
    assert set(seat.deeds.rules) == {"write-lost", "write-lost-2"}


@pytest.mark.parametrize(
    ("line", "kind", "for_s"),
    [
        ("kill back", MachineKind.KILL_DAEMON, None),
        ("kill front 3", MachineKind.KILL_DAEMON, 3),
        ("stop gadget 2", MachineKind.STOP_DAEMON, 2),
        ("restart back", MachineKind.KILL_DAEMON, 0),
        ("power-cycle", MachineKind.POWER_CYCLE, None),
    ],
)
def test_what_befalls_a_machine_is_a_rule_of_now(
    seat: Seat, line: str, kind: MachineKind, for_s: float | None
) -> None:
    seat.ask(line)
    (rule,) = seat.deeds.rules.values()
    assert isinstance(rule, MachineFault)
    assert (rule.kind, rule.for_s, rule.at_s) == (kind, for_s, 0)


def test_what_was_unplugged_is_plugged_in_by_a_rule_too(seat: Seat) -> None:
    seat.ask("unplug")
    port = msgspec.structs.replace(seat.deeds.now.ports[0], device=None)
    seat.deeds.change(ports=(port,))
    seat.ask("plug")
    away, back = seat.deeds.rules.values()
    assert isinstance(away, DeviceFault)
    assert isinstance(back, DeviceFault)
    assert (away.for_s, back.for_s) == (None, 0)


def test_a_rule_that_is_disarmed_is_not_disarmed_again(seat: Seat) -> None:
    seat.ask(RULE)
    seat.ask("disarm lost")
    assert seat.refused("disarm lost") == "lost is disarmed already."


# Everything else


def test_the_beginning_of_a_command_is_written_down_whole(seat: Seat) -> None:
    seat.ask("no all is well")
    assert seat.interpreter.journal() == ["10.0 s  note all is well"]


def test_a_deed_that_fails_is_told_and_not_written_down(seat: Seat) -> None:
    seat.deeds.refuse["reset"] = "The front machine is down."
    assert seat.refused("reset") == "The front machine is down."
    assert seat.lines == []


def test_a_shell_is_for_whoever_has_the_terminal(seat: Seat) -> None:
    assert seat.interpreter.ask("shell back").argv == ("sh", "-c", "echo shell on back")


def test_quit_leaves(seat: Seat) -> None:
    assert seat.interpreter.ask("quit").leaving


def test_a_rule_that_fires_ends_the_wait_for_it(seat: Seat) -> None:
    seat.ask(RULE)
    seat.deeds.fired("lost", 2)
    assert seat.ask("wait fired lost 3") == ["lost has fired 2 times."]


def test_a_wait_has_an_end(seat: Seat) -> None:
    seat.ask(RULE)
    assert seat.refused("wait fired lost 3") == "lost has not fired after 3 s."
    assert seat.refused("wait paused 4") == "The session is not paused after 4 s."


def test_a_wait_ends_with_the_session(seat: Seat) -> None:
    seat.ask(RULE)
    seat.deeds.change(mode=Mode.BROKEN, words="The disk is gone.")
    with pytest.raises(MachineError, match=r"cannot any more: The disk is gone\."):
        seat.ask("wait fired lost")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("status", "live: usual writes on ext4."),
        ("status machines", "machine back: up, kernel 6.12; back runs, gadget is away"),
        ("status port", "port 1-1: device 3, linked"),
        ("status files", "disk: 131072 blocks of 512 octets, LBA 0 to 131071"),
        ("urbs 1", "19.0 s  URB 17 endpoint 2 OUT: 512 of 512 octets, ok in 4.1 ms"),
        ("faults", "There are no rules."),
        ("policy", "The policy is hold."),
        ("workload", "The workload is usual."),
        ("journal", "Nothing was done yet."),
    ],
)
def test_what_is_asked_for_is_told_a_row_a_line(seat: Seat, line: str, said: str) -> None:
    assert seat.ask(line)[0] == said
    assert seat.lines == []


@pytest.mark.parametrize("line", [f"{RULE} endpoint=2", "wait live 3"])
def test_the_endpoints_are_waited_for_before_they_are_asked_for(seat: Seat, line: str) -> None:
    ports = seat.deeds.now.ports
    seat.deeds.change(ports=(), machines=())
    seat.patience.meanwhile = lambda: seat.deeds.change(ports=ports)
    seat.ask(line)
    assert seat.deeds.now.ports == ports


def test_without_a_split_driver_no_endpoints_are_waited_for() -> None:
    seat = Seat(Settings(Plan(name="calm"), split=False))
    seat.deeds.change(ports=(), machines=())
    seat.patience.meanwhile = lambda: pytest.fail("it waits")
    seat.ask("wait live 3")


@pytest.mark.parametrize(
    "missing",
    [
        {"away": True, "words": "The disk is away: it hides."},
        {"ports": (PortRow("1-1"),)},
        {"ports": (PortRow("1-1", 3),)},
        {"machines": (MachineRow("back", "without power"),)},
        {"machines": (MachineRow("front", "up", "6.12", (DaemonRow("front", False),)),)},
    ],
)
def test_without_its_disk_a_session_is_not_live(seat: Seat, missing: dict[str, Any]) -> None:
    seat.deeds.change(**({"machines": ()} | missing))
    assert seat.refused("wait live 3").startswith("The session is not live after 3 s.")
    seat.patience.meanwhile = lambda: seat.deeds.change(
        away=False, machines=(), ports=(PortRow("1-1", 3, linked=True),)
    )
    assert seat.ask("wait live 3") == ["The session is live."]


@pytest.mark.parametrize(
    ("port", "said"),
    [
        (PortRow("1-1"), "Nothing is plugged in."),
        (PortRow("1-1", 3), "No front end has the port."),
    ],
)
def test_what_a_session_lacks_to_be_live_is_said(seat: Seat, port: PortRow, said: str) -> None:
    seat.deeds.change(machines=(), ports=(port,))
    assert seat.refused("wait live 3").endswith(said)


def test_what_a_session_lacks_to_be_live_is_not_said_of_a_pause(seat: Seat) -> None:
    assert seat.refused("wait paused 3") == "The session is not paused after 3 s."


def test_what_is_waited_for_is_said_when_it_does_not_come(seat: Seat) -> None:
    seat.deeds.change(away=True, words="The disk is away: it hides.")
    assert seat.refused("wait live 3").endswith("The disk is away: it hides.")


def test_what_was_unplugged_just_now_can_be_plugged_in_before_that_is_seen(seat: Seat) -> None:
    seat.ask("unplug")
    seat.ask("plug")
    assert seat.refused("plug") == "The device is plugged in."


def test_plugging_in_is_told_as_such(seat: Seat) -> None:
    seat.deeds.change(ports=(PortRow("1-1"),))
    assert seat.ask("plug") == ["The device is plugged in."]


# Undo


@pytest.mark.parametrize(
    ("line", "done"),
    [
        (RULE, "remove lost"),
        ("pause", "go"),
        ("policy naive", "switch hold"),
        ("workload random", "use usual"),
        ("unplug", "add plug"),
    ],
)
def test_it_is_undone(seat: Seat, line: str, done: str) -> None:
    seat.ask(line, at_s=12.0)
    assert seat.ask("undo")[0] == f"Undone: {line} (12.0 s)."
    assert seat.deeds.done[-1] == done


@pytest.mark.parametrize(
    ("line", "done"), [("disarm lost", "arm lost"), ("remove lost", "add lost")]
)
def test_what_was_done_to_a_rule_is_undone(seat: Seat, line: str, done: str) -> None:
    seat.ask(RULE)
    seat.ask(line)
    seat.ask("undo")
    assert seat.deeds.done[-1] == done
    assert seat.deeds.row("lost").armed


def test_a_removed_rule_that_was_disarmed_comes_back_disarmed(seat: Seat) -> None:
    seat.ask(RULE)
    seat.ask("disarm lost")
    seat.ask("remove lost")
    seat.ask("undo")
    assert not seat.deeds.row("lost").armed


@pytest.mark.parametrize("line", ["reset", "verify", "release", "fire lost"])
def test_what_cannot_be_undone_is_said_and_what_was_before_it_is_undone(
    seat: Seat, line: str
) -> None:
    seat.ask(RULE)
    seat.ask("note here")
    seat.ask(line)
    first, second, _ = seat.ask("undo")
    assert first.endswith(("cannot be undone.", "changes nothing."))
    assert second.startswith("Undone: note here")


def test_what_has_fired_stays(seat: Seat) -> None:
    seat.ask(RULE)
    seat.deeds.fired("lost")
    assert seat.refused("undo") == "lost has fired: that stays. There is nothing to undo."
    assert "lost" in seat.deeds.rules


def test_a_rule_that_can_fire_again_is_removed_and_what_has_fired_is_said(seat: Seat) -> None:
    seat.ask(RULE + " times=9")
    seat.deeds.fired("lost", 2)
    assert "lost had fired 2 times: that stays." in seat.ask("undo")
    assert not seat.deeds.rules


def test_an_undo_that_fails_can_be_tried_again(seat: Seat) -> None:
    seat.ask("pause")
    seat.deeds.refuse["go"] = "The back machine is down."
    assert seat.refused("undo") == "The back machine is down."
    seat.deeds.refuse.clear()
    assert seat.ask("undo")[0].startswith("Undone: pause")


def test_each_undo_goes_one_further_back(seat: Seat) -> None:
    seat.ask("note one")
    seat.ask("note two")
    seat.ask("undo")
    seat.ask("undo")
    assert [line.endswith("(undone)") for line in seat.interpreter.journal()] == [
        *(True, True),
        *(False, False),
    ]
    with pytest.raises(UserError):
        seat.ask("undo")


# The journal


def test_each_entry_is_a_line_of_json_as_soon_as_it_is_done(seat: Seat) -> None:
    seat.ask(RULE, at_s=1.5)
    (line,) = seat.lines
    told = msgspec.json.decode(line)
    assert (told["at_s"], told["line"], told["deed"]) == (1.5, RULE, "added")
    assert told["rules"][0]["name"] == "lost"
    assert line.endswith("\n")
