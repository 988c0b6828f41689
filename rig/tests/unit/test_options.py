from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rig.errors import UserError
from rig.experiments.run.options import LUN_SLACK_BYTES, RunOptions, check_recovery, check_wishes
from rig.faults.load import load_plan
from rig.integrity.filesystems import MIB, file_system
from rig.lab.paths import PathName

PLAN = 'name = "mine"\nseed = 7\n'
RULE = '[[fault]]\nlayer = "medium"\nop = "write"\nnth = 3\nerror = "EIO"\n'


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(PLAN + RULE)
    return path


def wish(
    plan: str | Path = "demo", fs: str = "ext4", kernel: str = "6.12", seed: int | None = None
) -> RunOptions:
    return check_wishes(str(plan), fs, kernel, seed)


def test_a_shipped_plan_is_found_by_name() -> None:
    assert wish("demo").plan == load_plan("demo")


def test_the_machines_get_the_plans_very_text(plan: Path) -> None:
    assert wish(plan).plan_text == plan.read_text()


def test_a_plan_may_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(PLAN + RULE,), daemon=True)
    writer.start()
    options = wish(pipe)
    writer.join(10.0)
    assert options.plan.name == "mine"
    assert options.plan_text == PLAN + RULE


def test_a_seed_replaces_the_plans_own(plan: Path) -> None:
    assert (wish(plan).plan.seed, wish(plan, seed=9).plan.seed) == (7, 9)


def test_a_seed_of_zero_is_a_seed(plan: Path) -> None:
    assert wish(plan, seed=0).plan.seed == 0


def test_file_systems_keep_their_order_and_may_have_blanks_between() -> None:
    assert wish(fs=" vfat, ext4").file_systems == ("vfat", "ext4")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("ntfs", "file system 'ntfs' is not known"),
        ("EXT4", "file system 'EXT4' is not known"),
        ("", "file system '' is not known"),
        ("ext4,", "file system '' is not known"),
        ("ext4,vfat, ext4", "'ext4,vfat, ext4' names one twice"),
    ],
)
def test_file_systems_that_cannot_be_are_named(names: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        wish(fs=names)


@pytest.mark.parametrize("kernel", ["5.4", "", "6.12 "])
def test_an_unknown_kernel_is_named(kernel: str) -> None:
    with pytest.raises(UserError, match=f"no guest kernel '{kernel}'"):
        wish(kernel=kernel)


def test_a_negative_seed_is_named() -> None:
    with pytest.raises(UserError, match="Seed -1 is negative"):
        wish(seed=-1)


def test_a_missing_plan_is_named() -> None:
    with pytest.raises(UserError, match=r"no plan file 'nowhere\.toml'"):
        wish("nowhere.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLAN + "seed ?", r"mine\.toml: not valid TOML: .* line 3"),
        (PLAN + "speed = 1\n", r"mine\.toml, line 3: unknown key 'speed'"),
        (PLAN + RULE + "lbas = [1, 2]\n", r"mine\.toml, line 8: fault 1 .*unknown key 'lbas'"),
        (PLAN + RULE.replace("write", "eat"), r"mine\.toml, line 5: fault 1 .*'op' is 'eat'"),
        ('name = "mine"\nseed = -3\n', r"mine\.toml, line 2: 'seed' is -3"),
    ],
)
def test_a_bad_plan_is_named_with_the_place(plan: Path, text: str, said: str) -> None:
    plan.write_text(text)
    with pytest.raises(UserError, match=said):
        wish(plan)


@pytest.mark.parametrize("names", ["ext4", "ext4,vfat", "ext4,vfat,xfs,btrfs,f2fs,exfat"])
def test_the_lun_holds_every_partition(names: str) -> None:
    options = wish(fs=names)
    rows = [file_system(name) for name in options.file_systems]
    assert options.lun_bytes >= sum(row.smallest_bytes for row in rows)
    assert options.lun_bytes >= len(rows) * 2 * options.bytes_each


