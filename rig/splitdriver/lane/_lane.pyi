"""The compiled module: ``front.c`` and ``back.c``."""

from rig.splitdriver.lane import BackLent, FrontLent, Ioctl, LinkLent, Ready

Urbs = list[tuple[int, int, int]]
LentUrbs = list[tuple[int, int, int, int, bytearray | None, bytearray | bytes | None]]

INTERFACE: int

def front(
    epoll_fd: int, timeout_s: float, link: LinkLent, ports: list[FrontLent], /
) -> tuple[Ready, bool, bytes, bytes, list[tuple[int, Urbs, bytes, bytes]]]: ...
def back(
    epoll_fd: int,
    timeout_s: float,
    link: LinkLent,
    max_bytes: int,
    max_urbs: int,
    ports: list[BackLent],
    ioctl: Ioctl | None,
    /,
) -> tuple[Ready, bool, bytes, bytes, list[tuple[int, LentUrbs, list[int]]]]: ...
