"""What the user deploys: the model file, what it declares, its module, and the process that runs its code.

model        Model, as a model file writes it
input_spec   Input: name, shape, type and range of one input
output_spec  Output and Closeness: what is declared of outputs
unordered    Unordered: outputs whose rows are sets
dimension    the sizes that a named dimension may have
model_file   a model file, found and read
user_code    running the user's code, and telling its errors from ours
build        the module that the file builds, and what it must be
inputs       inputs at given sizes
prepare      inputs made valid by the file's own function
process/     the process that runs the file, and the questions it is asked
"""

from .input_spec import Input
from .model import Model
from .output_spec import Closeness, Output

__all__ = ["Closeness", "Input", "Model", "Output"]
