"""Unpacks Linux's bzImage, so that guests need not: under emulation that costs seconds a boot.

The ELF kernel inside starts by the PVH entry, which both of Debian's kernels and QEMU's microvm
have.  The header is in the kernel's Documentation/arch/x86/boot.rst.
"""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Callable

from rig.errors import MachineError

_MAGIC = b"HdrS"
_MAGIC_OFFSET = 0x202
_SETUP_SECTS_OFFSET = 0x1F1
_PAYLOAD = struct.Struct("<II")  # payload_offset, payload_length: protocol 2.08 and later
_PAYLOAD_OFFSET = 0x248
_SECTOR_BYTES = 512
_TRAILER_BYTES = 4
"""The build appends the unpacked size to what the compressor wrote."""

ELF_MAGIC = b"\x7fELF"


def payload(image: bytes) -> bytes:
    """Return the compressed kernel of a bzImage, without the size that is appended to it.

    Raises:
        MachineError: It is no bzImage.
    """
    if image[_MAGIC_OFFSET : _MAGIC_OFFSET + len(_MAGIC)] != _MAGIC:
        raise MachineError("The kernel package holds no bzImage.", hint="Choose another kernel.")
    # The real-mode part is one boot sector and setup_sects more; 0 stands for 4, for history.
    sectors = (image[_SETUP_SECTS_OFFSET] or 4) + 1
    offset, length = _PAYLOAD.unpack_from(image, _PAYLOAD_OFFSET)
    start = sectors * _SECTOR_BYTES + offset
    return image[start : start + length - _TRAILER_BYTES]


def unpack(image: bytes, zstd: Callable[[bytes], bytes]) -> bytes:
    """Return the ELF kernel inside a bzImage.

    Args:
        image: The bzImage.
        zstd: Decompresses what Python 3.11 cannot.

    Raises:
        MachineError: It is no bzImage, or compressed in a way that we do not know.
    """
    packed = payload(image)
    by_magic: dict[bytes, Callable[[bytes], bytes]] = {
        b"\x28\xb5\x2f\xfd": zstd,
        b"\xfd7zXZ\x00": lzma.decompress,
        b"\x1f\x8b": gzip.decompress,
    }
    for magic, decompress in by_magic.items():
        if packed.startswith(magic):
            kernel = decompress(packed)
            if kernel.startswith(ELF_MAGIC):
                return kernel
    raise MachineError("The kernel's compression is not known.", hint="Choose another kernel.")
