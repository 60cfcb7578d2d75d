"""From a module to an artifact: one file per format, found by its name.

artifact        an artifact and its record
formats         the formats, found by their files
artifact_cache  export_artifact: from the cache, or exported now; find_artifact: by its hash
key             what a cached export depends on
process         starts the export process; worker, what runs in it
settings        torch's settings, which the export process takes over
onnx            the format ONNX; onnx_file, what a file says of itself; onnx_graph, the graph in it
torchscript     the format TorchScript
endpoint        the format of a backend that calls another computer: a description, made and not exported
example         inputs to trace with; sizes and shapes, what the exported file then takes and declares
fixing          which fixed dimension would help where every exporter refuses; refusal, what they said
given           a file of the team's own in place of an export; ports and binding, its inputs and outputs
"""

from .artifact import Artifact, ArtifactFile, write_record
from .artifact_cache import UNKEYED, export_artifact, find_artifact
from .formats import Format, exporter_labels, load_format
from .key import export_key

__all__ = [
    "UNKEYED",
    "Artifact",
    "ArtifactFile",
    "Format",
    "export_artifact",
    "export_key",
    "exporter_labels",
    "find_artifact",
    "load_format",
    "write_record",
]
