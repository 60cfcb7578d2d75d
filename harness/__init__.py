"""hilgate: from a PyTorch model to a verdict on your device, under pytest."""

from .model.model import Closeness, Input, Model, Output
from .model.unordered import Unordered

__all__ = ["Closeness", "Input", "Model", "Output", "Unordered", "__version__"]

__version__ = "0.1.0"
