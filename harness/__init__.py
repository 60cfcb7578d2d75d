"""hilgate: from a PyTorch model to a verdict on your device, under pytest.

Its rooms, from the top down; each imports from those below it (docs/decisions/0018-floors.md):

plugin, run, cli         pytest's hooks; one HIL run; the command ``hilgate``
measure, instructions    metrics; counted instructions and their baselines
deploy                   a bundle running on a device
board, report            a device that was reached; what a person reads of the evidence
evidence                 evidence.json and its folder
parity, bundle, links    whether answers are right; what is shipped; how bytes reach a device
export, emulator, cell   a model's artifacts; emulated boards; one model, device and backend
model, device            what the user deploys, and on what
isa                      which instructions a library needs
checks, backends         limits and verdicts; one file a way to run an artifact
host                     this machine: cache, plug-ins, progress
protocol                 what a device answers, as types
agent, errors            the program on the device; the exceptions
runners                  the agent in C++
"""

from .model.input_spec import Input
from .model.model import Model
from .model.output_spec import Closeness, Output
from .model.unordered import Unordered

__all__ = ["Closeness", "Input", "Model", "Output", "Unordered", "__version__"]

__version__ = "0.1.0"
