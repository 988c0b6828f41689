"""The tree of errors.

Three questions tell them apart: did we call wrongly (`ApiViolationError`), did a peer or the
world fail (`ProtocolError`, `MachineError`), or did the user ask for something that cannot be
(`UserError`)?  An *injected* fault is never an exception: it is a status, an errno or sense
bytes, and a line in the trace.
"""

from __future__ import annotations


class RigError(Exception):
    """Root of all errors that the rig raises on purpose.

    Args:
        message: One sentence that names the thing.
        hint: One sentence that tells the mend, if there is one.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ApiViolationError(RigError):
    """Our own code was called in a state, or with a value, that it does not allow."""


class UserError(RigError):
    """What the user asked for cannot be done; nothing was started.  Exit code 2."""


class ProtocolError(RigError):
    """Two parties disagree on the bytes between them."""


class LocalProtocolError(ProtocolError):
    """We tried to send what the protocol does not allow: our bug."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol does not allow: its bytes, its fault."""


class MachineError(RigError):
    """A machine, or a program on it, did not do its part.  An infrastructure finding."""


class LaunchFailure(MachineError):  # noqa: N818 - "failure" is the field's word
    """A machine or a program did not start."""


class LostVMError(MachineError):
    """A guest fell silent, died or panicked."""


class CommandFailure(MachineError):  # noqa: N818
    """A command on a machine ended with a status other than 0, or not in time."""
