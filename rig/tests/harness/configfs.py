"""A configfs of plain files that behaves, where it matters, as the kernel's does.

Objects come with their attributes, and some of these tell what the kernel chose; an object with
children, or a linked function, cannot be removed; writing ``UDC`` binds, and a UDC binds one gadget
only; an ejected LUN has no file.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from rig.gadget.configfs import Configfs
from rig.gadget.tree import Link, MakeDirectory, RemoveDirectory, Step, Unlink, WriteAttribute

GADGET = (
    *("idVendor", "idProduct", "bcdDevice", "bcdUSB", "max_speed", "UDC"),
    *("bDeviceClass", "bDeviceSubClass", "bDeviceProtocol"),
)
LUN = ("file", "ro", "removable", "cdrom", "nofua", "inquiry_string", "forced_eject")

FUNCTIONS = {
    "mass_storage": {"stall": ""},
    "acm": {"port_num": "0\n"},
    # u_ether shows the zero that ends a string in C, too.
    "ncm": {"ifname": "usb0\n", "dev_addr": "\0\n", "host_addr": "\0\n", "qmult": "5\n"},
    "hid": {
        **dict.fromkeys(("subclass", "protocol", "report_length", "report_desc"), ""),
        "dev": "236:0\n",
    },
    "SourceSink": {"pattern": "0\n", "bulk_qlen": "32\n"},
    "Loopback": {"qlen": "32\n"},
}
"""The attributes of a function, and what the kernel has in them."""


class FakeConfigfs(Configfs):
    """See the module; `log` holds the steps that succeeded."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        root.mkdir(exist_ok=True)
        self.log: list[Step] = []
        self.refuse: str = ""
        """A step at a path that ends so fails with EINVAL."""

    def _do(self, step: Step) -> None:
        if self.refuse and step.path.endswith(self.refuse):
            raise OSError(errno.EINVAL, "Invalid argument")
        path = self.root / step.path
        match step:
            case RemoveDirectory():
                self._remove(path)
            case Unlink() | Link() | MakeDirectory():
                super()._do(step)
                if isinstance(step, MakeDirectory):
                    self._populate(path)
            case WriteAttribute():
                super()._do(step)
                if path.name == "forced_eject":
                    (path.parent / "file").write_text("")
        self.log.append(step)

    def _populate(self, path: Path) -> None:
        match path.relative_to(self.root).parts:
            case (_,):
                self._files(path, GADGET)
                for group in ("strings", "configs", "functions"):
                    (path / group).mkdir()
            case (_, "strings", _):
                self._files(path, ("serialnumber", "manufacturer", "product"))
            case (_, "configs", _):
                self._files(path, ("MaxPower", "bmAttributes"))
                (path / "strings").mkdir()
            case (_, "configs", _, "strings", _):
                self._files(path, ("configuration",))
            case (_, "functions", function):
                kind = function.partition(".")[0]
                for name, value in FUNCTIONS[kind].items():
                    (path / name).write_text(value)
                if kind == "mass_storage":
                    (path / "lun.0").mkdir()
                    self._files(path / "lun.0", LUN)

    def _files(self, path: Path, names: tuple[str, ...]) -> None:
        for name in names:
            (path / name).write_text("")

    def _remove(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        parts = path.relative_to(self.root).parts
        groups = [child for child in path.iterdir() if child.is_dir() and child.name != "lun.0"]
        links = [child for child in path.iterdir() if child.is_symlink()]
        inside = [entry for group in groups if not group.is_symlink() for entry in group.iterdir()]
        linked = parts[1:2] == ("functions",) and any(
            link.resolve() == path.resolve()
            for link in (self.root / parts[0] / "configs").glob("*/*")
            if link.is_symlink()
        )
        if inside or links:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        if linked or self.bound_udc(parts[0]):
            raise OSError(errno.EBUSY, "Device or resource busy")
        shutil.rmtree(path)
