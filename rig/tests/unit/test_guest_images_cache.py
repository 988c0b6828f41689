"""The image cache: whole entries or none, one builder at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.errors import MachineError, UserError
from rig.guest_images import cache as module
from rig.guest_images.cache import Cache, default_directory, key_of
from rig.progress import Silent

KEY = "0123456789abcdef"
OTHER = "fedcba9876543210"


def write_hello(new: Path) -> None:
    (new / "file").write_text("hello")


def refuse(new: Path) -> None:
    raise AssertionError("must not be built")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "images")


def test_a_missing_entry_is_built(cache: Cache) -> None:
    entry = cache.get("base", KEY, write_hello, Silent(), "build")
    assert (entry.path / "file").read_text() == "hello"
    assert entry.size_bytes == 5


def test_an_entry_is_built_once(cache: Cache) -> None:
    first = cache.get("base", KEY, write_hello, Silent(), "build")
    assert cache.get("base", KEY, refuse, Silent(), "build") == first


def test_another_key_is_another_entry(cache: Cache) -> None:
    cache.get("base", KEY, write_hello, Silent(), "build")
    cache.get("base", OTHER, write_hello, Silent(), "build")
    assert [entry.key for entry in cache.entries()] == [KEY, OTHER]


def test_names_with_dots_and_dashes_are_found_again(cache: Cache) -> None:
    cache.get("kernel-6.12", KEY, write_hello, Silent(), "build")
    assert [entry.name for entry in cache.entries()] == ["kernel-6.12"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MachineError("no network")])
def test_a_failed_build_leaves_nothing(cache: Cache, failure: BaseException) -> None:
    def fail(new: Path) -> None:
        write_hello(new)
        raise failure

    with pytest.raises(type(failure) if isinstance(failure, Exception) else failure):  # type: ignore[arg-type]
        cache.get("base", KEY, fail, Silent(), "build")
    assert list(cache.entries()) == []
    assert not list(cache.directory.glob(".new-*"))


def test_what_a_killed_build_left_is_removed(cache: Cache) -> None:
    half = cache.directory / f".new-base-{KEY}"
    half.mkdir(parents=True)
    (half / "rubbish").write_text("half")
    entry = cache.get("base", KEY, write_hello, Silent(), "build")
    assert [path.name for path in entry.path.iterdir()] == ["file"]


def test_a_half_made_entry_is_no_entry(cache: Cache) -> None:
    (cache.directory / f".new-base-{KEY}").mkdir(parents=True)
    assert list(cache.entries()) == []
    assert cache.find("base", KEY) is None


def test_a_full_disk_is_a_sentence_with_a_mend(cache: Cache) -> None:
    def full(new: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(MachineError, match="No space left") as caught:
        cache.get("base", KEY, full, Silent(), "build")
    assert "RIG_CACHE" in caught.value.hint


def test_too_little_space_is_told_before_the_build(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cache, "free_bytes", lambda self: 5 << 20)
    with pytest.raises(MachineError, match="Only 5 MiB"):
        cache.get("base", KEY, refuse, Silent(), "build")


def test_a_directory_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be written"):
        Cache(tmp_path / "file" / "images").get("base", KEY, refuse, Silent(), "build")


def test_a_removed_entry_is_gone(cache: Cache) -> None:
    cache.remove(cache.get("base", KEY, write_hello, Silent(), "build"))
    assert cache.find("base", KEY) is None
    assert not list(cache.directory.glob(".new-*"))


def test_who_waits_for_another_build_too_long_is_told(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.directory.mkdir(parents=True)
    held = os.open(cache.directory / ".lock-base", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    monkeypatch.setattr(module, "LOCK_WAIT_S", -1.0)
    with pytest.raises(MachineError, match="Another process"):
        cache.get("base", KEY, refuse, Silent(), "build")
    os.close(held)


def test_the_lock_is_free_after_a_build(cache: Cache) -> None:
    cache.get("base", KEY, write_hello, Silent(), "build")
    lock = os.open(cache.directory / ".lock-base", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)


def test_only_a_build_is_shown_as_a_step(cache: Cache) -> None:
    steps = []

    class Recorder(Silent):
        def step(self, name):  # type: ignore[no-untyped-def]
            @contextmanager
            def enclosed():  # type: ignore[no-untyped-def]
                steps.append(name)
                yield

            return enclosed()

    for _ in range(2):
        cache.get("base", KEY, write_hello, Recorder(), "build the base")
    assert steps == ["build the base"]


INPUTS = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(0, 9), st.text(max_size=5)))


@given(INPUTS, INPUTS)
def test_keys_differ_exactly_if_inputs_do(one: dict[str, object], two: dict[str, object]) -> None:
    assert (key_of(one) == key_of(two)) == (one == two)


def test_the_order_of_inputs_does_not_matter() -> None:
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})


def test_rig_cache_names_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIG_CACHE", "/somewhere")
    assert default_directory() == Path("/somewhere")


def test_xdg_cache_home_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_directory() == Path("/caches/rig/images")


def test_a_cache_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(UserError, match=r"cache cannot be read: Not a directory\. Choose another"):
        list(Cache(tmp_path / "cache").entries())


def test_an_entry_that_is_not_ours_to_remove_is_told(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = cache.get("base", "0" * 16, write_hello, Silent(), "build")

    def refuse_rename(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse_rename)
    with pytest.raises(UserError, match="cannot be removed: Permission denied"):
        cache.remove(entry)


def test_a_hole_takes_no_room(cache: Cache) -> None:
    def dig(new: Path) -> None:
        with (new / "sparse").open("wb") as file:
            file.truncate(1 << 30)

    assert cache.get("hole", KEY, dig, Silent(), "dig").size_bytes == 0
