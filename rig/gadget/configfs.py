"""Carries a tree's steps out in configfs, and takes them back, with a line in the log for each."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from rig.errors import MachineError
from rig.gadget.tree import Link, MakeDirectory, RemoveDirectory, Step, Unlink, WriteAttribute

log = logging.getLogger("rig.gadget.configfs")

GADGETS = Path("/sys/kernel/config/usb_gadget")
"""Where libcomposite keeps all gadgets of a machine."""


class Configfs:
    """The directory of all gadgets.

    Args:
        root: Another place than the kernel's, for tests.
    """

    def __init__(self, root: Path = GADGETS) -> None:
        self.root = root

    def apply(self, steps: Iterable[Step]) -> None:
        """Carry steps out in order; stop at the first that fails.

        Raises:
            MachineError: The kernel refuses a step, which is named.
        """
        for step in steps:
            try:
                self._do(step)
            except OSError as error:
                raise MachineError(f"{_words(step)} failed: {error.strerror}.") from error

    def undo(self, steps: Iterable[Step]) -> None:
        """Carry out the steps of `tree.undo_steps`, all of them whatever is there already.

        What is not there was not made, or is undone already: that is no error.  So this mends
        the half-made tree of a process that was killed, too.

        Raises:
            MachineError: A step failed for another reason; the rest was tried nevertheless.
        """
        problems = []
        for step in steps:
            try:
                self._do(step)
            except (FileNotFoundError, NotADirectoryError):
                log.debug("nothing to undo: %s", _words(step))
            except OSError as error:
                problems.append(f"{_words(step)} failed: {error.strerror}")
        if problems:
            raise MachineError(f"The gadget cannot be removed: {'; '.join(problems)}.")

    def exists(self, name: str) -> bool:
        """Whether a gadget of this name is there, whole or not."""
        return (self.root / name).exists()

    def functions(self, name: str) -> list[str]:
        """The directories of a gadget's functions, sorted; none if there is no such gadget."""
        place = self.root / name / "functions"
        return sorted(path.name for path in place.iterdir()) if place.is_dir() else []

    def read(self, name: str, function: str, attribute: str) -> str:
        """Read an attribute of a gadget's function.

        Args:
            name: Of the gadget.
            function: The function's directory.
            attribute: Relative to it.

        Raises:
            MachineError: It cannot be read.
        """
        path = self.root / name / "functions" / function / attribute
        try:
            # u_ether shows addresses with the zero that ends a string in C.
            return path.read_text().strip("\0\n ")
        except OSError as error:
            raise MachineError(
                f"Attribute {attribute} of function {function} cannot be read: {error.strerror}."
            ) from error

    def bound_udc(self, name: str) -> str:
        """The UDC that a gadget is bound to; empty if to none or if there is no such gadget."""
        try:
            return (self.root / name / "UDC").read_text().strip()
        except OSError:
            return ""

    def owner_of(self, udc: str) -> str:
        """The gadget that is bound to a UDC; empty if none is."""
        names = [path.name for path in self.root.iterdir()] if self.root.is_dir() else []
        return next((name for name in names if self.bound_udc(name) == udc), "")

    def _do(self, step: Step) -> None:
        log.debug("%s", _words(step))
        path = self.root / step.path
        match step:
            case MakeDirectory():
                path.mkdir()
            case RemoveDirectory():
                path.rmdir()
            case WriteAttribute(value=value):
                write_attribute(path, value)
            case Link(target=target):
                # configfs looks a relative target up from the working directory.
                path.symlink_to((self.root / target).absolute())
            case Unlink():
                path.unlink()


def write_attribute(path: Path, value: str | bytes) -> None:
    """Write an attribute of sysfs or configfs in the one system call that it is.

    Args:
        path: Of the attribute.
        value: Text becomes a line; octets are written as they are.

    Raises:
        OSError: There is no such attribute, or the kernel refuses the value.
    """
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, value if isinstance(value, bytes) else value.encode() + b"\n")
    finally:
        os.close(fd)


def _words(step: Step) -> str:
    match step:
        case MakeDirectory(path):
            return f"mkdir {path}"
        case RemoveDirectory(path):
            return f"rmdir {path}"
        case WriteAttribute(path, bytes() as octets):
            return f"write {len(octets)} octets to {path}"
        case WriteAttribute(path, value):
            return f"write '{value!s}' to {path}"
        case Link(path, target):
            return f"link {path} to {target}"
        case Unlink(path):
            return f"unlink {path}"
