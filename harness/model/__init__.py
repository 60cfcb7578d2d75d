"""What the user deploys: the model file, what it declares, its module, and the process that runs its code.

model, input_spec, output_spec, unordered, dimension, artifacts    what a model file declares, and its validation
sensor_clock                           how often inputs come, and what becomes of one that comes too early
model_file, user_code, user_process    a model file, read; running the user's code, and the processes that do
build, eager, input_order, rejection, accepted_sizes, operators    the module: built, run, checked
inputs, prepare, ragged                inputs: drawn, made valid; samples of different sizes
fingerprint, module_state              hashes of a module; what a run changed in it
identity                               the hash by which a model is known
process/                               the process that runs the file, and the questions that it is asked
"""

from .input_spec import Input
from .model import Model
from .output_spec import Closeness, Output

__all__ = ["Closeness", "Input", "Model", "Output"]