def test_more_data_needs_a_larger_lun(plan: Path) -> None:
    wished = wish(plan)
    small, large = (
        RunOptions(wished.plan, wished.plan_text, ("ext4",), "6.12", bytes_each=n * MIB)
        for n in (16, 64)
    )
    assert large.lun_bytes - small.lun_bytes == 2 * 48 * MIB


def test_the_lun_is_whole_blocks() -> None:
    assert LUN_SLACK_BYTES % 512 == 0
    assert wish().lun_bytes % 512 == 0


def test_both_ends_get_the_policy_and_the_back_end_what_else_it_needs() -> None:
    aca = check_recovery("aca", "EAGAIN", 1)

    assert aca.front_words() == ("--policy", "aca")
    assert aca.back_words() == ("--policy", "aca", "--aca-status", "EAGAIN")
    assert check_recovery("hold", None, 4).back_words() == ("--policy", "hold", "--window", "4")


def test_a_verdict_names_what_is_not_the_usual() -> None:
    assert str(check_recovery("hold", None, 1)) == "hold"
    assert str(check_recovery("hold", None, 4)) == "hold (window 4)"
    assert str(check_recovery("aca", "EAGAIN", 1)) == "aca (EAGAIN)"
    assert str(check_recovery("naive", None, 1)) == "naive"


