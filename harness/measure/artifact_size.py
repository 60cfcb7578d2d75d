"""The artifact's size: what has to be stored on the device and sent to it."""

from __future__ import annotations

from ..checks.finding import Finding
from ..checks.limits import Metric
from ..export import Artifact

ARTIFACT_SIZE = Metric("artifact_mib", "MiB", "the exported files, all together", device_limit=True)
METRICS = (ARTIFACT_SIZE,)


def artifact_size(artifact: Artifact) -> Finding:
    """Report the size of the artifact's files together, in MiB."""
    return size_finding(artifact.bytes)


def size_finding(size_bytes: int) -> Finding:
    """Report a size in MiB. It is exact, so the value is its own bound."""
    value = size_bytes / 2**20
    return Finding(ARTIFACT_SIZE, value, value, samples=1)
