from __future__ import annotations

import textwrap

import msgspec

from rig.integrity.judgement import SectorClass
from rig.integrity.monitors.breach import Breach, Rule
from rig.report.summary import summarize
from rig.report.verdict import CheckedFileSystem, FaultRule, Faults, Outcome, Verdict, Watched

SECTORS = dict.fromkeys(SectorClass, 0)
VIEWS = {
    "host": SECTORS | {SectorClass.OK: 65536},
    "medium": SECTORS | {SectorClass.OK: 65536},
    "arrival": SECTORS | {SectorClass.OK: 82176},
}
PASS = Verdict(
    verdict=Outcome.PASS,
    reasons=(),
    sectors=SECTORS | {SectorClass.OK: 213248},
    views=VIEWS,
    findings=(),
    checks=(
        CheckedFileSystem("ext4", True, 0, ""),
        CheckedFileSystem("vfat", True, 0, ""),
    ),
    faults=Faults.of(
        (FaultRule("write-lost", "endpoint", 1, 1), FaultRule("slow", "medium", -1, 12))
    ),
    durations_s={"boot": 12.34, "total": 56.0},
    kernel="6.12.9-amd64",
    policy="hold",
    seed=2005,
    plan="demo",
    file_systems=("ext4", "vfat"),
    driver="split",
    attachment="dummy",
    link="tcp",
    accelerator="tcg",
    boot_retries=0,
    rig_version="0.1.0",
)


def page(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def test_a_pass_on_one_page() -> None:
    assert summarize(PASS) == page(
        """
        Verdict: PASS

        Plan demo, seed 2005, kernel 6.12.9-amd64, tcg
        Driver split, policy hold, attachment dummy, link tcp

        Sectors of 512 bytes          host      medium     arrival
          ok                         65536       65536       82176

        Faults: 13 fired of 1 planned
          endpoint  write-lost                     1 of 1
          medium    slow                          12 of any
        File system ext4: clean by its own checker
        File system vfat: clean by its own checker

        Durations (s)
          boot                            12.3
          total                           56.0
        """
    )


def test_a_fail_tells_twenty_reasons_and_how_many_more_there_are() -> None:
    reasons = tuple(f"Host view, LBA {n}: zeroed." for n in range(23))
    views = VIEWS | {"host": SECTORS | {SectorClass.OK: 65513, SectorClass.ZEROED: 23}}
    failed = msgspec.structs.replace(
        PASS,
        verdict=Outcome.FAIL,
        reasons=reasons,
        sectors=PASS.sectors | {SectorClass.ZEROED: 23},
        views=views,
        checks=(CheckedFileSystem("vfat", False, 1, "The FATs differ."),),
        faults=Faults(),
    )

    told = [f"          {reason}" for reason in reasons[:20]]
    assert summarize(failed) == page(
        "\n".join(
            [
                "        Verdict: FAIL",
                *told,
                "          ... and 3 more; verdict.json has them all.",
                """
        Plan demo, seed 2005, kernel 6.12.9-amd64, tcg
        Driver split, policy hold, attachment dummy, link tcp

        Sectors of 512 bytes          host      medium     arrival
          ok                         65513       65536       82176
          zeroed                        23           0           0

        Faults: 0 fired of 0 planned
        File system vfat: DAMAGED by its own checker

        Durations (s)
          boot                            12.3
          total                           56.0
        """,
            ]
        )
    )


def test_twenty_reasons_are_all_there_are() -> None:
    reasons = tuple(f"Reason {n}." for n in range(20))
    text = summarize(msgspec.structs.replace(PASS, verdict=Outcome.FAIL, reasons=reasons))
    assert "Reason 19." in text
    assert "more" not in text


def test_infrastructure_says_nothing_about_data() -> None:
    broken = msgspec.structs.replace(
        PASS,
        verdict=Outcome.INFRASTRUCTURE,
        reasons=("Machine 'back' fell silent.",),
        sectors=SECTORS,
        views={},
        checks=(),
        faults=Faults(),
        durations_s={"total": 3.0},
    )
    assert summarize(broken) == page(
        """
        Verdict: INFRASTRUCTURE
          Machine 'back' fell silent.

        Plan demo, seed 2005, kernel 6.12.9-amd64, tcg
        Driver split, policy hold, attachment dummy, link tcp

        Durations (s)
          total                            3.0
        """
    )


def test_sectors_of_zero_everywhere_still_show_their_row_for_ok() -> None:
    nothing = msgspec.structs.replace(PASS, sectors=SECTORS, views={"host": SECTORS})
    assert "  ok                             0\n" in summarize(nothing)


def test_what_the_monitors_saw_is_a_line() -> None:
    breach = Breach(Rule.ORDER, 3, 7, 0, "URB 7 ran before URB 6.")
    quiet = msgspec.structs.replace(PASS, watched=Watched(120))
    assert "URBs: 120 watched, no rule broken\n" in summarize(quiet)
    loud = msgspec.structs.replace(PASS, watched=Watched(120, (breach, breach)))
    assert "URBs: 120 watched, rule order broken 2 times\n" in summarize(loud)
