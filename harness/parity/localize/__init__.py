"""Fault localization: the first node, and its module, at which a backend leaves the reference, and who is at fault.

    dispatch         finds the file of a format by its name, and calls its ``find_fault``; task, what it is given
    onnx             ONNX graphs; torchscript, TorchScript modules. A format without a file is not located
    graph_case       an ONNX mismatch as all steps see it
    runtime_fault    such a step, as are exporter_fault, optimizer_fault and refusal
    graph            the exported graph; scopes, the module that each node came from; evaluate, its values on this host
    probe            artifacts that return inner values, run by the device; bisection
    modules          runs of the model that watch its modules, by record; module_outputs, what each should give
    match            which value of the graph is which module's output
    operators        values of the graph that are like PyTorch's operators'
    node_error       whether one node did what the graph says; allowance, how far it may be off by itself
    node_repro       one node apart from its graph, for whoever mends the runtime
    location         the result, and the clock

How it works: docs/parity.md, "Where it goes wrong".
"""

from __future__ import annotations

from .dispatch import locate
from .location import Location, NotLocated
from .node_error import OFF_ULPS
from .probe import Probe

__all__ = ["OFF_ULPS", "Location", "NotLocated", "Probe", "locate"]
