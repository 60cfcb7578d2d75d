"""hilgate: from a PyTorch model to a verdict on your device, under pytest."""

from .model.input_spec import Input
from .model.model import Model
from .model.output_spec import Closeness, Output
from .model.unordered import Unordered

__all__ = ["Closeness", "Input", "Model", "Output", "Unordered", "__version__"]

__version__ = "0.1.0"
