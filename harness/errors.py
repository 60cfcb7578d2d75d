"""The one tree of exceptions.

    HilgateError
    ├── InputError             what the user wrote: files, options, limits
    │   ├── ModelError         a model file, or the module that it builds
    │   │   └── ProcessError   its process died, hangs, takes too much, or has another model when it is started again
    │   └── DeviceError        a device file, or a board that is not what its file says
    ├── ExportError            no exporter could make the artifact
    ├── BackendError           a backend that is unknown, or cannot run on this device
    ├── StorageError           a folder of ours cannot be written (disk full, no permission)
    │   └── DeviceStorageError that folder is on a device
    ├── DamagedError           a stored file is no longer what was stored, on a device or here
    ├── EmulatorError          an emulated board cannot be built or started
    ├── LinkError              the device cannot be reached, or a program not started there
    │   ├── HostKeyError       its host key is unknown, or another than the one that was pinned
    │   ├── LinkLost           the connection dropped while it was used
    │   │   └── EmulatorDied   the emulated board is gone, and does not come back
    │   └── DeviceBusy         another run holds the device
    └── DeploymentError        between us and a running agent
        ├── KeeperFailure      what keeps a device's store could not do what it was asked
        ├── AgentDied          its process ended when it should not have
        ├── AgentTimeout       it did not answer in time
        │   └── AgentSilent    nor did its own watchdog: it may be the link, or the board, and not the model
        ├── ProtocolError      what it sent is not a frame, or not what was asked for
        ├── ImpossibleReport   what it reports of a measurement cannot be true
        ├── InputFailure       it could not make an input that was asked for
        └── AgentFailure       it answered that an operation failed

Every message says what went wrong; then, as far as each is known, what was wanted, what was found, where, and what to
do next. What of that is somebody else's text, a board's, a model's or a file's name, is shown and not obeyed by the
terminal; see harness.printable.
"""

from __future__ import annotations

from .printable import LINE, printable, printable_lines


class HilgateError(Exception):
    """The root: everything that hilgate itself raises on purpose.

    Args:
        what: one sentence, what went wrong.
        wanted: what would have been right.
        found: what was there instead.
        where: the file, key, device or cell.
        hint: what to do next.
    """

    def __init__(self, what: str, *, wanted: str = "", found: str = "", where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.wanted = wanted
        self.found = found
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        details = (
            ("wanted", self.wanted),
            ("found", self.found),
            ("where", self.where),
            ("next", self.hint),
        )
        lines = [printable_lines(self.what, LINE, indent="  ")]
        for label, text in details:
            if text:
                one = label == "where"  # a path may have newlines, too: they belong to it
                shown = printable(text) if one else printable_lines(text.strip(), indent=" " * 10)
                lines.append(f"  {label + ':':<8}{shown}")
        return "\n".join(lines)


class InputError(HilgateError):
    """What the user wrote is wrong."""


class ModelError(InputError):
    """The model file, or the module that it builds, is wrong."""


class ProcessError(ModelError):
    """The process that runs the model file's code died, hangs, takes too much, or has another model than it had before.

    What it was asked is not answered, which says nothing of what that was about.
    """


class DeviceError(InputError):
    """The device file is wrong, or the board is not what the file says."""


class ExportError(HilgateError):
    """No exporter could make the artifact."""


class BackendError(HilgateError):
    """A backend is unknown, or cannot run on this device."""


class BuildError(BackendError):
    """This host cannot build a backend's runner: a compiler is missing, or headers; or what they make of it fails."""


class StorageError(HilgateError):
    """A folder of ours cannot be written."""


class DamagedError(HilgateError):
    """A stored file is no longer what was stored: what was measured or answered with it says nothing of the model."""


class DeviceStorageError(StorageError):
    """A device's disk is full, read-only or damaged, or its store cannot be written: that says nothing of the model."""


class EmulatorError(HilgateError):
    """An emulated board cannot be built or started: a program is missing, an image damaged, the guest did not boot."""


class LinkError(HilgateError):
    """The device cannot be reached, or a program cannot be started there."""


class HostKeyError(LinkError):
    """A host's key is unknown, or another than the one that is known: it may not be the board at all.

    Args:
        shown: the key that it showed, for a person to confirm; see harness.links.ssh.hostkeys.
    """

    def __init__(self, what: str, *, shown: object = None, **details: str) -> None:
        super().__init__(what, **details)
        self.shown = shown


class LinkLost(LinkError):
    """The connection dropped while it was used: nothing is known of what was going on, and it may be made again."""


class EmulatorDied(LinkLost):
    """The emulated board is gone, and does not come back: its QEMU ended."""


class DeviceBusy(LinkError):
    """Another run holds the device."""


class DeploymentError(HilgateError):
    """Something went wrong between us and a running agent: never a statement about the model's answers."""


class KeeperFailure(DeploymentError):
    """Our keeper on a device answered that an operation of its own failed: the model was not asked."""


class AgentDied(DeploymentError):
    """The agent's process ended when it should not have."""


class AgentTimeout(DeploymentError):
    """The agent did not answer in time; it has been killed."""


class AgentSilent(AgentTimeout):
    """Nothing came, not even that the agent's own watchdog had ended it: the link stalls, or the board stands still.

    Nothing is known of the model then; of one that is too slow the watchdog tells (issue 17).
    """


class ProtocolError(DeploymentError):
    """What the agent or the keeper sent is not a frame, or not what was asked for; see harness.protocol."""


class ImpossibleReport(DeploymentError):
    """What the device reports of a measurement cannot be true: nothing was measured (issue 17)."""


class InputFailure(DeploymentError):
    """The agent could not make an input that was asked for: the model was not asked."""


class AgentFailure(DeploymentError):
    """The agent answered that an operation failed; its own traceback is in the message."""


# What ends a check, and says nothing of the model: it stays open, for neither was anything measured (issue 17).
UNDECIDED = (
    LinkLost,
    DeviceStorageError,
    DamagedError,
    AgentSilent,
    ProtocolError,
    ImpossibleReport,
    InputFailure,
    KeeperFailure,
)
