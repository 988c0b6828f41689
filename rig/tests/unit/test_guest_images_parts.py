"""What goes into an image, where it comes from, and how failures are told."""

from __future__ import annotations

import gzip
import lzma
import struct
import sys
import time
from pathlib import Path

import pytest

from rig.cli.machine import MACHINE_COMMANDS
from rig.errors import MachineError, UserError
from rig.guest_images import bzimage, debian, image, kernel, source, spec, tools, tsc


def bz_image(packed: bytes, sectors: int = 3, offset: int = 40) -> bytes:
    """Make the least that Documentation/arch/x86/boot.rst calls a bzImage."""
    header = bytearray((sectors + 1) * 512)
    header[0x1F1] = sectors
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", header, 0x248, offset, len(packed) + 4)
    return bytes(header) + bytes(offset) + packed + b"SIZE" + b"rest"


ELF = b"\x7fELF and so on"


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_kernel_is_unpacked(compress) -> None:  # type: ignore[no-untyped-def]
    assert bzimage.unpack(bz_image(compress(ELF)), zstd=lambda data: b"") == ELF


def test_zstd_gets_the_payload_without_the_size_behind_it() -> None:
    packed = b"\x28\xb5\x2f\xfdabc"
    unpacked = bzimage.unpack(bz_image(packed), zstd=lambda data: ELF + data)
    assert unpacked == ELF + packed


@pytest.mark.parametrize("junk", [b"", b"MZ" + bytes(4096)])
def test_no_bzimage_is_told(junk: bytes) -> None:
    with pytest.raises(MachineError, match="no bzImage"):
        bzimage.unpack(junk, zstd=lambda data: data)


def test_an_unknown_compression_is_told() -> None:
    with pytest.raises(MachineError, match="compression"):
        bzimage.unpack(bz_image(b"LZO?"), zstd=lambda data: data)


def test_a_package_list_has_comments_and_no_order() -> None:
    assert spec.parse_package_list("b # why\n\n# all\na\nb\n") == ["a", "b"]


def test_both_package_lists_are_there() -> None:
    assert "mmdebstrap" in spec.package_list("station")
    assert "python3-pyfuse3" in spec.package_list("guest")


def test_an_unknown_kernel_is_told_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"7\.0") as caught:
        image.ensure("7.0")
    assert "6.12" in caught.value.hint
    assert "6.1." in caught.value.hint


def test_the_cloud_kernel_is_not_used() -> None:
    assert not any("cloud" in package for package in spec.KERNELS.values())


TARGETS = """\
Debian|bookworm|main|http://a/debian/
Debian|bookworm-security|main|http://a/debian-security/
Debian|bookworm|non-free|http://a/debian/
Somebody|bookworm|main|http://b/
Debian|trixie|main|http://a/debian/
broken line
"""


def test_only_debians_own_sources_are_taken() -> None:
    assert debian.one_line_sources(TARGETS) == [
        "deb http://a/debian-security/ bookworm-security main",
        "deb http://a/debian/ bookworm main",
    ]


def test_a_machine_of_another_release_offers_no_sources() -> None:
    assert debian.one_line_sources("Debian|trixie|main|http://a/debian/\n") == []


def test_a_mirror_has_its_security_archive_beside_it() -> None:
    assert debian.sources("http://m/debian/") == [
        "deb http://m/debian bookworm main",
        "deb http://m/debian bookworm-updates main",
        "deb http://m/debian-security bookworm-security main",
    ]


def test_a_mirror_may_be_a_sources_list() -> None:
    assert debian.sources("/etc/my.list") == ["/etc/my.list"]


def test_a_hook_is_one_line_and_stops_at_the_first_failure() -> None:
    hook = debian.shell("one", "two")
    assert hook == "set -eu; one; two"


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("E: Failed to fetch http://x/y", "network"),
        ("cp: write: No space left on device", "no space"),
        ("what\nE: odd thing\n\n", "odd thing"),
        ("", "no output"),
    ],
)
def test_a_failure_is_told_by_its_cause(output: str, sentence: str) -> None:
    assert sentence in tools.explain("prog", 1, output, Path("/log")).message


def test_a_missing_program_names_its_package() -> None:
    with pytest.raises(MachineError, match="no-such-program") as caught:
        tools.find("no-such-program")
    assert "make run" in caught.value.hint


def test_a_failed_program_has_its_last_line_in_the_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(MachineError, match="status 3: sorry"):
        tools.run([sys.executable, "-c", "print('sorry'); exit(3)"], log=log, timeout_s=30)
    assert "sorry" in log.read_text()


def test_a_program_that_is_not_done_in_time_is_ended(tmp_path: Path) -> None:
    forever = "import signal; signal.pause()"
    start = time.monotonic()
    with pytest.raises(MachineError, match="not done"):
        tools.run([sys.executable, "-c", forever], log=tmp_path / "log", timeout_s=0.3)
    assert time.monotonic() - start < tools.END_S


def test_the_guests_get_the_rig_without_its_tests() -> None:
    names = source.snapshot()
    assert "daemon.py" in names
    assert "usb/__init__.py" in names
    assert not any(name.startswith("tests") or name.endswith(".pyc") for name in names)


def test_every_module_that_a_guest_command_imports_is_in_the_source_layer() -> None:
    names = {f"rig/{name}" for name in source.snapshot()}
    for module in ("rig.__main__", "rig.cli.main", *MACHINE_COMMANDS.values()):
        assert module.replace(".", "/") + ".py" in names


def test_a_changed_script_changes_the_source_layer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = image.used_entries()
    files = tmp_path / "files"
    files.mkdir()
    for path in spec.FILES.iterdir():
        (files / path.name).write_bytes(path.read_bytes())
    with (files / "boot").open("a") as script:
        script.write("\n# changed\n")
    monkeypatch.setattr(source, "FILES", files)
    # Others may be at work in the checkout: what they change is in the source layer, too.
    assert {name for name, _ in image.used_entries() - before} == {"source"}


def test_a_kernel_is_its_own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.used_entries()
    monkeypatch.setattr(kernel, "BOOT_MODULES", ("overlay",))
    changed = {name.partition("-")[0] for name, _ in image.used_entries() - before}
    assert {"kernel", "initrd"} <= changed
    assert "base" not in changed


def test_every_script_of_the_guests_has_a_place() -> None:
    assert {path.name for path in spec.FILES.iterdir()} == {*source._PLACES, "init"}


def test_the_boot_line_that_the_lab_waits_for_is_said() -> None:
    assert f'"{image.BOOTED} ' in (spec.FILES / "announce").read_text()
    assert f'"{image.KERNEL_RUNS}"' in (spec.FILES / "init").read_text()


def test_the_counter_is_measured_alike_twice() -> None:
    first, second = tsc.measure_khz(), tsc.measure_khz()
    assert abs(first - second) < first / 1000


def test_a_guest_boots_where_the_counter_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden() -> int:
        raise OSError("Executable memory is forbidden.")

    monkeypatch.setattr(tsc, "measure_khz", forbidden)
    assert tsc.boot_args.__wrapped__() == ("lpj=4000000",)
