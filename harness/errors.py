"""The one tree of exceptions.

    HilgateError
    ├── InputError             what the user wrote: files, options, limits
    │   ├── ModelError         a model file, or the module that it builds
    │   │   └── ProcessError   its process died, hangs, takes too much, or has another model when it is started again
    │   ├── DeviceError        a device file, or a board that is not what its file says
    │   ├── EndpointError      an endpoint file, or an endpoint that does not fit the model
    │   └── NetworkError       a network file, or a trace that one names
    ├── ExportError            no exporter could make the artifact
    ├── BackendError           a backend that is unknown, or cannot run on this device
    ├── StorageError           one of our folders cannot be written (disk full, no permission)
    │   └── DeviceStorageError that folder is on a device
    ├── CredentialsError       AWS gives no temporary credentials for an endpoint
    ├── DamagedError           a stored file is no longer what was stored, on a device or here
    ├── EmulatorError          an emulated board cannot be built or started
    ├── LinkError              the device cannot be reached, or a program not started there
    │   ├── HostKeyError       its host key is unknown, or another than the one that was pinned
    │   ├── LinkLost           the connection dropped while it was used
    │   │   └── EmulatorDied   the emulated board is gone, and does not come back
    │   └── DeviceBusy         another run holds the device
    └── DeploymentError        between us and a running agent
        ├── DaemonFailure      what keeps a device's store could not do what it was asked
        ├── AgentDied          its process ended when it should not have
        ├── AgentTimeout       it did not answer in time
        │   └── AgentSilent    nor did its own watchdog: it may be the link, or the board, and not the model
        ├── ProtocolError      what it sent is not a frame, or not what was asked for
        ├── ImpossibleReport   what it reports of a measurement cannot be true
        ├── InputFailure       it could not make an input that was asked for
        ├── RemoteError        its call to another computer failed, each time that it was made
        └── AgentFailure       it answered that an operation failed

Every message says what went wrong; then, as far as each is known, what was wanted, what was found, where, and what to
do next. Parts of it that are somebody else's text (a board's, a model's, a file's name) are made safe to show on a
terminal; see harness.printable.
"""

from __future__ import annotations

from .printable import LINE, printable, printable_lines


class HilgateError(Exception):
    """The base class of everything that hilgate raises on purpose.

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
                is_path = label == "where"  # a path may contain newlines: they are escaped
                shown = printable(text) if is_path else printable_lines(text.strip(), indent=" " * 10)
                lines.append(f"  {label + ':':<8}{shown}")
        return "\n".join(lines)


class InputError(HilgateError):
    """What the user wrote is wrong."""


class ModelError(InputError):
    """The model file, or the module that it builds, is wrong."""


class ProcessError(ModelError):
    """Trouble with the process that runs the model file's code: it died, hangs, or takes too much memory.

    Or its model differs from the one before its restart. The question that it was asked remains unanswered.
    """


class DeviceError(InputError):
    """The device file is wrong, or the board is not what the file says."""


class EndpointError(InputError):
    """The file of an endpoint is wrong, or what is to be called there does not fit it."""


class NetworkError(InputError):
    """The file of a network is wrong, or a trace that it names."""


class ExportError(HilgateError):
    """No exporter could make the artifact."""


class BackendError(HilgateError):
    """A backend is unknown, or cannot run on this device."""


class BuildError(BackendError):
    """A backend's runner cannot be built on this host: a compiler or headers are missing, or the build fails."""


class StorageError(HilgateError):
    """One of our folders cannot be written."""


class CredentialsError(HilgateError):
    """AWS gives this host no temporary credentials for an endpoint: nothing was called, and nothing is said of it."""


class DamagedError(HilgateError):
    """A stored file has changed: what was measured or answered with it says nothing about the model."""


class DeviceStorageError(StorageError):
    """A device's disk is full, read-only or damaged, or its store cannot be written; so the model is not judged."""


class EmulatorError(HilgateError):
    """An emulated board cannot be built or started: a program is missing, an image damaged, the guest did not boot."""


class LinkError(HilgateError):
    """The device cannot be reached, or a program cannot be started there."""


class HostKeyError(LinkError):
    """A host's key is unknown, or another than the one that is known: it may not be the board at all.

    Args:
        shown: the key that the host showed, for a person to confirm; see harness.links.ssh.hostkeys.
    """

    def __init__(self, what: str, *, shown: object = None, **details: str) -> None:
        super().__init__(what, **details)
        self.shown = shown


class LinkLost(LinkError):
    """The connection dropped while it was used: its operation's outcome is unknown, and reconnecting may help."""


class TunnelError(HilgateError):
    """A device that is reached gives its programs no way back to this machine: nothing was called, nor judged."""


class EmulatorDied(LinkLost):
    """The emulated board is gone for good: its QEMU ended."""


class DeviceBusy(LinkError):
    """Another run holds the device."""


class DeploymentError(HilgateError):
    """Trouble between us and a running agent; it says nothing about the model's answers."""


class DaemonFailure(DeploymentError):
    """Our daemon on a device, or another program of ours that serves the run there, failed; the model did not run."""


class AgentDied(DeploymentError):
    """The agent's process ended when it should not have."""


class AgentTimeout(DeploymentError):
    """The agent did not answer in time; it has been killed."""


class AgentSilent(AgentTimeout):
    """Nothing came, not even word that the agent's watchdog had ended it: the link or the board has stalled.

    It says nothing about the model; if that were too slow, the watchdog would have reported it (issue 17).
    """


class ProtocolError(DeploymentError):
    """The agent or the daemon sent something that is no frame, or not what was asked for; see harness.protocol."""


class ImpossibleReport(DeploymentError):
    """The device's report of a measurement cannot be true: nothing was measured (issue 17)."""


class InputFailure(DeploymentError):
    """The agent could not make an input that was asked for; the model did not run."""


class RemoteError(DeploymentError):
    """The device's call to the computer that serves the model failed, and failed again when it was repeated.

    It says nothing about the model's answers, and the process on the device goes on.

    Args:
        kind: how it failed; of KINDS in harness.agent.failure.
    """

    def __init__(self, what: str, *, kind: str = "", **details: str) -> None:
        super().__init__(what, **details)
        self.kind = kind

    @property
    def told(self) -> str:
        """The failure in a line, for a check that it leaves open: it was repeated, and says nothing of the model."""
        said = " ".join(self.found.split()) or self.what
        return f"a call to the computer that serves the model failed each time ({self.kind}): {said}"


class AgentFailure(DeploymentError):
    """The agent answered that an operation failed; its own traceback is in the message."""


# Errors that end a check and say nothing about the model: the check stays open, for nothing was measured (issue 17).
UNDECIDED = (
    LinkLost,
    DeviceStorageError,
    DamagedError,
    AgentSilent,
    ProtocolError,
    ImpossibleReport,
    RemoteError,
    InputFailure,
    DaemonFailure,
    CredentialsError,
    TunnelError,
)