@pytest.mark.parametrize(
    ("recovery", "said"),
    [
        (("hope", None, 1), "no policy 'hope'"),
        (("aca", "EIO", 1), "no ACA status 'EIO'"),
        (("hold", "EPROTO", 1), "has no ACA status"),
        (("naive", None, 2), "A window is for policy hold"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(
    recovery: tuple[str, str | None, int], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        check_recovery(*recovery)


def test_a_window_and_endpoint_faults_do_not_go_together(tmp_path: Path) -> None:
    rule = '[[fault]]\nlayer = "endpoint"\ndirection = "out"\nwhen = "before"\nstatus = "EPROTO"\n'
    file = tmp_path / "plan.toml"
    file.write_text(PLAN + rule + "nth = 1\n")

    with pytest.raises(UserError, match="do not go together"):
        check_wishes(str(file), "ext4", "6.12", None, check_recovery("hold", None, 2))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            'layer = "machine"\nmachine = "back"\neffect = "kill"\nat_s = 1\n',
            "Fault 'machine-1' ends the back machine for good",
        ),
        (
            'layer = "machine"\nmachine = "front"\neffect = "power-cycle"\nat_s = 1\n',
            "Fault 'machine-1' ends the front machine",
        ),
        (
            'layer = "endpoint"\nplace = "cable"\ndirection = "in"\nstatus = "EPROTO"\n'
            'when = "after"\nnth = 1\n',
            "Fault 'endpoint-1' is to happen on the cable",
        ),
    ],
)
def test_a_fault_that_no_part_of_the_run_brings_about_is_refused(
    tmp_path: Path, rule: str, said: str
) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(PLAN + "[[fault]]\n" + rule)
    with pytest.raises(UserError, match=said):
        wish(file)


def test_a_back_machine_with_a_cable_does_not_lose_its_power(tmp_path: Path) -> None:
    rule = 'layer = "machine"\nmachine = "back"\neffect = "reboot"\nat_s = 1\n'
    file = tmp_path / "plan.toml"
    file.write_text(PLAN + "[[fault]]\n" + rule)
    with pytest.raises(UserError, match="does not go with attachment 'ehci'"):
        check_wishes(str(file), "ext4", "6.12", None, attachment="ehci")


@pytest.mark.parametrize(
    ("rule", "function"),
    [
        ('effect = "csw-tag"\nnth = 1', ("--function", "bot-storage")),
        ('effect = "unbind"\nnth = 1', ("--function", "bot-storage")),
        ('effect = "unbind"\nat_s = 1', ()),
    ],
)
def test_a_plan_about_commands_has_the_disk_that_knows_them(
    tmp_path: Path, rule: str, function: tuple[str, ...]
) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(f'name = "p"\n[[fault]]\nlayer = "device"\n{rule}\n')
    words = wish(file).gadget_words
    assert words[: len(function)] == function
    assert ("bot-storage" in words) is bool(function)


def test_over_the_cable_a_run_writes_less(plan: Path) -> None:
    sizes = [
        check_wishes(str(plan), "vfat", "6.12", None, attachment=name).bytes_each
        for name in ("dummy", "udc:dummy_udc.1", "xhci", "ehci", "ohci")
    ]
    assert sizes == [16 * MIB, 16 * MIB, 4 * MIB, 4 * MIB, MIB // 4]


def test_a_file_system_that_would_take_for_ever_is_refused(plan: Path) -> None:
    with pytest.raises(UserError, match="Ask for --fs vfat"):
        check_wishes(str(plan), "ext4,vfat", "6.12", None, attachment="ohci")


def test_the_usual_driver_is_the_rigs_own() -> None:
    assert (wish().driver, wish().policy_words) == (PathName.SPLIT, "hold")


def test_another_driver_has_no_policy(plan: Path) -> None:
    options = check_wishes(str(plan), "ext4", "6.12", None, driver="usbip")
    assert (options.driver, options.policy_words) == (PathName.USBIP, "")
    with pytest.raises(UserError, match="driver usbip has none"):
        check_wishes(str(plan), "ext4", "6.12", None, check_recovery("aca"), driver="usbip")


def test_an_unknown_driver_is_named(plan: Path) -> None:
    with pytest.raises(UserError, match="There is no driver 'xen'"):
        check_wishes(str(plan), "ext4", "6.12", None, driver="xen")


def test_the_usual_workload_is_the_default_and_others_keep_their_order() -> None:
    assert [kind.name for kind in wish().workloads] == ["usual"]
    chosen = check_wishes("demo", "ext4", "6.12", None, workloads="mmap, random")
    assert [kind.name for kind in chosen.workloads] == ["mmap", "random"]
    assert chosen.lun_bytes > wish().lun_bytes


@pytest.mark.parametrize(
    ("fs", "workloads", "said"),
    [
        ("ext4", "fast", "workload 'fast' is not known"),
        ("ext4", "mmap,mmap", "The list of workloads 'mmap,mmap' names one twice"),
        ("raw", "small-files", "'small-files' needs files, and the raw device has none"),
    ],
)
def test_workloads_that_cannot_be_are_named(fs: str, workloads: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_wishes("demo", fs, "6.12", None, workloads=workloads)


def test_a_file_system_that_cannot_be_made_on_the_lun_is_refused_beforehand() -> None:
    with pytest.raises(UserError, match=r"leaves 44 MiB for xfs, which needs 64 MiB\."):
        check_wishes("calm", "xfs", "6.12", None, lun_mib=48)


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        ("ext4", "Give --lun-mib 20 or more."),
        ("ext4,btrfs", "Give --lun-mib 260 or more, or fewer file systems."),
    ],
)
def test_a_lun_that_is_too_small_is_refused_with_the_size_that_does(names: str, hint: str) -> None:
    with pytest.raises(UserError) as told:
        check_wishes("calm", names, "6.12", None, lun_mib=10)
    assert told.value.hint == hint
    enough = int(hint.split()[2])
    assert check_wishes("calm", names, "6.12", None, lun_mib=enough).lun_mib == enough
    with pytest.raises(UserError):
        check_wishes("calm", names, "6.12", None, lun_mib=enough - 1)


def test_a_lun_may_be_too_small_for_the_data() -> None:
    options = check_wishes("calm", "ext4", "6.12", None, lun_mib=24)
    assert (options.lun_bytes, options.partition_bytes) == (24 * MIB, 20 * MIB)


@pytest.mark.parametrize("names", ["ext4", "raw", "raw,vfat"])
def test_what_is_promised_is_what_the_workloads_write(names: str) -> None:
    options = check_wishes("demo", names, "6.12", None, workloads="usual,overwrite")
    assert options.promised_sectors == dict.fromkeys(options.file_systems, (16 + 4) * MIB // 512)
