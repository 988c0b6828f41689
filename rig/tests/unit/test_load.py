"""A plan's file is read, bounded, or refused in one sentence that names it as the user did."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rig.errors import UserError
from rig.faults import load
from rig.faults.load import load_plan, read_plan_text


def complaint(path: Path | str) -> str:
    with pytest.raises(UserError) as caught:
        load_plan(path)
    said = str(caught.value)
    assert said.isprintable()
    return said


def written(directory: Path, octets: bytes, name: str = "plan.toml") -> Path:
    path = directory / name
    path.write_bytes(octets)
    return path


def test_a_device_is_no_plan() -> None:
    assert complaint("/dev/zero") == (
        "Plan file '/dev/zero' cannot be read: it is neither a file nor a pipe."
    )


def test_a_directory_is_no_plan(tmp_path: Path) -> None:
    assert complaint(tmp_path).endswith(" cannot be read: it is a directory.")


def test_a_pipe_that_nobody_writes_to_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "PIPE_DEADLINE_S", 0.05)
    os.mkfifo(tmp_path / "pipe")
    assert "it is a pipe that nobody ended within 0.05 s" in complaint(tmp_path / "pipe")


def test_a_pipe_whose_writer_is_silent_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "PIPE_DEADLINE_S", 0.05)
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        assert "that nobody ended within 0.05 s" in complaint(tmp_path / "pipe")
    finally:
        os.close(writer)


def test_a_plan_may_come_through_a_pipe() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as writer:

        def write() -> None:
            with writer:
                writer.write(b'name = "x"')

        thread = threading.Thread(target=write)
        thread.start()
        assert read_plan_text(f"/dev/fd/{read_end}") == 'name = "x"'
        thread.join()
    os.close(read_end)


def test_a_file_that_is_too_long_is_no_plan(tmp_path: Path) -> None:
    long = written(tmp_path, b"#" * (load.MOST_BYTES + 1))
    assert "it has more than 1 MiB" in complaint(long)


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b'\xef\xbb\xbfname = "x"', "it begins with a byte order mark; save it as UTF-8 without"),
        ('name = "x"'.encode("utf-16"), "it is UTF-16; save it as UTF-8."),
        (b'name = "x"\n# \xe9t\xe9', "line 2 is not UTF-8 (octet 0xe9); save it as UTF-8."),
    ],
)
def test_another_encoding_is_told_with_the_mend(tmp_path: Path, octets: bytes, said: str) -> None:
    assert said in complaint(written(tmp_path, octets))


def test_a_sentence_has_the_whole_path_as_it_was_given(tmp_path: Path) -> None:
    bad = written(tmp_path, b"\n\nnam = 1")
    assert complaint(bad).startswith(f"{bad}, line 3: unknown key 'nam'")


def test_a_files_name_does_not_break_the_sentence(tmp_path: Path) -> None:
    bad = written(tmp_path, b"nam = 1", "a\n\x1b[31m.toml")
    assert r"a\n\x1b[31m.toml, line 1:" in complaint(bad)
    assert r"no\n" in complaint("no\n")
